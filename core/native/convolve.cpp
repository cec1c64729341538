// Separable convolution with a short symmetric kernel: down the columns of a tile, then along its rows.
//
// The rows around stay in a ring as long as they are needed. Bytes as they are become 16-bit fixed point, whose rounding
// product of two such numbers is one instruction on x86; everything else is computed in float.
#include "kernels.hpp"

#if defined(__AVX2__) || defined(__AVX512BW__)
#include <immintrin.h>
#endif

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;
using Fixed = std::int16_t;

constexpr int64_t tile_width = 384, tile_height = 96;
constexpr int bits = 6;  // behind the point: 255 << 6, twice, still fits
constexpr int64_t vector = 32;

struct Work {
    const Layer* layer;
    const float* taps;
    const Fixed* fixed_taps;
    int64_t radius, lanes, across;
    int64_t halo, row;  // lanes beyond a tile's sides, and of a row with both
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- Float ----------------------------------------------------------------------------------------------------------

// sums[i] += the pairs at the same distance from the middle, each times its tap.
template <int pairs>
void add_pairs(const float* const* before, const float* const* after, const float* taps, int64_t count,
               float* __restrict sums) {
    const float *const a = before[0], *const b = after[0];
    const float *const c = before[pairs > 1], *const d = after[pairs > 1];
    const float *const e = before[pairs > 2 ? 2 : 0], *const f = after[pairs > 2 ? 2 : 0];
    const float *const g = before[pairs > 3 ? 3 : 0], *const h = after[pairs > 3 ? 3 : 0];
    const float k0 = taps[0], k1 = taps[pairs > 1], k2 = taps[pairs > 2 ? 2 : 0], k3 = taps[pairs > 3 ? 3 : 0];
    for (int64_t i = 0; i < count; ++i) {
        float sum = sums[i] + (a[i] + b[i]) * k0;
        if (pairs > 1) sum += (c[i] + d[i]) * k1;
        if (pairs > 2) sum += (e[i] + f[i]) * k2;
        if (pairs > 3) sum += (g[i] + h[i]) * k3;
        sums[i] = sum;
    }
}

void sum_taps(const float* middle, const float* const* before, const float* const* after, const float* taps,
              int64_t radius, int64_t count, float* __restrict sums) {
    const float first = taps[0];
    for (int64_t i = 0; i < count; ++i) sums[i] = middle[i] * first;
    int64_t j = 1;
    for (; j + 3 <= radius; j += 4) add_pairs<4>(before + j, after + j, taps + j, count, sums);
    for (; j <= radius; ++j) add_pairs<1>(before + j, after + j, taps + j, count, sums);
}

// ---- 16-bit fixed point -------------------------------------------------------------------------------------------------

#if defined(__AVX512BW__)
struct Register {
    __m512i value;
};
constexpr int64_t width_of_register = 32;
Register loaded(const Fixed* from) { return {_mm512_loadu_si512(from)}; }
Register all(Fixed value) { return {_mm512_set1_epi16(value)}; }
Register scaled(Register a, Register b) { return {_mm512_mulhrs_epi16(a.value, b.value)}; }
Register added(Register a, Register b) { return {_mm512_add_epi16(a.value, b.value)}; }
void put(Fixed* to, Register a) { _mm512_storeu_si512(to, a.value); }
#elif defined(__AVX2__)
struct Register {
    __m256i value;
};
constexpr int64_t width_of_register = 16;
Register loaded(const Fixed* from) { return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))}; }
Register all(Fixed value) { return {_mm256_set1_epi16(value)}; }
Register scaled(Register a, Register b) { return {_mm256_mulhrs_epi16(a.value, b.value)}; }
Register added(Register a, Register b) { return {_mm256_add_epi16(a.value, b.value)}; }
void put(Fixed* to, Register a) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a.value); }
#endif

