// Shrinking by a power of two, every pixel the tent-weighted mean of twice as many: rows of a small picture that
// reaches beyond the edges of the large one.
//
// A tent is a rising and a falling half, and every source row lies in the rising half of one small row and in the
// falling half of the one above. So each is read once, for both.
#include "kernels.hpp"

#if defined(__SSE2__) || defined(_M_X64)
#include <emmintrin.h>
#define SAFELIGHT_SSE2
#endif

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;
using Fixed = std::int16_t;
using Word = std::uint16_t;

constexpr int64_t block = 2048;     // lanes whose sums stay in the cache
constexpr int64_t most_exact = 32;  // the factor up to which four rows' weighted sum fits 16 bits
constexpr int64_t rows_at_once = 4;
constexpr float fixed_one = 64.0f;  // 1 in fixed point

struct Work {
    const Layer* layer;
    const SmallRows* small;
    int64_t first, count, chunk;  // small rows that are computed; a task's
    int64_t lanes, width;         // of a pixel; of the small picture with its padding
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

struct Weights {
    float up[rows_at_once], down[rows_at_once];
};

template <typename T>
void add_rows(const T* const* rows, const Weights& weights, int64_t begin, int64_t end, float* up, float* down) {
    const T *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    const float ua = weights.up[0], ub = weights.up[1], uc = weights.up[2], ud = weights.up[3];
    const float da = weights.down[0], db = weights.down[1], dc = weights.down[2], dd = weights.down[3];
    SAFELIGHT_INDEPENDENT
    for (int64_t i = begin; i < end; ++i) {
        const float va = static_cast<float>(a[i]), vb = static_cast<float>(b[i]);
        const float vc = static_cast<float>(c[i]), vd = static_cast<float>(d[i]);
        up[i] += (va * ua + vb * ub) + (vc * uc + vd * ud);
        down[i] += (va * da + vb * db) + (vc * dc + vd * dd);
    }
}

void add_bytes(const std::uint8_t* const* rows, const Weights& weights, int64_t begin, int64_t end, float* up,
               float* down) {
    const std::uint8_t *const a = rows[0], *const b = rows[1], *const c = rows[2], *const d = rows[3];
    Word u[rows_at_once], v[rows_at_once];
    for (int k = 0; k < rows_at_once; ++k) {
        u[k] = static_cast<Word>(weights.up[k]);
        v[k] = static_cast<Word>(weights.down[k]);
    }
    const Word ua = u[0], ub = u[1], uc = u[2], ud = u[3], da = v[0], db = v[1], dc = v[2], dd = v[3];
    SAFELIGHT_INDEPENDENT
    for (int64_t i = begin; i < end; ++i) {
        const Word va = a[i], vb = b[i], vc = c[i], vd = d[i];
        const Word rising = static_cast<Word>(static_cast<Word>(va * ua) + static_cast<Word>(vb * ub) +
                                              static_cast<Word>(vc * uc) + static_cast<Word>(vd * ud));
        const Word falling = static_cast<Word>(static_cast<Word>(va * da) + static_cast<Word>(vb * db) +
                                               static_cast<Word>(vc * dc) + static_cast<Word>(vd * dd));
        up[i] += static_cast<float>(rising);
        down[i] += static_cast<float>(falling);
    }
}

// Add four rows, each with its weight in the rising and in the falling half.
template <typename T>
void add(const T* const* rows, const Weights& weights, int64_t, int64_t begin, int64_t end, float* up, float* down) {
    add_rows(rows, weights, begin, end, up, down);
}
template <>
void add<std::uint8_t>(const std::uint8_t* const* rows, const Weights& weights, int64_t factor, int64_t begin,
                       int64_t end, float* up, float* down) {
    if (factor <= most_exact) return add_bytes(rows, weights, begin, end, up, down);
    add_rows(rows, weights, begin, end, up, down);
}

// Where a pixel's rows come from: the source itself where its lanes are as stored, else a buffer they are loaded to.
template <typename T>
const T* row_at(const Layer& layer, int64_t y) {
    return static_cast<const T*>(layer.source.data) + y * layer.source.width * layer.source.channels;
}

template <typename T>
void sum_plain(const Work& work, int64_t group, float* up, float* down) {
    const Layer& layer = *work.layer;
    const int64_t factor = work.small->factor, count = layer.source.width * layer.source.channels;
    for (int64_t begin = 0; begin < count; begin += block)
        for (int64_t j = 0; j < factor; j += rows_at_once) {
            const T* rows[rows_at_once];
            Weights weights;
            for (int64_t k = 0; k < rows_at_once; ++k) {
                const int64_t at = edge_index(group * factor - factor / 2 + j + k, layer.source.height, layer.edges);
                const bool counts = j + k < factor && at >= 0;
                rows[k] = row_at<T>(layer, counts ? at : 0);
                weights.up[k] = counts ? static_cast<float>(2 * (j + k) + 1) : 0.0f;
                weights.down[k] = counts ? static_cast<float>(2 * (factor - j - k) - 1) : 0.0f;
            }
            add<T>(rows, weights, factor, begin, smaller(begin + block, count), up, down);
        }
}

void sum_loaded(const Work& work, int64_t group, float* up, float* down, float* line) {
    const Layer& layer = *work.layer;
    const int64_t factor = work.small->factor, count = layer.source.width * work.lanes;
    for (int64_t j = 0; j < factor; ++j) {
        load_lanes(layer, group * factor - factor / 2 + j, 0, layer.source.width, line);
        const float rising = static_cast<float>(2 * j + 1), falling = static_cast<float>(2 * (factor - j) - 1);
        for (int64_t i = 0; i < count; ++i) {
            up[i] += line[i] * rising;
            down[i] += line[i] * falling;
        }
    }
}

// Weighted sums over a group of rows as many as the factor: of the small row it rises to, and of the one before.
void sum_group(const Work& work, int64_t group, float* up, float* down, float* line) {
    const Layer& layer = *work.layer;
    for (int64_t i = 0; i < layer.source.width * work.lanes; ++i) up[i] = 0.0f;
    if (!is_plain(layer)) return sum_loaded(work, group, up, down, line);
    switch (layer.source.type) {
        case PixelType::uint8:
            return sum_plain<std::uint8_t>(work, group, up, down);
        case PixelType::uint16:
            return sum_plain<std::uint16_t>(work, group, up, down);
        default:
            return sum_plain<float>(work, group, up, down);
    }
}

// One small pixel, its tent wherever it lies.
void reduce_pixel(const Work& work, const float* line, int64_t x, float scale, float* pixel) {
    const int64_t factor = work.small->factor, lanes = work.lanes, width = work.layer->source.width;
    for (int64_t c = 0; c < lanes; ++c) pixel[c] = 0.0f;
    for (int64_t j = 0; j < 2 * factor; ++j) {
        const int64_t at = edge_index(x * factor - factor / 2 + j, width, work.layer->edges);
        const float weight = static_cast<float>(j < factor ? 2 * j + 1 : 2 * (2 * factor - j) - 1);
        if (at < 0) continue;
        for (int64_t c = 0; c < lanes; ++c) pixel[c] += line[at * lanes + c] * weight;
    }
    for (int64_t c = 0; c < lanes; ++c) pixel[c] *= scale;
}

// Small pixels whose tents lie inside: the two halves' pixels of the same weight together, from the outside in.
template <int lanes>
void reduce_inside(const float* line, int64_t factor, int64_t count, float scale, float* pixels) {
    for (int64_t x = 0; x < count; ++x, pixels += lanes, line += factor * lanes) {
        float sums[lanes] = {};
        const float *rising = line, *falling = line + (2 * factor - 1) * lanes;
        float weight = 1.0f;
        for (int64_t j = 0; j < factor; ++j, rising += lanes, falling -= lanes, weight += 2.0f)
            for (int c = 0; c < lanes; ++c) sums[c] += (rising[c] + falling[c]) * weight;
        for (int c = 0; c < lanes; ++c) pixels[c] = sums[c] * scale;
    }
}

#if defined(SAFELIGHT_SSE2)
template <>
void reduce_inside<4>(const float* line, int64_t factor, int64_t count, float scale, float* pixels) {
    const __m128 two = _mm_set1_ps(2.0f), scales = _mm_set1_ps(scale);
    for (int64_t x = 0; x < count; ++x, pixels += 4, line += factor * 4) {
        __m128 sums = _mm_setzero_ps(), weight = _mm_set1_ps(1.0f);
        const float *rising = line, *falling = line + (2 * factor - 1) * 4;
        for (int64_t j = 0; j < factor; ++j, rising += 4, falling -= 4, weight = _mm_add_ps(weight, two)) {
            const __m128 pair = _mm_add_ps(_mm_loadu_ps(rising), _mm_loadu_ps(falling));
            sums = _mm_add_ps(sums, _mm_mul_ps(pair, weight));
        }
        _mm_storeu_ps(pixels, _mm_mul_ps(sums, scales));
    }
}
#endif

void reduce_line(const Work& work, const float* line, float* pixels) {
    const int64_t factor = work.small->factor, lanes = work.lanes, pad = work.small->pad;
    const int64_t width = work.layer->source.width;
    const double area = 2.0 * static_cast<double>(factor) * static_cast<double>(factor);
    const float scale = static_cast<float>(1.0 / (area * area));
    // Tents from x = 1 on start inside; the last ones end there.
    const int64_t begin = 1, end = larger(begin, (width - (3 * factor) / 2) / factor + 1);
    for (int64_t x = -pad; x < work.width - pad; ++x) {
        if (x == begin && width >= 3 * factor) x = end;
        if (x < work.width - pad) reduce_pixel(work, line, x, scale, pixels + (x + pad) * lanes);
    }
    if (width < 3 * factor) return;
    const float* const from = line + (begin * factor - factor / 2) * lanes;
    float* const to = pixels + (begin + pad) * lanes;
    switch (lanes) {
        case 1:
            return reduce_inside<1>(from, factor, end - begin, scale, to);
        case 2:
            return reduce_inside<2>(from, factor, end - begin, scale, to);
        case 3:
            return reduce_inside<3>(from, factor, end - begin, scale, to);
        case 4:
            return reduce_inside<4>(from, factor, end - begin, scale, to);
        default:
            return reduce_inside<5>(from, factor, end - begin, scale, to);
    }
}

// ---- Bytes halved, in integers: the weights 1 3 3 1 down and across give the mean times 64, fixed point's own unit
// -------

template <int lanes>
struct Pixel {
    Fixed values[lanes];
};

template <int lanes>
void every_second(const Word* sums, int64_t count, Fixed* to) {
    const Pixel<lanes>* const from = reinterpret_cast<const Pixel<lanes>*>(sums);
    Pixel<lanes>* const pixels = reinterpret_cast<Pixel<lanes>*>(to);
    for (int64_t x = 0; x < count; ++x) pixels[x] = from[2 * x];
}

const std::uint8_t* bytes_at(const Layer& layer, int64_t y, const std::uint8_t* nothing) {
    const int64_t row = edge_index(y, layer.source.height, layer.edges);
    return row < 0
               ? nothing
               : static_cast<const std::uint8_t*>(layer.source.data) + row * layer.source.width * layer.source.channels;
}

void halve_chunk(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Layer& layer = *work.layer;
    const int64_t lanes = work.lanes, width = layer.source.width, count = width * lanes;
    // Of the line, as many pixels beyond the picture as the small one's padding stands for.
    const int64_t left = 2 * work.small->pad + 1, all = 2 * work.width + 2;
    char* const memory = work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes;
    Word *const line = reinterpret_cast<Word*>(memory), *const sums = line + (all * lanes + 63) / 64 * 64;
    std::uint8_t* const nothing = reinterpret_cast<std::uint8_t*>(sums + (all * lanes + 63) / 64 * 64);
    for (int64_t i = 0; i < count; ++i) nothing[i] = 0;
    const int64_t begin = work.first + task * work.chunk, end = smaller(begin + work.chunk, work.first + work.count);
    for (int64_t y = begin; y < end; ++y) {
        const std::uint8_t *const a = bytes_at(layer, 2 * y - 1, nothing), *const b = bytes_at(layer, 2 * y, nothing);
        const std::uint8_t *const c = bytes_at(layer, 2 * y + 1, nothing), *const d =
                                                                               bytes_at(layer, 2 * y + 2, nothing);
        Word* const inside = line + left * lanes;
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) {
            const Word outer = static_cast<Word>(a[i] + d[i]), inner = static_cast<Word>(b[i] + c[i]);
            inside[i] = static_cast<Word>(outer + static_cast<Word>(3 * inner));
        }
        for (int64_t x = -left; x < all - left; ++x) {
            if (x == 0) x = smaller(width, all - left);
            if (x == all - left) break;
            const int64_t at = edge_index(x, width, layer.edges);
            for (int64_t k = 0; k < lanes; ++k) inside[x * lanes + k] = at < 0 ? Word{0} : inside[at * lanes + k];
        }
        const Word *const p = line, *const q = p + lanes, *const r = q + lanes, *const s = r + lanes;
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < (all - 3) * lanes; ++i) {
            const Word outer = static_cast<Word>(p[i] + s[i]), inner = static_cast<Word>(q[i] + r[i]);
            sums[i] = static_cast<Word>(outer + static_cast<Word>(3 * inner));
        }
        Fixed* const to = static_cast<Fixed*>(work.small->data) + (y - work.small->first) * work.width * lanes;
        switch (lanes) {
            case 1:
                every_second<1>(sums, work.width, to);
                break;
            case 2:
                every_second<2>(sums, work.width, to);
                break;
            case 3:
                every_second<3>(sums, work.width, to);
                break;
            default:
                every_second<4>(sums, work.width, to);
        }
    }
}

