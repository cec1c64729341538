// Enlarging by a power of two with cubic B-splines, whose smoothing is part of a blur: rows of a small picture become
// rows of the result.
//
// A tile of columns keeps the four small rows around widened to full resolution; each row of the result is a weighted
// sum of them.
#include "kernels.hpp"

#if defined(__AVX2__) || defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;
using Fixed = std::int16_t;

constexpr int64_t least_width = 256, tile_height = 128;

struct Work {
    const Layer* layer;
    const SmallRows* small;
    int64_t begin, end;         // rows of the result
    int64_t lanes, across;      // of a pixel; tiles side by side
    int64_t tile_width, chunk;  // pixels; small rows of a tile
    const void* weights;        // 4 x tile_width x lanes, for the columns of a tile, as the small rows' type
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

int64_t floor_divided(int64_t a, int64_t b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// The small pixel whose centre lies at or before a large one's.
int64_t cell_of(int64_t at, int64_t factor) { return floor_divided(at - factor / 2, factor); }

template <typename T>
struct Spline {
    T weights[4];
};

void put(const double* from, Spline<float>& to) {
    for (int k = 0; k < 4; ++k) to.weights[k] = static_cast<float>(from[k]);
}

// In 15 bits; the largest takes what rounding left, so that their sum is 1.
void put(const double* from, Spline<Fixed>& to) {
    std::int32_t rest = 32768;
    const int largest = from[1] > from[2] ? 1 : 2;
    for (int k = 0; k < 4; ++k) {
        to.weights[k] = static_cast<Fixed>(from[k] * 32768.0 + 0.5);
        rest -= to.weights[k];
    }
    to.weights[largest] = static_cast<Fixed>(to.weights[largest] + rest);
}

template <typename T>
Spline<T> spline(int64_t phase, int64_t factor) {
    const double t = (static_cast<double>(phase) + 0.5) / static_cast<double>(factor), s = 1.0 - t;
    const double weights[4] = {s * s * s / 6.0, (3.0 * t * t * t - 6.0 * t * t + 4.0) / 6.0,
                               (3.0 * s * s * s - 6.0 * s * s + 4.0) / 6.0, t * t * t / 6.0};
    Spline<T> made{};
    put(weights, made);
    return made;
}

template <typename T>
void weigh_columns(int64_t factor, int64_t width, int64_t lanes, T* weights) {
    for (int64_t x = 0; x < width; ++x) {
        const Spline<T> at = spline<T>(x - cell_of(x, factor) * factor - factor / 2, factor);
        for (int k = 0; k < 4; ++k)
            for (int64_t c = 0; c < lanes; ++c) weights[(k * width + x) * lanes + c] = at.weights[k];
    }
}

template <typename T, int lanes>
struct Pixel {
    T values[lanes];
};

template <int lanes, typename T>
void repeat(const T* cells, int64_t first, int64_t factor, int64_t count, T* repeated) {
    int64_t cell = cell_of(first, factor), left = (cell + 1) * factor + factor / 2 - first;
    for (const T* from = cells + cell * lanes; count > 0; from += lanes, left = factor) {
        const int64_t times = left < count ? left : count;
        count -= times;
        const Pixel<T, lanes> pixel = *reinterpret_cast<const Pixel<T, lanes>*>(from);
        for (int64_t i = 0; i < times; ++i, repeated += lanes) *reinterpret_cast<Pixel<T, lanes>*>(repeated) = pixel;
    }
}

void weigh(const float* const* copies, const float* weights, int64_t plane, int64_t count, float* __restrict wide) {
    const float *const w0 = weights, *const w1 = w0 + plane, *const w2 = w1 + plane, *const w3 = w2 + plane;
    const float *const r0 = copies[0], *const r1 = copies[1], *const r2 = copies[2], *const r3 = copies[3];
    for (int64_t i = 0; i < count; ++i) wide[i] = (r0[i] * w0[i] + r1[i] * w1[i]) + (r2[i] * w2[i] + r3[i] * w3[i]);
}

// ---- 16-bit fixed point: products of registers, rounded to its 15 bits
// ---------------------------------------------------

constexpr int bits = 6;
constexpr int64_t vector = 32;  // lanes that buffers are rounded up to

#if defined(__AVX512BW__)
using Register = __m512i;
constexpr int64_t width_of_register = 32;
Register loaded(const Fixed* from) { return _mm512_loadu_si512(from); }
Register all(Fixed value) { return _mm512_set1_epi16(value); }
Register scaled(Register a, Register b) { return _mm512_mulhrs_epi16(a, b); }
Register added(Register a, Register b) { return _mm512_add_epi16(a, b); }
void put(Fixed* to, Register a) { _mm512_storeu_si512(to, a); }
void put_bytes(std::uint8_t* to, Register a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi16_epi8(_mm512_srli_epi16(a, bits)));
}
#elif defined(__AVX2__)
using Register = __m256i;
constexpr int64_t width_of_register = 16;
Register loaded(const Fixed* from) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)); }
Register all(Fixed value) { return _mm256_set1_epi16(value); }
Register scaled(Register a, Register b) { return _mm256_mulhrs_epi16(a, b); }
Register added(Register a, Register b) { return _mm256_add_epi16(a, b); }
void put(Fixed* to, Register a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a); }
void put_bytes(std::uint8_t* to, Register a) {
    const __m256i shifted = _mm256_srli_epi16(a, bits);
    const __m128i packed = _mm_packus_epi16(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), packed);
}
#else
using Register = Fixed;
constexpr int64_t width_of_register = 1;
Register loaded(const Fixed* from) { return *from; }
Register all(Fixed value) { return value; }
Register scaled(Register a, Register b) {
    return static_cast<Fixed>((static_cast<std::int32_t>(a) * static_cast<std::int32_t>(b) + 0x4000) >> 15);
}
Register added(Register a, Register b) { return static_cast<Fixed>(a + b); }
void put(Fixed* to, Register a) { *to = a; }
void put_bytes(std::uint8_t* to, Register a) { *to = static_cast<std::uint8_t>(a >> bits); }
#endif