#if defined(__AVX2__) || defined(__AVX512BW__)
// Four registers of sums at a time, over all taps.
void sum_taps(const Fixed* middle, const Fixed* const* before, const Fixed* const* after, const Fixed* taps,
              int64_t radius, int64_t count, Fixed* sums) {
    constexpr int64_t w = width_of_register;
    for (int64_t i = 0; i < count; i += 4 * w) {
        const Register first = all(taps[0]);
        Register s0 = scaled(loaded(middle + i), first), s1 = scaled(loaded(middle + i + w), first);
        Register s2 = scaled(loaded(middle + i + 2 * w), first), s3 = scaled(loaded(middle + i + 3 * w), first);
        for (int64_t j = 1; j <= radius; ++j) {
            const Register tap = all(taps[j]);
            const Fixed *const a = before[j] + i, *const b = after[j] + i;
            s0 = added(s0, scaled(added(loaded(a), loaded(b)), tap));
            s1 = added(s1, scaled(added(loaded(a + w), loaded(b + w)), tap));
            s2 = added(s2, scaled(added(loaded(a + 2 * w), loaded(b + 2 * w)), tap));
            s3 = added(s3, scaled(added(loaded(a + 3 * w), loaded(b + 3 * w)), tap));
        }
        put(sums + i, s0);
        put(sums + i + w, s1);
        put(sums + i + 2 * w, s2);
        put(sums + i + 3 * w, s3);
    }
}
#else
Fixed scaled(Fixed a, Fixed b) {
    return static_cast<Fixed>((static_cast<std::int32_t>(a) * static_cast<std::int32_t>(b) + 0x4000) >> 15);
}

void sum_taps(const Fixed* middle, const Fixed* const* before, const Fixed* const* after, const Fixed* taps,
              int64_t radius, int64_t count, Fixed* __restrict sums) {
    const Fixed first = taps[0];
    for (int64_t i = 0; i < count; ++i) sums[i] = scaled(middle[i], first);
    for (int64_t j = 1; j <= radius; ++j) {
        const Fixed tap = taps[j];
        const Fixed *const a = before[j], *const b = after[j];
        for (int64_t i = 0; i < count; ++i)
            sums[i] = static_cast<Fixed>(sums[i] + scaled(static_cast<Fixed>(a[i] + b[i]), tap));
    }
}
#endif

// ---- Rows in and out ------------------------------------------------------------------------------------------------

void load_row(const Layer& layer, int64_t y, int64_t x, int64_t count, float* lanes) {
    load_lanes(layer, y, x, count, lanes);
}

void load_row(const Layer& layer, int64_t y, int64_t x, int64_t count, Fixed* __restrict lanes) {
    const int64_t width = layer.source.width, channels = layer.source.channels;
    const int64_t row = edge_index(y, layer.source.height, layer.edges);
    const std::uint8_t* const pixels =
        static_cast<const std::uint8_t*>(layer.source.data) + larger(row, 0) * width * channels;
    const int64_t begin = smaller(larger(-x, 0), count), end = larger(begin, smaller(width - x, count));
    const std::uint8_t* const inside = pixels + (x + begin) * channels;
    const Fixed there = row >= 0 ? 1 << bits : 0;
    Fixed* const to = lanes + begin * channels;
    for (int64_t i = 0; i < (end - begin) * channels; ++i) to[i] = static_cast<Fixed>(inside[i] * there);
    for (int64_t i = 0; i < count; ++i) {
        if (i == begin) i = end;
        if (i == count) break;
        const int64_t column = edge_index(x + i, width, layer.edges);
        for (int64_t c = 0; c < channels; ++c)
            lanes[i * channels + c] =
                column < 0 ? Fixed{0} : static_cast<Fixed>(pixels[column * channels + c] * there);
    }
}

void store_row(const Layer& layer, int64_t y, int64_t x, int64_t count, const float* lanes) {
    store_lanes(layer, y, x, count, lanes);
}

void store_row(const Layer& layer, int64_t y, int64_t x, int64_t count, const Fixed* __restrict lanes) {
    const int64_t channels = layer.source.channels, first = (y * layer.source.width + x) * channels;
    std::uint8_t* const result = static_cast<std::uint8_t*>(layer.result) + first;
    for (int64_t i = 0; i < count * channels; ++i)
        result[i] = static_cast<std::uint8_t>((lanes[i] + (1 << (bits - 1))) >> bits);
}

const float* taps_as(const Work& work, float) { return work.taps; }
const Fixed* taps_as(const Work& work, Fixed) { return work.fixed_taps; }

