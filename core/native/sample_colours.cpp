// Global colour sampling: K. He, C. Rhemann, C. Rother, X. Tang, J. Sun, "A Global Sampling Method for Alpha Matting",
// CVPR 2011. Every unknown pixel looks for the pair of a foreground and a background sample that explains its colour
// best.
//
// All pixels look at once at what their neighbours had a round before, so that the order of work means nothing. Rounds
// ask neighbours at different distances, which spreads a good pair faster than a sweep of steps of one.
#include "kernels.hpp"

#if defined(_MSC_VER) && !defined(__clang__)
extern "C" double __cdecl sqrt(double);
#pragma intrinsic(sqrt)
#define SAFELIGHT_SQRT sqrt
#else
#define SAFELIGHT_SQRT __builtin_sqrt
#endif

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int32_t;
using std::int64_t;
using std::uint32_t;
using std::uint64_t;
using std::uint8_t;

constexpr int rounds = 5, probes = 3, sides = 4;
constexpr int64_t steps[rounds] = {4, 2, 8, 1, 1};
// Straight neighbours in even rounds, diagonal ones in odd rounds.
constexpr int64_t side_y[2][sides] = {{-1, 1, 0, 0}, {-1, 1, -1, 1}},
                  side_x[2][sides] = {{0, 0, -1, 1}, {-1, 1, 1, -1}};
constexpr int64_t pixels_each = 4096;
constexpr uint8_t unknown_mark = 128;

struct Pair {
    int32_t foreground, background;
    float cost;
};

struct Work {
    const SampleColours* call;
    float unit;  // colours * unit lie in [0, 255]
    int32_t* numbers;
    int32_t *row, *column;
    Pair *before, *after;
    int64_t count;
    int round;
};

float root(float value) { return static_cast<float>(SAFELIGHT_SQRT(static_cast<double>(value))); }

// 32 bits from a pixel's number and a salt: the finalizer of MurmurHash3.
uint32_t hash(int64_t pixel, uint32_t salt) {
    uint32_t value = static_cast<uint32_t>(pixel) * 0x9E3779B1u + salt * 0x85EBCA77u + 1u;
    value ^= value >> 16;
    value *= 0x85EBCA6Bu;
    value ^= value >> 13;
    value *= 0xC2B2AE35u;
    return value ^ (value >> 16);
}

int64_t draw(int64_t pixel, uint32_t salt, int64_t size) {
    return static_cast<int64_t>((static_cast<uint64_t>(hash(pixel, salt)) * static_cast<uint64_t>(size)) >> 32);
}

// Up to size / 4^probe away from an index.
int32_t near(int32_t index, int64_t pixel, int64_t size, uint32_t salt, int probe) {
    int64_t reach = size >> (2 * probe);
    reach = reach > 1 ? reach : 1;
    int64_t result = index + draw(pixel, salt, 2 * reach + 1) - reach;
    result = result < 0 ? 0 : result;
    return static_cast<int32_t>(result < size ? result : size - 1);
}

struct Judged {
    float alpha, residual, apart, cost;
};

struct Pixel {
    float colour[3], y, x, inverse[2];
};

float distance(const Pixel& pixel, const float* sample) {
    const float y = pixel.y - sample[3], x = pixel.x - sample[4];
    return root(y * y + x * x);
}

Judged judge(const Pixel& pixel, const float* foreground, const float* background, float spatial) {
    float square = 0.0f, along = 0.0f, left = 0.0f;
    float off[3], apart[3];
    for (int c = 0; c < 3; ++c) {
        apart[c] = foreground[c] - background[c];
        off[c] = pixel.colour[c] - background[c];
        square += apart[c] * apart[c];
        along += off[c] * apart[c];
    }
    float alpha = along / (square > 1e-6f ? square : 1e-6f);
    alpha = alpha < 0.0f ? 0.0f : alpha > 1.0f ? 1.0f : alpha;
    for (int c = 0; c < 3; ++c) {
        const float rest = off[c] - alpha * apart[c];
        left += rest * rest;
    }
    const float residual = root(left);
    const float cost = residual + spatial * (distance(pixel, foreground) * pixel.inverse[0] +
                                             distance(pixel, background) * pixel.inverse[1]);
    return {alpha, residual, root(square), cost};
}

template <typename T>
Pixel pixel_at(const Work& work, int64_t number) {
    const SampleColours& call = *work.call;
    const int64_t y = work.row[number], x = work.column[number];
    const T* const from = static_cast<const T*>(call.image.data) + (y * call.image.width + x) * 3;
    Pixel pixel{};
    for (int c = 0; c < 3; ++c) pixel.colour[c] = static_cast<float>(from[c]) * work.unit;
    pixel.y = static_cast<float>(y);
    pixel.x = static_cast<float>(x);
    for (int k = 0; k < 2; ++k) pixel.inverse[k] = 1.0f / call.distances[2 * number + k];
    return pixel;
}