// Four rows' weighted sum.
Register sum(Register a, Register wa, Register b, Register wb, Register c, Register wc, Register d, Register wd) {
    return added(added(scaled(a, wa), scaled(b, wb)), added(scaled(c, wc), scaled(d, wd)));
}

// The buffers go on for as many lanes as a register has.
void weigh(const Fixed* const* copies, const Fixed* weights, int64_t plane, int64_t count, Fixed* __restrict wide) {
    const Fixed *const w0 = weights, *const w1 = w0 + plane, *const w2 = w1 + plane, *const w3 = w2 + plane;
    const Fixed *const r0 = copies[0], *const r1 = copies[1], *const r2 = copies[2], *const r3 = copies[3];
    for (int64_t i = 0; i < count; i += width_of_register)
        put(wide + i, sum(loaded(r0 + i), loaded(w0 + i), loaded(r1 + i), loaded(w1 + i), loaded(r2 + i),
                          loaded(w2 + i), loaded(r3 + i), loaded(w3 + i)));
}

// Widen a small row over the columns [x, x + count): every small pixel repeated, then four copies, shifted by whole
// small pixels, in one weighted sum.
template <typename T>
void widen(const Work& work, const T* cells, int64_t x, int64_t count, T* repeated, T* wide) {
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
    const T* const weights = static_cast<const T*>(work.weights);
    const T* const copies[4] = {repeated, repeated + step, repeated + 2 * step, repeated + 3 * step};
    weigh(copies, weights, plane, count * lanes, wide);
}

template <typename T>
void sum_to(const float* const* rows, const Spline<float>& at, int64_t count, float half, T* __restrict result) {
    const float *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float wa = at.weights[0], wb = at.weights[1], wc = at.weights[2], wd = at.weights[3];
    for (int64_t i = 0; i < count; ++i) {
        const float value = (a[i] * wa + b[i] * wb) + (c[i] * wc + d[i] * wd);
        result[i] = static_cast<T>(value + half);
    }
}
template <>
void sum_to<std::uint8_t>(const float* const* rows, const Spline<float>& at, int64_t count, float half,
                          std::uint8_t* __restrict result) {
    const float *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float wa = at.weights[0], wb = at.weights[1], wc = at.weights[2], wd = at.weights[3];
    for (int64_t i = 0; i < count; ++i) {
        const float value = (a[i] * wa + b[i] * wb) + (c[i] * wc + d[i] * wd);
        result[i] = static_cast<std::uint8_t>(static_cast<std::int32_t>(value + half));
    }
}