// ---- Tiles ----------------------------------------------------------------------------------------------------------

template <typename T>
void convolve_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Layer& layer = *work.layer;
    const int64_t radius = work.radius, rows = 2 * radius + 1, lanes = work.lanes;
    const int64_t x = task % work.across * tile_width, begin = task / work.across * tile_height;
    const int64_t count = smaller(tile_width, layer.source.width - x);
    const int64_t end = smaller(begin + tile_height, layer.source.height);
    char* const memory = work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes;
    const T** const before = reinterpret_cast<const T**>(memory);
    const T** const after = before + radius + 1;
    T* const ring = reinterpret_cast<T*>(memory + (2 * static_cast<std::size_t>(radius + 1) * sizeof(T*) + 63) / 64 * 64);
    T *const down = ring + rows * work.row, *const sums = down + work.row;
    // A row's first lanes are padding, so that the tile itself starts at `halo` and reads stay inside.
    const int64_t first = work.halo - radius * lanes, loaded_pixels = count + 2 * radius;
    const T* const taps = taps_as(work, T{});
    const auto at = [&](int64_t y) { return ring + (y - begin + radius) % rows * work.row; };
    for (int64_t y = begin - radius; y < begin + radius; ++y) load_row(layer, y, x - radius, loaded_pixels, at(y) + first);
    for (int64_t y = begin; y < end; ++y) {
        load_row(layer, y + radius, x - radius, loaded_pixels, at(y + radius) + first);
        for (int64_t j = 0; j <= radius; ++j) {
            before[j] = at(y - j);
            after[j] = at(y + j);
        }
        sum_taps(at(y), before, after, taps, radius, work.row, down);
        for (int64_t j = 0; j <= radius; ++j) {
            before[j] = down + work.halo - j * lanes;
            after[j] = down + work.halo + j * lanes;
        }
        sum_taps(down + work.halo, before, after, taps, radius, (count * lanes + vector - 1) / vector * vector, sums);
        store_row(layer, y, x, count, sums);
    }
}

template <typename T>
Status run(Work& work) {
    constexpr int64_t step = 4 * vector;
    const int64_t tile = (tile_width * work.lanes + step - 1) / step * step;
    work.halo = (work.radius * work.lanes + vector - 1) / vector * vector;
    work.row = (tile + 2 * work.halo + step - 1) / step * step;
    const int64_t height = work.layer->source.height;
    const int64_t tasks = work.across * ((height + tile_height - 1) / tile_height);
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t pointers = 2 * static_cast<std::size_t>(work.radius + 1) * sizeof(T*);
    const std::size_t rows = static_cast<std::size_t>((2 * work.radius + 3) * work.row) * sizeof(T);
    const std::size_t table = (static_cast<std::size_t>(work.radius + 1) * sizeof(Fixed) + 63) / 64 * 64;
    work.scratch_bytes = ((pointers + 63) / 64 + (rows + 63) / 64) * 64;
    char* const memory = static_cast<char*>(allocate(table + static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (memory == nullptr) return Status::out_of_memory;
    Fixed* const fixed = reinterpret_cast<Fixed*>(memory);
    std::int32_t rest = 32768;
    for (int64_t j = work.radius; j > 0; --j) {
        fixed[j] = static_cast<Fixed>(work.taps[j] * 32768.0f + 0.5f);
        rest -= 2 * fixed[j];
    }
    fixed[0] = static_cast<Fixed>(rest);
    work.fixed_taps = fixed;
    work.scratch = memory + table;
    parallel_for(tasks, slots, convolve_tile<T>, &work);
    release(memory);
    return Status::done;
}

}  // namespace

Status convolve(const Layer& layer, const float* taps, std::int64_t radius) {
    Work work{};
    work.layer = &layer;
    work.taps = taps;
    work.radius = radius;
    work.lanes = lanes_of(layer);
    work.across = (layer.source.width + tile_width - 1) / tile_width;
    const bool plain = !layer.last_is_alpha && layer.alpha == nullptr && layer.decode == nullptr;
    const bool fits = radius > 0 && taps[0] < 0.9999f;
    if (plain && fits && layer.mask == nullptr && layer.source.type == PixelType::uint8) return run<Fixed>(work);
    return run<float>(work);
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
