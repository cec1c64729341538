// Separable convolution with a short symmetric kernel: down the columns of a tile, then along its rows.
//
// The rows around stay in a ring as long as they are needed. Bytes as they are become 16-bit fixed point, whose
// rounding product of two such numbers is one instruction on x86; everything else is computed in float.
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
constexpr int64_t group = 8;  // rows summed together, a stretch of lanes at a time, which so stays in the cache
constexpr int64_t stretch_bytes = 512;
constexpr int bits = 6;                            // behind the point: 255 << 6, twice, still fits
constexpr int64_t vector = 32, step = 4 * vector;  // lanes

struct Work {
    const Layer* layer;
    const float* taps;
    const Fixed* fixed_taps;
    int64_t radius, lanes, across;
    int64_t halo, row;  // lanes beyond a tile's sides, and of a row with both
    char* scratch;
    std::size_t pointer_bytes, scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

// ---- Float ----------------------------------------------------------------------------------------------------------

// sums[i] += the pairs at the same distance from the middle, each times its tap.
template <int pairs>
void add_pairs(const float* const* before, const float* const* after, const float* taps, int64_t begin, int64_t end,
               float* __restrict sums) {
    const float *const a = before[0], *const b = after[0];
    const float *const c = before[pairs > 1], *const d = after[pairs > 1];
    const float *const e = before[pairs > 2 ? 2 : 0], *const f = after[pairs > 2 ? 2 : 0];
    const float *const g = before[pairs > 3 ? 3 : 0], *const h = after[pairs > 3 ? 3 : 0];
    const float k0 = taps[0], k1 = taps[pairs > 1], k2 = taps[pairs > 2 ? 2 : 0], k3 = taps[pairs > 3 ? 3 : 0];
    for (int64_t i = begin; i < end; ++i) {
        float sum = sums[i] + (a[i] + b[i]) * k0;
        if (pairs > 1) sum += (c[i] + d[i]) * k1;
        if (pairs > 2) sum += (e[i] + f[i]) * k2;
        if (pairs > 3) sum += (g[i] + h[i]) * k3;
        sums[i] = sum;
    }
}

// The sums over a stretch of lanes: before[0] is the middle.
void sum_taps(const float* const* before, const float* const* after, const float* taps, int64_t radius, int64_t begin,
              int64_t end, float* __restrict sums) {
    const float first = taps[0];
    const float* const middle = before[0];
    for (int64_t i = begin; i < end; ++i) sums[i] = middle[i] * first;
    int64_t j = 1;
    for (; j + 3 <= radius; j += 4) add_pairs<4>(before + j, after + j, taps + j, begin, end, sums);
    for (; j <= radius; ++j) add_pairs<1>(before + j, after + j, taps + j, begin, end, sums);
}

// ---- 16-bit fixed point
// -------------------------------------------------------------------------------------------------

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
void sum_taps(const Fixed* const* before, const Fixed* const* after, const Fixed* taps, int64_t radius, int64_t begin,
              int64_t end, Fixed* sums) {
    constexpr int64_t w = width_of_register;
    const Fixed* const middle = before[0];
    for (int64_t i = begin; i < end; i += 4 * w) {
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

void sum_taps(const Fixed* const* before, const Fixed* const* after, const Fixed* taps, int64_t radius, int64_t begin,
              int64_t end, Fixed* __restrict sums) {
    const Fixed first = taps[0];
    const Fixed* const middle = before[0];
    for (int64_t i = begin; i < end; ++i) sums[i] = scaled(middle[i], first);
    for (int64_t j = 1; j <= radius; ++j) {
        const Fixed tap = taps[j];
        const Fixed *const a = before[j], *const b = after[j];
        for (int64_t i = begin; i < end; ++i)
            sums[i] = static_cast<Fixed>(sums[i] + scaled(static_cast<Fixed>(a[i] + b[i]), tap));
    }
}
#endif

// ---- Rows in and out ------------------------------------------------------------------------------------------------

void load_row(const Layer& layer, int64_t y, int64_t x, int64_t count, float* lanes) {
    load_lanes(layer, y, x, count, lanes);
}

template <typename T>
void load_fixed(const Layer& layer, int64_t y, int64_t x, int64_t count, Fixed* __restrict lanes) {
    constexpr Fixed unit = sizeof(T) == 1 ? 1 << bits : 1;
    const int64_t width = layer.source.width, channels = layer.source.channels;
    const int64_t row = edge_index(y, layer.source.height, layer.edges);
    const T* const pixels = static_cast<const T*>(layer.source.data) + larger(row, 0) * width * channels;
    const int64_t begin = smaller(larger(-x, 0), count), end = larger(begin, smaller(width - x, count));
    const T* const inside = pixels + larger(x, 0) * channels;
    const Fixed there = row >= 0 ? unit : Fixed{0};
    Fixed* const to = lanes + begin * channels;
    for (int64_t i = 0; i < (end - begin) * channels; ++i) to[i] = static_cast<Fixed>(inside[i] * there);
    for (int64_t i = 0; i < count; ++i) {
        if (i == begin) i = end;
        if (i == count) break;
        const int64_t column = edge_index(x + i, width, layer.edges);
        for (int64_t c = 0; c < channels; ++c)
            lanes[i * channels + c] = column < 0 ? Fixed{0} : static_cast<Fixed>(pixels[column * channels + c] * there);
    }
}

void load_row(const Layer& layer, int64_t y, int64_t x, int64_t count, Fixed* lanes) {
    if (layer.source.type == PixelType::uint8)
        load_fixed<std::uint8_t>(layer, y, x, count, lanes);
    else
        load_fixed<Fixed>(layer, y, x, count, lanes);
}

void store_row(const Layer& layer, int64_t y, int64_t x, int64_t count, const float* lanes) {
    store_lanes(layer, y, x, count, lanes);
}

void store_row(const Layer& layer, int64_t y, int64_t x, int64_t count, const Fixed* __restrict lanes) {
    const int64_t channels = layer.source.channels, first = (y * layer.source.width + x) * channels;
    if (layer.source.type == PixelType::fixed16) {
        Fixed* const fixed = static_cast<Fixed*>(layer.result) + first;
        for (int64_t i = 0; i < count * channels; ++i) fixed[i] = lanes[i];
        return;
    }
    std::uint8_t* const result = static_cast<std::uint8_t*>(layer.result) + first;
    for (int64_t i = 0; i < count * channels; ++i)
        result[i] = static_cast<std::uint8_t>((lanes[i] + (1 << (bits - 1))) >> bits);
}

const float* taps_as(const Work& work, float) { return work.taps; }
const Fixed* taps_as(const Work& work, Fixed) { return work.fixed_taps; }

// ---- Tiles ----------------------------------------------------------------------------------------------------------

// A tile's memory: pointers to the rows around each row of a group, a ring of rows, and sums.
template <typename T>
struct Buffers {
    const T **before, **after;
    T *ring, *down, *sums;
};

template <typename T>
Buffers<T> buffers(const Work& work, int slot) {
    char* const memory = work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes;
    Buffers<T> made{};
    made.before = reinterpret_cast<const T**>(memory);
    made.after = made.before + group * (work.radius + 1);
    made.ring = reinterpret_cast<T*>(memory + work.pointer_bytes);
    made.down = made.ring + (2 * work.radius + group) * work.row;
    made.sums = made.down + group * work.row;
    return made;
}

template <typename T>
void convolve_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Layer& layer = *work.layer;
    const int64_t radius = work.radius, side = radius + 1, rows = 2 * radius + group, lanes = work.lanes;
    const int64_t x = task % work.across * tile_width, begin = task / work.across * tile_height;
    const int64_t count = smaller(tile_width, layer.source.width - x);
    const int64_t end = smaller(begin + tile_height, layer.source.height);
    const Buffers<T> to = buffers<T>(work, slot);
    // A row's first lanes are padding, so that the tile itself starts at `halo` and reads stay inside.
    const int64_t first = work.halo - radius * lanes, loaded_pixels = count + 2 * radius;
    const int64_t used = (2 * work.halo + count * lanes + step - 1) / step * step;
    const T* const taps = taps_as(work, T{});
    const auto at = [&](int64_t y) { return to.ring + (y - begin + radius) % rows * work.row; };
    const auto load = [&](int64_t y) { load_row(layer, y, x - radius, loaded_pixels, at(y) + first); };
    for (int64_t y = begin - radius; y < begin + radius; ++y) load(y);
    for (int64_t top = begin; top < end; top += group) {
        const int64_t members = smaller(group, end - top);
        for (int64_t k = 0; k < members; ++k) load(top + k + radius);
        for (int64_t k = 0; k < members; ++k)
            for (int64_t j = 0; j <= radius; ++j) {
                to.before[k * side + j] = at(top + k - j);
                to.after[k * side + j] = at(top + k + j);
            }
        constexpr int64_t stretch = stretch_bytes / static_cast<int64_t>(sizeof(T));
        for (int64_t i = 0; i < used; i += stretch)
            for (int64_t k = 0; k < members; ++k)
                sum_taps(to.before + k * side, to.after + k * side, taps, radius, i, smaller(i + stretch, used),
                         to.down + k * work.row);
        for (int64_t k = 0; k < members; ++k) {
            const T* const middle = to.down + k * work.row + work.halo;
            for (int64_t j = 0; j <= radius; ++j) {
                to.before[j] = middle - j * lanes;
                to.after[j] = middle + j * lanes;
            }
            sum_taps(to.before, to.after, taps, radius, 0, (count * lanes + vector - 1) / vector * vector, to.sums);
            store_row(layer, top + k, x, count, to.sums);
        }
    }
}

template <typename T>
Status run(Work& work) {
    const int64_t tile = (tile_width * work.lanes + step - 1) / step * step;
    work.halo = (work.radius * work.lanes + vector - 1) / vector * vector;
    work.row = (tile + 2 * work.halo + step - 1) / step * step;
    const int64_t height = work.layer->source.height;
    const int64_t tasks = work.across * ((height + tile_height - 1) / tile_height);
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t pointers = 2 * static_cast<std::size_t>(group * (work.radius + 1)) * sizeof(T*);
    const std::size_t rows = static_cast<std::size_t>((2 * work.radius + 2 * group + 1) * work.row) * sizeof(T);
    const std::size_t table = (static_cast<std::size_t>(work.radius + 1) * sizeof(Fixed) + 63) / 64 * 64;
    work.pointer_bytes = (pointers + 63) / 64 * 64;
    work.scratch_bytes = work.pointer_bytes + (rows + 63) / 64 * 64;
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
    const bool bytes = layer.source.type == PixelType::uint8 && is_plain(layer) && layer.mask == nullptr;
    if (bytes || layer.source.type == PixelType::fixed16) return run<Fixed>(work);
    return run<float>(work);
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