void write_row(const Work& work, const float* const* rows, int64_t phase, int64_t y, int64_t x, int64_t count,
               float* line) {
    const Layer& layer = *work.layer;
    const Spline<float> at = spline<float>(phase, work.small->factor);
    const int64_t lanes = work.lanes, first = (y * layer.source.width + x) * lanes;
    if (!is_plain(layer) || layer.mask != nullptr) {
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

void write_row(const Work& work, const Fixed* const* rows, int64_t phase, int64_t y, int64_t x, int64_t count,
               Fixed* line) {
    const Spline<Fixed> at = spline<Fixed>(phase, work.small->factor);
    const int64_t all_lanes = count * work.lanes;
    std::uint8_t* const result =
        static_cast<std::uint8_t*>(work.layer->result) + (y * work.layer->source.width + x) * work.lanes;
    const Fixed *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const Register wa = all(at.weights[0]), wb = all(at.weights[1]), wc = all(at.weights[2]), wd = all(at.weights[3]);
    const Register half = all(1 << (bits - 1));
    const auto value = [&](int64_t i) {
        return added(half, sum(loaded(a + i), wa, loaded(b + i), wb, loaded(c + i), wc, loaded(d + i), wd));
    };
    int64_t i = 0;
    for (; i + width_of_register <= all_lanes; i += width_of_register) put_bytes(result + i, value(i));
    if (i == all_lanes) return;
    std::uint8_t* const rest = reinterpret_cast<std::uint8_t*>(line);
    put_bytes(rest, value(i));
    for (int64_t k = 0; i + k < all_lanes; ++k) result[i + k] = rest[k];
}

template <typename T>
const T* cells_at(const Work& work, int64_t row) {
    const int64_t factor = work.small->factor, pad = work.small->pad;
    const int64_t width = (work.layer->source.width + factor - 1) / factor + 2 * pad;
    return static_cast<const T*>(work.small->data) + ((row - work.small->first) * width + pad) * work.lanes;
}

int64_t rounded_up(int64_t count) { return (count + vector - 1) / vector * vector; }

template <typename T>
void expand_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const int64_t factor = work.small->factor, wide = rounded_up(work.tile_width * work.lanes);
    const int64_t x = task % work.across * work.tile_width;
    const int64_t count = smaller(work.tile_width, work.layer->source.width - x);
    const int64_t first = cell_of(work.begin, factor) + task / work.across * work.chunk;
    T* const ring = reinterpret_cast<T*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    T *const line = ring + 4 * wide, *const repeated = line + wide;
    const int64_t last = smaller(first + work.chunk, cell_of(work.end - 1, factor) + 1);
    for (int64_t k = -1; k < 2; ++k)
        widen(work, cells_at<T>(work, first + k), x, count, repeated, ring + ((first + k) & 3) * wide);
    for (int64_t cell = first; cell < last; ++cell) {
        widen(work, cells_at<T>(work, cell + 2), x, count, repeated, ring + ((cell + 2) & 3) * wide);
        const T* rows[4];
        for (int64_t k = 0; k < 4; ++k) rows[k] = ring + ((cell - 1 + k) & 3) * wide;
        const int64_t top = cell * factor + factor / 2;
        for (int64_t y = larger(top, work.begin); y < smaller(top + factor, work.end); ++y)
            write_row(work, rows, y - top, y, x, count, line);
    }
}

template <typename T>
Status expand(Work& work, int64_t tasks) {
    const int slots = slot_count(tasks, 1 << 16);
    const int64_t factor = work.small->factor, wide = rounded_up(work.tile_width * work.lanes);
    const int64_t repeated = rounded_up((work.tile_width + 3 * factor) * work.lanes) + vector;
    const std::size_t table =
        static_cast<std::size_t>(rounded_up(4 * work.tile_width * work.lanes) + vector) * sizeof(T);
    work.scratch_bytes = static_cast<std::size_t>(5 * wide + repeated) * sizeof(T);
    char* const memory = static_cast<char*>(allocate(table + static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (memory == nullptr) return Status::out_of_memory;
    T* const weights = reinterpret_cast<T*>(memory);
    weigh_columns(factor, work.tile_width, work.lanes, weights);
    work.weights = weights;
    work.scratch = memory + table;
    parallel_for(tasks, slots, expand_tile<T>, &work);
    release(memory);
    return Status::done;
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
    return small.type == PixelType::fixed16 ? expand<Fixed>(work, tasks) : expand<float>(work, tasks);
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
