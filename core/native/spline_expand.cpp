// Enlarging by a power of two with cubic B-splines, whose smoothing is part of a blur: rows of a small picture become rows
// of the result.
//
// A tile of columns keeps the four small rows around widened to full resolution; each row of the result is a weighted sum
// of them.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t least_width = 512, tile_height = 128;

struct Work {
    const Layer* layer;
    const SmallRows* small;
    int64_t begin, end;      // rows of the result
    int64_t lanes, across;   // of a pixel; tiles side by side
    int64_t tile_width, chunk;  // pixels; small rows of a tile
    const float* weights;    // 4 x tile_width x lanes, for the columns of a tile
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t floor_divided(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The small pixel whose centre lies at or before a large one's.
int64_t cell_of(int64_t at, int64_t factor) { return floor_divided(at - factor / 2, factor); }

struct Spline {
    float weights[4];
};

Spline spline(int64_t phase, int64_t factor) {
    const double t = (static_cast<double>(phase) + 0.5) / static_cast<double>(factor), s = 1.0 - t;
    return {{static_cast<float>(s * s * s / 6.0), static_cast<float>((3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0),
             static_cast<float>((3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0), static_cast<float>(t * t * t / 6.0)}};
}

void weigh_columns(int64_t factor, int64_t width, int64_t lanes, float* weights) {
    for (int64_t x = 0; x < width; ++x) {
        const Spline at = spline(x - cell_of(x, factor) * factor - factor / 2, factor);
        for (int k = 0; k < 4; ++k)
            for (int64_t c = 0; c < lanes; ++c) weights[(k * width + x) * lanes + c] = at.weights[k];
    }
}

template <int lanes>
void repeat(const float* cells, int64_t first, int64_t factor, int64_t count, float* repeated) {
    int64_t cell = cell_of(first, factor), left = (cell + 1) * factor + factor / 2 - first;
    for (const float* from = cells + cell * lanes; count > 0; from += lanes, left = factor) {
        const int64_t times = left < count ? left : count;
        count -= times;
        for (int64_t i = 0; i < times; ++i, repeated += lanes)
            for (int c = 0; c < lanes; ++c) repeated[c] = from[c];
    }
}

// Widen a small row over the columns [x, x + count): every small pixel repeated, then four copies, shifted by whole small
// pixels, in one weighted sum.
void widen(const Work& work, const float* cells, int64_t x, int64_t count, float* __restrict repeated,
           float* __restrict wide) {
    const int64_t factor = work.small->factor, lanes = work.lanes, step = factor * lanes;
    const int64_t first = x - factor, all = count + 3 * factor;
    switch (lanes) {
        case 1:
            repeat<1>(cells, first, factor, all, repeated);
            break;
        case 2:
            repeat<2>(cells, first, factor, all, repeated);
            break;
        case 3:
            repeat<3>(cells, first, factor, all, repeated);
            break;
        case 4:
            repeat<4>(cells, first, factor, all, repeated);
            break;
        default:
            repeat<5>(cells, first, factor, all, repeated);
    }
    const int64_t plane = work.tile_width * lanes;
    const float *const w0 = work.weights, *const w1 = w0 + plane, *const w2 = w1 + plane, *const w3 = w2 + plane;
    const float *const r0 = repeated, *const r1 = r0 + step, *const r2 = r1 + step, *const r3 = r2 + step;
    for (int64_t i = 0; i < count * lanes; ++i)
        wide[i] = (r0[i] * w0[i] + r1[i] * w1[i]) + (r2[i] * w2[i] + r3[i] * w3[i]);
}

template <typename T>
void sum_to(const float* const* rows, const Spline& at, int64_t count, float half, T* __restrict result) {
    const float *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float wa = at.weights[0], wb = at.weights[1], wc = at.weights[2], wd = at.weights[3];
    for (int64_t i = 0; i < count; ++i) {
        const float value = (a[i] * wa + b[i] * wb) + (c[i] * wc + d[i] * wd);
        result[i] = static_cast<T>(value + half);
    }
}
template <>
void sum_to<std::uint8_t>(const float* const* rows, const Spline& at, int64_t count, float half,
                          std::uint8_t* __restrict result) {
    const float *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float wa = at.weights[0], wb = at.weights[1], wc = at.weights[2], wd = at.weights[3];
    for (int64_t i = 0; i < count; ++i) {
        const float value = (a[i] * wa + b[i] * wb) + (c[i] * wc + d[i] * wd);
        result[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value + half));
    }
}

void write_row(const Work& work, const float* const* rows, const Spline& at, int64_t y, int64_t x, int64_t count,
               float* line) {
    const Layer& layer = *work.layer;
    const int64_t lanes = work.lanes, first = (y * layer.source.width + x) * lanes;
    const bool plain = !layer.last_is_alpha && layer.alpha == nullptr && layer.decode == nullptr;
    if (!plain || layer.mask != nullptr) {
        sum_to<float>(rows, at, count * lanes, 0.0f, line);
        store_lanes(layer, y, x, count, line);
    } else if (layer.source.type == PixelType::uint8) {
        sum_to(rows, at, count * lanes, 0.5f, static_cast<std::uint8_t*>(layer.result) + first);
    } else if (layer.source.type == PixelType::uint16) {
        sum_to(rows, at, count * lanes, 0.5f, static_cast<std::uint16_t*>(layer.result) + first);
    } else {
        sum_to(rows, at, count * lanes, 0.0f, static_cast<float*>(layer.result) + first);
    }
}

const float* cells_at(const Work& work, int64_t row) {
    const int64_t factor = work.small->factor, pad = work.small->pad;
    const int64_t width = (work.layer->source.width + factor - 1) / factor + 2 * pad;
    return work.small->data + ((row - work.small->first) * width + pad) * work.lanes;
}

void expand_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const int64_t factor = work.small->factor, wide = work.tile_width * work.lanes;
    const int64_t x = task % work.across * work.tile_width;
    const int64_t count = smaller(work.tile_width, work.layer->source.width - x);
    const int64_t first = cell_of(work.begin, factor) + task / work.across * work.chunk;
    float* const ring = reinterpret_cast<float*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    float *const line = ring + 4 * wide, *const repeated = line + wide;
    const int64_t last = smaller(first + work.chunk, cell_of(work.end - 1, factor) + 1);
    for (int64_t k = -1; k < 2; ++k)
        widen(work, cells_at(work, first + k), x, count, repeated, ring + ((first + k) & 3) * wide);
    for (int64_t cell = first; cell < last; ++cell) {
        widen(work, cells_at(work, cell + 2), x, count, repeated, ring + ((cell + 2) & 3) * wide);
        const float* rows[4];
        for (int64_t k = 0; k < 4; ++k) rows[k] = ring + ((cell - 1 + k) & 3) * wide;
        const int64_t top = cell * factor + factor / 2;
        for (int64_t y = larger(top, work.begin); y < smaller(top + factor, work.end); ++y)
            write_row(work, rows, spline(y - top, factor), y, x, count, line);
    }
}

}  // namespace

Status spline_expand(const Layer& layer, const SmallRows& small, std::int64_t begin, std::int64_t end) {
    const int64_t factor = small.factor;
    Work work{};
    work.layer = &layer;
    work.small = &small;
    work.begin = begin;
    work.end = end;
    work.lanes = lanes_of(layer);
    work.tile_width = larger(least_width, factor);
    work.across = (layer.source.width + work.tile_width - 1) / work.tile_width;
    work.chunk = larger(1, tile_height / factor);
    const int64_t cells = cell_of(end - 1, factor) + 1 - cell_of(begin, factor);
    const int64_t tasks = work.across * ((cells + work.chunk - 1) / work.chunk);
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t wide = static_cast<std::size_t>(work.tile_width * work.lanes);
    const std::size_t repeated = static_cast<std::size_t>((work.tile_width + 3 * factor) * work.lanes + 15) / 16 * 16;
    work.scratch_bytes = (5 * wide + repeated) * sizeof(float);
    char* const memory = static_cast<char*>(
        allocate(4 * wide * sizeof(float) + static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (memory == nullptr) return Status::out_of_memory;
    work.weights = reinterpret_cast<float*>(memory);
    work.scratch = memory + 4 * wide * sizeof(float);
    weigh_columns(factor, work.tile_width, work.lanes, reinterpret_cast<float*>(memory));
    parallel_for(tasks, slots, expand_tile, &work);
    release(memory);
    return Status::done;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
