// The full-resolution half of the fast guided filter (K. He, J. Sun, "Fast Guided Filter", arXiv 1505.00996): the mean
// coefficients, bilinear between the centres of the low-resolution pixels, applied to the guide; stretched and clipped.
//
// A tile of columns keeps two low-resolution rows widened to full resolution; between them every row is a plain blend.
// Where the coefficients can give nothing but 0, or nothing but 1, whatever the guide holds, the guide is not read.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t tile_width = 128, tile_height = 128;

struct Work {
    const ApplyCoefficients* call;
    float scale;    // guide * scale lies in [0, 1]
    float stretch;  // 1 / (1 - 2 clip)
    int64_t across;
    float* scratch;
};

// Where a full-resolution pixel lies between two low-resolution ones.
struct Between {
    int64_t first, second;
    float share;  // of the second
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

Between between(int64_t i, int64_t from, int64_t to) {
    const double last = static_cast<double>(from - 1);
    double at = (static_cast<double>(i) + 0.5) * static_cast<double>(from) / static_cast<double>(to) - 0.5;
    at = at < 0 ? 0 : at > last ? last : at;
    const int64_t first = static_cast<int64_t>(at);
    return {first, smaller(first + 1, from - 1), static_cast<float>(at - static_cast<double>(first))};
}

enum class Outcome { open, zero, one };

// What a row of coefficients, from column first to last, can give for any guide in [0, 1].
template <int channels>
Outcome outcome_of(const Work& work, int64_t row, int64_t first, int64_t last) {
    const ApplyCoefficients& call = *work.call;
    const int64_t plane = call.height * call.width;
    const float* const low = call.coefficients + row * call.width;
    float most = 0, least = 1;
    for (int64_t x = first; x <= last; ++x) {
        float high = low[channels * plane + x], deep = high;
        for (int k = 0; k < channels; ++k) {
            const float slope = low[k * plane + x];
            high += slope > 0.0f ? slope : 0.0f;
            deep += slope < 0.0f ? slope : 0.0f;
        }
        most = high > most ? high : most;
        least = deep < least ? deep : least;
    }
    return most <= call.clip ? Outcome::zero : least >= 1.0f - call.clip ? Outcome::one : Outcome::open;
}

template <int channels>
void widen(const Work& work, int64_t row, const Between* columns, int64_t count, float* __restrict wide) {
    const ApplyCoefficients& call = *work.call;
    for (int k = 0; k <= channels; ++k) {
        const float* const low = call.coefficients + (k * call.height + row) * call.width;
        const float offset = k < channels ? 0.0f : call.clip;
        const float unit = (k < channels ? work.scale : 1.0f) * work.stretch;
        for (int64_t i = 0; i < count; ++i) {
            const float first = low[columns[i].first], second = low[columns[i].second];
            wide[k * tile_width + i] = ((first + (second - first) * columns[i].share) - offset) * unit;
        }
    }
}

float limited(float value) {
    value = value < 0.0f ? 0.0f : value;
    return value > 1.0f ? 1.0f : value;
}

float blend(const float* __restrict upper, const float* __restrict lower, float share, int64_t at) {
    return upper[at] + (lower[at] - upper[at]) * share;
}

template <typename T>
void apply_gray(const T* __restrict guide, const float* __restrict upper, const float* __restrict lower, float share,
                int64_t count, float* __restrict result) {
    for (int64_t i = 0; i < count; ++i)
        result[i] = limited(blend(upper, lower, share, tile_width + i) +
                            blend(upper, lower, share, i) * static_cast<float>(guide[i]));
}

// guide: channels of a row, converted to float while they still lie side by side, which every target does quickly.
void apply_colour(const float* __restrict guide, const float* __restrict upper, const float* __restrict lower,
                  float share, int64_t count, float* __restrict result) {
    for (int64_t i = 0; i < count; ++i) {
        const float red = blend(upper, lower, share, i) * guide[3 * i];
        const float green = blend(upper, lower, share, tile_width + i) * guide[3 * i + 1];
        const float blue = blend(upper, lower, share, 2 * tile_width + i) * guide[3 * i + 2];
        result[i] = limited(((red + green) + blue) + blend(upper, lower, share, 3 * tile_width + i));
    }
}

template <typename T, int channels>
void apply_row(const T* __restrict guide, const float* upper, const float* lower, float share, int64_t count,
               float* result) {
    if constexpr (channels == 1) {
        apply_gray(guide, upper, lower, share, count, result);
    } else {
        float values[3 * tile_width];
        for (int64_t i = 0; i < 3 * count; ++i) values[i] = static_cast<float>(guide[i]);
        apply_colour(values, upper, lower, share, count, result);
    }
}

template <typename T, int channels>
void apply_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const ApplyCoefficients& call = *work.call;
    const int64_t width = call.guide.width, plane = (channels + 1) * tile_width;
    const int64_t x = task % work.across * tile_width, y = task / work.across * tile_height;
    const int64_t count = smaller(tile_width, width - x), bottom = smaller(y + tile_height, call.guide.height);
    float* wide[2] = {work.scratch + slot * 2 * plane, work.scratch + (slot * 2 + 1) * plane};
    constexpr bool bounded = static_cast<T>(0.5f) == 0;  // integers; floats may hold anything
    int64_t held[2] = {-1, -1}, judged[2] = {-1, -1};
    Outcome outcomes[2] = {Outcome::open, Outcome::open};
    Between columns[tile_width];
    for (int64_t i = 0; i < count; ++i) columns[i] = between(x + i, call.width, width);
    for (int64_t row = y; row < bottom; ++row) {
        const Between rows = between(row, call.height, call.guide.height);
        const int64_t pair[2] = {rows.first, rows.second};
        for (const int64_t wanted : pair) {
            if (!bounded || judged[wanted % 2] == wanted) continue;
            judged[wanted % 2] = wanted;
            outcomes[wanted % 2] = outcome_of<channels>(work, wanted, columns[0].first, columns[count - 1].second);
        }
        float* const result = call.result + row * width + x;
        const Outcome upper = outcomes[rows.first % 2], lower = outcomes[rows.second % 2];
        if (upper == lower && upper != Outcome::open) {
            for (int64_t i = 0; i < count; ++i) result[i] = upper == Outcome::one ? 1.0f : 0.0f;
            continue;
        }
        for (const int64_t wanted : pair) {
            if (held[wanted % 2] != wanted) widen<channels>(work, wanted, columns, count, wide[wanted % 2]);
            held[wanted % 2] = wanted;
        }
        apply_row<T, channels>(static_cast<const T*>(call.guide.data) + (row * width + x) * channels,
                               wide[rows.first % 2], wide[rows.second % 2], rows.share, count, result);
    }
}

template <typename T>
Status apply(const ApplyCoefficients& call, float scale) {
    const int64_t across = (call.guide.width + tile_width - 1) / tile_width;
    const int64_t tasks = across * ((call.guide.height + tile_height - 1) / tile_height);
    const int slots = slot_count(tasks, 1 << 16);
    Work work{&call, scale, 1.0f / (1.0f - 2.0f * call.clip), across, nullptr};
    const std::size_t floats = static_cast<std::size_t>(slots * 2 * (call.guide.channels + 1) * tile_width);
    work.scratch = static_cast<float*>(allocate(floats * sizeof(float)));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, call.guide.channels == 1 ? apply_tile<T, 1> : apply_tile<T, 3>, &work);
    release(work.scratch);
    return Status::done;
}

}  // namespace

Status apply_coefficients(const ApplyCoefficients& call) {
    switch (call.guide.type) {
        case PixelType::uint8:
            return apply<std::uint8_t>(call, 1.0f / 255);
        case PixelType::uint16:
            return apply<std::uint16_t>(call, 1.0f / 65535);
        default:
            return apply<float>(call, 1.0f);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