void store_small(const Work& work, const float* pixels, int64_t y) {
    const int64_t count = work.width * work.lanes, first = (y - work.small->first) * count;
    if (work.small->type == PixelType::float32) {
        float* const to = static_cast<float*>(work.small->data) + first;
        for (int64_t i = 0; i < count; ++i) to[i] = pixels[i];
        return;
    }
    Fixed* const to = static_cast<Fixed*>(work.small->data) + first;
    for (int64_t i = 0; i < count; ++i)
        to[i] = static_cast<Fixed>(static_cast<std::int32_t>(pixels[i] * fixed_one + 0.5f));
}

void reduce_chunk(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const int64_t count = (work.layer->source.width * work.lanes + 15) / 16 * 16;
    float* current = reinterpret_cast<float*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    float *next = current + count, *const line = next + count, *const pixels = line + count;
    const int64_t begin = work.first + task * work.chunk;
    const int64_t end = smaller(begin + work.chunk, work.first + work.count);
    sum_group(work, begin, current, next, line);  // of next nothing is kept
    for (int64_t y = begin; y < end; ++y) {
        sum_group(work, y + 1, next, current, line);
        reduce_line(work, current, pixels);
        store_small(work, pixels, y);
        float* const done = current;
        current = next;
        next = done;
    }
}