Judged judge_pair(const Work& work, const Pixel& pixel, int32_t foreground, int32_t background) {
    const SampleColours& call = *work.call;
    return judge(pixel, call.foreground + 5 * foreground, call.background + 5 * background, call.spatial);
}

template <typename T>
void start(const Work& work, int64_t number) {
    const int32_t f = static_cast<int32_t>(draw(number, 0, work.call->foreground_count));
    const int32_t b = static_cast<int32_t>(draw(number, 1, work.call->background_count));
    work.after[number] = {f, b, judge_pair(work, pixel_at<T>(work, number), f, b).cost};
}

template <typename T>
void improve(const Work& work, int64_t number) {
    const SampleColours& call = *work.call;
    const Pixel pixel = pixel_at<T>(work, number);
    Pair best = work.before[number];
    const auto consider = [&](int32_t f, int32_t b) {
        const float cost = judge_pair(work, pixel, f, b).cost;
        if (cost < best.cost) best = {f, b, cost};
    };
    for (int k = 0; k < sides; ++k) {
        const int64_t y = work.row[number] + side_y[work.round % 2][k] * steps[work.round];
        const int64_t x = work.column[number] + side_x[work.round % 2][k] * steps[work.round];
        if (y < 0 || x < 0 || y >= call.image.height || x >= call.image.width) continue;
        const int32_t other = work.numbers[y * call.image.width + x];
        if (other < 0) continue;
        const Pair& pair = work.before[other];
        if (pair.foreground != best.foreground || pair.background != best.background)
            consider(pair.foreground, pair.background);
    }
    for (int probe = 0; probe < probes; ++probe) {
        const uint32_t salt = static_cast<uint32_t>(2 + 2 * (work.round * probes + probe));
        consider(near(best.foreground, number, call.foreground_count, salt, probe),
                 near(best.background, number, call.background_count, salt + 1, probe));
    }
    work.after[number] = best;
}

template <typename T>
void finish(const Work& work, int64_t number) {
    const Pair& pair = work.after[number];
    const Judged judged = judge_pair(work, pixel_at<T>(work, number), pair.foreground, pair.background);
    float* const result = work.call->result + 4 * number;
    result[0] = judged.alpha;
    result[1] = judged.residual;
    result[2] = judged.apart;
    result[3] = judged.cost;
}

template <void (*each)(const Work&, int64_t)>
void some(void* context, int64_t task, int) {
    const Work& work = *static_cast<const Work*>(context);
    const int64_t end = (task + 1) * pixels_each;
    for (int64_t i = task * pixels_each; i < (end < work.count ? end : work.count); ++i) each(work, i);
}

// Numbers the unknown pixels by rows.
void number_pixels(Work& work, bool write) {
    const SampleColours& call = *work.call;
    int64_t count = 0;
    for (int64_t y = 0; y < call.image.height; ++y)
        for (int64_t x = 0; x < call.image.width; ++x) {
            const int64_t at = y * call.image.width + x;
            const bool unknown = call.trimap[at] == unknown_mark;
            if (write) {
                work.numbers[at] = unknown ? static_cast<int32_t>(count) : -1;
                if (unknown) {
                    work.row[count] = static_cast<int32_t>(y);
                    work.column[count] = static_cast<int32_t>(x);
                }
            }
            count += unknown ? 1 : 0;
        }
    work.count = count;
}

template <typename T>
void search(Work& work) {
    const int64_t tasks = (work.count + pixels_each - 1) / pixels_each;
    const int slots = slot_count(tasks, 1 << 16);
    parallel_for(tasks, slots, some<start<T>>, &work);
    for (work.round = 0; work.round < rounds; ++work.round) {
        Pair* const other = work.before;
        work.before = work.after;
        work.after = other;
        parallel_for(tasks, slots, some<improve<T>>, &work);
    }
    parallel_for(tasks, slots, some<finish<T>>, &work);
}

}  // namespace

Status sample_colours(const SampleColours& call) {
    Work work{};
    work.call = &call;
    number_pixels(work, false);
    if (work.count == 0) return Status::done;
    const std::size_t count = static_cast<std::size_t>(work.count);
    const std::size_t pixels = static_cast<std::size_t>(call.image.height * call.image.width);
    char* const memory =
        static_cast<char*>(allocate(2 * count * sizeof(Pair) + (2 * count + pixels) * sizeof(int32_t)));
    if (memory == nullptr) return Status::out_of_memory;
    work.before = reinterpret_cast<Pair*>(memory);
    work.after = work.before + count;
    work.row = reinterpret_cast<int32_t*>(work.after + count);
    work.column = work.row + count;
    work.numbers = work.column + count;
    number_pixels(work, true);
    switch (call.image.type) {
        case PixelType::uint8:
            work.unit = 1.0f;
            search<std::uint8_t>(work);
            break;
        case PixelType::uint16:
            work.unit = 255.0f / 65535.0f;
            search<std::uint16_t>(work);
            break;
        default:
            work.unit = 255.0f;
            search<float>(work);
    }
    release(memory);
    return Status::done;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
