// The mean over the (2 r + 1)^2 window with any edges, alpha and mask, in the source's own type. As in box_filter.cpp,
// column sums gain the entering row and lose the leaving one, and a window slides along them.
#include "kernels.hpp"

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SAFELIGHT_SSE2
#endif

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;
using Whole = std::int32_t;

constexpr int64_t most_whole = 1400;  // the radius up to which a window's sum of bytes fits 32 bits

struct Work {
    const BoxBlur* call;
    int64_t strip, lanes;
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

const std::uint8_t* bytes_at(const Layer& layer, int64_t row) {
    return static_cast<const std::uint8_t*>(layer.source.data) + row * layer.source.width * layer.source.channels;
}

// Sums of a strip's columns: whole ones of bytes as they are.
void exchange(const Layer& layer, int64_t entering, int64_t leaving, int64_t count, float*, Whole* __restrict columns) {
    const int64_t in = edge_index(entering, layer.source.height, layer.edges);
    const int64_t out = edge_index(leaving, layer.source.height, layer.edges);
    const std::uint8_t *const a = bytes_at(layer, larger(in, 0)), *const b = bytes_at(layer, larger(out, 0));
    if (in >= 0 && out >= 0)
        for (int64_t i = 0; i < count; ++i) columns[i] += static_cast<Whole>(a[i]) - static_cast<Whole>(b[i]);
    else if (in >= 0)
        for (int64_t i = 0; i < count; ++i) columns[i] += a[i];
    else if (out >= 0)
        for (int64_t i = 0; i < count; ++i) columns[i] -= b[i];
}

void enter(const Layer& layer, int64_t y, int64_t count, float*, Whole* __restrict columns) {
    const int64_t row = edge_index(y, layer.source.height, layer.edges);
    if (row < 0) return;
    const std::uint8_t* const pixels = bytes_at(layer, row);
    for (int64_t i = 0; i < count; ++i) columns[i] += pixels[i];
}

void enter(const Layer& layer, int64_t y, int64_t count, float* line, double* __restrict columns) {
    load_lanes(layer, y, 0, layer.source.width, line);
    for (int64_t i = 0; i < count; ++i) columns[i] += static_cast<double>(line[i]);
}

void exchange(const Layer& layer, int64_t entering, int64_t leaving, int64_t count, float* line,
              double* __restrict columns) {
    enter(layer, entering, count, line, columns);
    load_lanes(layer, leaving, 0, layer.source.width, line);
    for (int64_t i = 0; i < count; ++i) columns[i] -= static_cast<double>(line[i]);
}

// Column sums that go on beyond the picture: `padded` begins radius + 1 pixels before it.
template <typename Sum>
void pad_columns(const Layer& layer, int64_t lanes, int64_t radius, Sum* columns) {
    const int64_t width = layer.source.width;
    for (int64_t x = -radius - 1; x < width + radius; ++x) {
        if (x == 0) x = width;
        if (x == width + radius) break;
        const int64_t at = edge_index(x, width, layer.edges);
        for (int64_t c = 0; c < lanes; ++c) columns[x * lanes + c] = at < 0 ? Sum{0} : columns[at * lanes + c];
    }
}

template <int lanes, typename Sum>
void slide(const Sum* padded, int64_t width, int64_t radius, float scale, float* means) {
    Sum window[lanes] = {};
    const int64_t reach = (2 * radius + 1) * lanes;
    for (int64_t i = 0; i < reach; i += lanes)
        for (int c = 0; c < lanes; ++c) window[c] += padded[i + c];
    for (int64_t x = 0; x < width; ++x, padded += lanes, means += lanes)
        for (int c = 0; c < lanes; ++c) {
            window[c] += padded[reach + c] - padded[c];
            means[c] = static_cast<float>(window[c]) * scale;
        }
}

#if defined(SAFELIGHT_SSE2)
template <>
void slide<4, Whole>(const Whole* padded, int64_t width, int64_t radius, float scale, float* means) {
    const auto at = [&](int64_t i) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(padded + i)); };
    const __m128 scales = _mm_set1_ps(scale);
    const int64_t reach = (2 * radius + 1) * 4;
    __m128i window = _mm_setzero_si128();
    for (int64_t i = 0; i < reach; i += 4) window = _mm_add_epi32(window, at(i));
    for (int64_t i = 0; i < 4 * width; i += 4) {
        window = _mm_add_epi32(window, _mm_sub_epi32(at(i + reach), at(i)));
        _mm_storeu_ps(means + i, _mm_mul_ps(_mm_cvtepi32_ps(window), scales));
    }
}
#endif

template <typename Sum>
void slide_row(const Sum* padded, int64_t width, int64_t lanes, int64_t radius, float scale, float* means) {
    switch (lanes) {
        case 1:
            return slide<1>(padded, width, radius, scale, means);
        case 2:
            return slide<2>(padded, width, radius, scale, means);
        case 3:
            return slide<3>(padded, width, radius, scale, means);
        case 4:
            return slide<4>(padded, width, radius, scale, means);
        default:
            return slide<5>(padded, width, radius, scale, means);
    }
}

template <typename Sum>
void blur_strip(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Layer& layer = work.call->layer;
    const int64_t lanes = work.lanes, width = layer.source.width, count = width * lanes, radius = work.call->radius;
    const int64_t begin = task * work.strip, end = smaller(begin + work.strip, layer.source.height);
    float* const line = reinterpret_cast<float*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    Sum* const padded = reinterpret_cast<Sum*>(line + (count + 15) / 16 * 16);
    Sum* const columns = padded + (radius + 1) * lanes;
    const double side = static_cast<double>(2 * radius + 1);
    const float scale = static_cast<float>(1.0 / (side * side));
    for (int64_t i = 0; i < count; ++i) columns[i] = 0;
    for (int64_t y = begin - radius; y <= begin + radius; ++y) enter(layer, y, count, line, columns);
    for (int64_t y = begin; y < end; ++y) {
        if (y > begin) exchange(layer, y + radius, y - radius - 1, count, line, columns);
        pad_columns(layer, lanes, radius, columns);
        slide_row(padded, width, lanes, radius, scale, line);
        store_lanes(layer, y, 0, width, line);
    }
}

template <typename Sum>
Status blur(const BoxBlur& call) {
    const int64_t height = call.layer.source.height;
    Work work{};
    work.call = &call;
    work.lanes = lanes_of(call.layer);
    work.strip = larger(64, 4 * call.radius);
    const int64_t tasks = (height + work.strip - 1) / work.strip, count = call.layer.source.width * work.lanes;
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t line = static_cast<std::size_t>((count + 15) / 16 * 16) * sizeof(float);
    const std::size_t sums = static_cast<std::size_t>(count + (2 * call.radius + 2) * work.lanes) * sizeof(Sum);
    work.scratch_bytes = (line + sums + 127) / 64 * 64;
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, blur_strip<Sum>, &work);
    release(work.scratch);
    return Status::done;
}

}  // namespace

Status box_blur(const BoxBlur& call) {
    const bool bytes = call.layer.source.type == PixelType::uint8 && is_plain(call.layer);
    return bytes && call.radius <= most_whole ? blur<Whole>(call) : blur<double>(call);
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