// Rows wholly above or below a picture whose edge pixels go on are all alike.
void repeat_rows(const Work& work) {
    const int64_t size = work.small->type == PixelType::float32 ? 4 : 2;
    const int64_t count = work.width * work.lanes * size, end = work.small->first + work.small->count;
    char* const data = static_cast<char*>(work.small->data);
    for (int64_t y = work.small->first; y < end; ++y) {
        const int64_t like = y < work.first ? work.first : work.first + work.count - 1;
        if (y >= work.first && y <= like) continue;
        const char* const from = data + (like - work.small->first) * count;
        char* const to = data + (y - work.small->first) * count;
        for (int64_t i = 0; i < count; ++i) to[i] = from[i];
    }
}

}  // namespace

Status tent_reduce(const Layer& layer, const SmallRows& small) {
    const int64_t factor = small.factor, height = layer.source.height;
    Work work{};
    work.layer = &layer;
    work.small = &small;
    work.lanes = lanes_of(layer);
    work.width = (layer.source.width + factor - 1) / factor + 2 * small.pad;
    int64_t begin = small.first, end = small.first + small.count;
    if (layer.edges == Edges::replicate || layer.edges == Edges::zero) {
        begin = smaller(larger(begin, -2), end - 1);
        end = larger(smaller(end, (height + factor) / factor + 2), begin + 1);
    }
    work.first = begin;
    work.count = end - begin;
    work.chunk = larger(1, smaller(16, work.count / 16));
    const int64_t tasks = (work.count + work.chunk - 1) / work.chunk;
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t count = static_cast<std::size_t>((layer.source.width * work.lanes + 15) / 16 * 16);
    const std::size_t wide = static_cast<std::size_t>((work.width * work.lanes + 15) / 16 * 16);
    work.scratch_bytes = (3 * count + wide) * sizeof(float);
    const bool halves = factor == 2 && small.type == PixelType::fixed16;
    if (halves) work.scratch_bytes = 2 * (2 * wide + 64 * 3) * 2 * sizeof(Word) + count * 4;
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, halves ? halve_chunk : reduce_chunk, &work);
    release(work.scratch);
    repeat_rows(work);
    return Status::done;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
