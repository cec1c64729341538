// Lens blur: the mean over an aperture, convex and given row by row as the run of columns it covers. A run's sum is the
// difference of two running sums, so the work per pixel is that of the aperture's rows, not of its area. Wide apertures
// are applied to a picture shrunk by tents, and the result is enlarged by cubic B-splines.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t tile_width = 128, tile_height = 64, band = 512;
constexpr int64_t exact_below = 6;  // a small aperture's few pixels are differences of doubles

struct Work {
    const LensBlur* call;
    const Layer* layer;
    const float* before;  // rows x width x lanes; the aperture reaches `pad` pixels beyond what is wanted
    float* after;         // the same shape
    int64_t lanes, width, rows, pad;
    int64_t first;  // which row of the picture `before` begins with, where it is not shrunk
    int64_t across;
    float scale;  // 1 / the aperture's area
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// A position in a row of pixels one wide, whose centres are whole numbers: the pixel it lies in, and how far.
struct Position {
    int64_t pixel;
    float share;
};

Position position(float at) {
    const float moved = at + 0.5f;
    int64_t pixel = static_cast<int64_t>(moved);
    if (static_cast<float>(pixel) > moved) --pixel;
    return {pixel, moved - static_cast<float>(pixel)};
}

// sums[i] = the sum of the pixels before i, of the same lane.
template <typename T>
void run_up(const float* values, int64_t pixels, int64_t lanes, T* sums) {
    for (int64_t c = 0; c < lanes; ++c) sums[c] = 0;
    for (int64_t i = 0; i < (pixels - 1) * lanes; ++i) sums[i + lanes] = sums[i] + static_cast<T>(values[i]);
}

template <typename T>
void add_run(const T* sums, const float* values, const Position& begin, const Position& end, int64_t lanes,
             int64_t count, float* __restrict totals) {
    const T *const s = sums + begin.pixel * lanes, *const t = sums + end.pixel * lanes;
    const float *const v = values + begin.pixel * lanes, *const w = values + end.pixel * lanes;
    for (int64_t i = 0; i < count; ++i)
        totals[i] += static_cast<float>(t[i] - s[i]) + (w[i] * end.share - v[i] * begin.share);
}

template <typename T>
void blur_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const int64_t radius = work.call->radius, lanes = work.lanes, pad = work.pad, side = 2 * radius + 1;
    const int64_t x = pad + task % work.across * tile_width, count = smaller(tile_width, work.width - pad - x);
    const int64_t begin = radius + task / work.across * tile_height;
    const int64_t end = smaller(begin + tile_height, work.rows - radius), pixels = count + 2 * pad;
    char* const memory = work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes;
    const int64_t row = (tile_width + 2 * pad) * lanes;
    T* const ring = reinterpret_cast<T*>(memory);
    float* const totals = reinterpret_cast<float*>(ring + side * row);
    const auto values = [&](int64_t y) { return work.before + (y * work.width + x - pad) * lanes; };
    const auto sums = [&](int64_t y) { return ring + y % side * row; };
    for (int64_t y = begin - radius; y < begin + radius; ++y) run_up(values(y), pixels, lanes, sums(y));
    for (int64_t y = begin; y < end; ++y) {
        run_up(values(y + radius), pixels, lanes, sums(y + radius));
        for (int64_t i = 0; i < count * lanes; ++i) totals[i] = 0.0f;
        for (int64_t dy = -radius; dy <= radius; ++dy) {
            const float* const run = work.call->runs + 2 * (dy + radius);
            if (!(run[1] > run[0])) continue;
            add_run(sums(y + dy) + pad * lanes, values(y + dy) + pad * lanes, position(run[0]), position(run[1]), lanes,
                    count * lanes, totals);
        }
        float* const to = work.after + (y * work.width + x) * lanes;
        for (int64_t i = 0; i < count * lanes; ++i) to[i] = totals[i] * work.scale;
    }
}

template <typename T>
Status blur(Work& work) {
    const int64_t radius = work.call->radius;
    work.across = (work.width - 2 * work.pad + tile_width - 1) / tile_width;
    const int64_t tasks = work.across * ((work.rows - 2 * radius + tile_height - 1) / tile_height);
    const int slots = slot_count(tasks, 1 << 16);
    const int64_t row = (tile_width + 2 * work.pad) * work.lanes;
    const std::size_t bytes =
        static_cast<std::size_t>((2 * radius + 1) * row) * sizeof(T) + static_cast<std::size_t>(row) * sizeof(float);
    work.scratch_bytes = (bytes + 63) / 64 * 64;
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, blur_tile<T>, &work);
    release(work.scratch);
    return Status::done;
}

Status blur_any(Work& work) { return work.call->radius < exact_below ? blur<double>(work) : blur<float>(work); }

void load_row(void* context, int64_t task, int) {
    const Work& work = *static_cast<const Work*>(context);
    load_lanes(*work.layer, work.first + task, -work.pad, work.width,
               const_cast<float*>(work.before) + task * work.width * work.lanes);
}

void store_row(void* context, int64_t task, int) {
    const Work& work = *static_cast<const Work*>(context);
    const float* const from = work.after + ((task + work.pad) * work.width + work.pad) * work.lanes;
    store_lanes(*work.layer, work.first + work.pad + task, 0, work.layer->source.width, from);
}

Status blur_band(Work& work, float* before, int64_t begin, int64_t end) {
    const Layer& layer = *work.layer;
    const int64_t factor = work.call->factor, first = begin / factor - work.pad;
    work.rows = (end - 1) / factor + work.pad + 1 - first;
    work.first = first;
    if (factor == 1) {
        parallel_for(work.rows, slot_count(work.rows, 1 << 16), load_row, &work);
        const Status status = blur_any(work);
        if (status == Status::done) parallel_for(end - begin, slot_count(end - begin, 1 << 16), store_row, &work);
        return status;
    }
    SmallRows rows{before, PixelType::float32, factor, work.pad, first, work.rows};
    Status status = tent_reduce(layer, rows);
    if (status == Status::done) {
        // Three pixels beyond the picture are wanted, too: the splines reach for them.
        work.pad -= 3;
        status = blur_any(work);
        work.pad += 3;
    }
    if (status != Status::done) return status;
    rows.data = work.after;
    return spline_expand(layer, rows, begin, end);
}

}  // namespace

Status lens_blur(const LensBlur& call) {
    const int64_t factor = call.factor, height = call.layer.source.height;
    Work work{};
    work.call = &call;
    work.layer = &call.layer;
    work.lanes = lanes_of(call.layer);
    work.pad = call.radius + 1 + (factor > 1 ? 3 : 0);
    work.width = (call.layer.source.width + factor - 1) / factor + 2 * work.pad;
    double area = 0.0;
    for (int64_t k = 0; k <= 2 * call.radius; ++k)
        if (call.runs[2 * k + 1] > call.runs[2 * k])
            area += static_cast<double>(call.runs[2 * k + 1]) - static_cast<double>(call.runs[2 * k]);
    work.scale = static_cast<float>(1.0 / area);
    const int64_t rows = smaller((height + factor - 1) / factor, band) + 2 * work.pad + 2;
    const std::size_t count = static_cast<std::size_t>(rows * work.width * work.lanes);
    float* const memory = static_cast<float*>(allocate(2 * count * sizeof(float)));
    if (memory == nullptr) return Status::out_of_memory;
    work.before = memory;
    work.after = memory + count;
    Status status = Status::done;
    for (int64_t begin = 0; begin < height && status == Status::done; begin += band * factor)
        status = blur_band(work, memory, begin, smaller(begin + band * factor, height));
    release(memory);
    return status;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
