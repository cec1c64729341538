// Rows of pictures as float lanes and back: edges, transparency, linear light and masks, for all the blurs.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t table_steps = 16384;
constexpr float least_alpha = 1e-6f;  // below it there is no colour to be told

template <typename T>
constexpr float top = 1.0f;
template <>
constexpr float top<std::uint8_t> = 255.0f;
template <>
constexpr float top<std::uint16_t> = 65535.0f;

template <typename T>
T rounded(float value) {
    return static_cast<T>(static_cast<std::int32_t>(value + 0.5f));
}
template <>
float rounded<float>(float value) {
    return value;
}

// A table's value at a position in [0, 1], linear between its points.
float looked_up(const float* table, float at) {
    at = at > 0.0f ? at : 0.0f;
    at = (at < 1.0f ? at : 1.0f) * static_cast<float>(table_steps);
    int64_t index = static_cast<int64_t>(at);
    index = index < table_steps ? index : table_steps - 1;
    return table[index] + (table[index + 1] - table[index]) * (at - static_cast<float>(index));
}

template <typename T>
float decoded(const float* table, T value) {
    return table[value];
}
template <>
float decoded<float>(const float* table, float value) {
    return looked_up(table, value);
}

// One pixel's colours in linear light, the bright ones brightened.
template <typename T>
void light_up(const Layer& layer, const T* pixel, int64_t colours, float* lanes) {
    float most = 0.0f;
    for (int64_t c = 0; c < colours; ++c) {
        lanes[c] = decoded(layer.decode, pixel[c]);
        most = lanes[c] > most ? lanes[c] : most;
    }
    const float square = most * most, fourth = square * square, gain = 1.0f + layer.gain * (fourth * fourth);
    for (int64_t c = 0; c < colours; ++c) lanes[c] *= gain;
}

template <typename T, int channels>
void load_inside(const Layer& layer, int64_t y, int64_t x, int64_t count, float* lanes) {
    const T* pixel = static_cast<const T*>(layer.source.data) + (y * layer.source.width + x) * channels;
    const bool last = layer.last_is_alpha;
    const float* const alpha = layer.alpha == nullptr ? nullptr : layer.alpha + y * layer.source.width + x;
    const int colours = last ? channels - 1 : channels;
    constexpr float unit = 1.0f / top<T>;
    for (int64_t i = 0; i < count; ++i, pixel += channels) {
        if (layer.decode != nullptr)
            light_up(layer, pixel, colours, lanes);
        else
            for (int c = 0; c < colours; ++c) lanes[c] = static_cast<float>(pixel[c]);
        if (last) {
            const float a = static_cast<float>(pixel[channels - 1]) * unit;
            for (int c = 0; c < colours; ++c) lanes[c] *= a;
            lanes[colours] = a;
        }
        if (alpha != nullptr) {
            for (int c = 0; c < channels; ++c) lanes[c] *= alpha[i];
            lanes[channels] = alpha[i];
        }
        lanes += channels + (alpha != nullptr);
    }
}

template <typename T>
void load_plain(const Layer& layer, int64_t y, int64_t x, int64_t count, float* __restrict lanes) {
    const int64_t channels = layer.source.channels;
    const T* const pixels = static_cast<const T*>(layer.source.data) + (y * layer.source.width + x) * channels;
    for (int64_t i = 0; i < count * channels; ++i) lanes[i] = static_cast<float>(pixels[i]);
}

template <typename T>
void load(const Layer& layer, int64_t y, int64_t x, int64_t count, float* lanes) {
    if (is_plain(layer)) return load_plain<T>(layer, y, x, count, lanes);
    switch (layer.source.channels) {
        case 1:
            return load_inside<T, 1>(layer, y, x, count, lanes);
        case 2:
            return load_inside<T, 2>(layer, y, x, count, lanes);
        case 3:
            return load_inside<T, 3>(layer, y, x, count, lanes);
        default:
            return load_inside<T, 4>(layer, y, x, count, lanes);
    }
}

void load_any(const Layer& layer, int64_t y, int64_t x, int64_t count, float* lanes) {
    switch (layer.source.type) {
        case PixelType::uint8:
            return load<std::uint8_t>(layer, y, x, count, lanes);
        case PixelType::uint16:
            return load<std::uint16_t>(layer, y, x, count, lanes);
        default:
            return load<float>(layer, y, x, count, lanes);
    }
}

// Back from linear light, and from its brightened highlights.
void dim_down(const Layer& layer, int colours, float* pixel) {
    float factor = 1.0f;
    if (layer.gain > 0.0f) {
        float most = 0.0f;
        for (int c = 0; c < colours; ++c) most = pixel[c] > most ? pixel[c] : most;
        factor = looked_up(layer.dim, most / (1.0f + layer.gain));
    }
    for (int c = 0; c < colours; ++c) pixel[c] = looked_up(layer.encode, pixel[c] * factor);
}

// One pixel as the result has it, in the source's units but not yet rounded. Where nothing counts it stays as it is,
// but that what was transparent has no colour.
template <typename T, int channels>
void finish(const Layer& layer, const T* source, const float* lanes, float* pixel) {
    const bool last = layer.last_is_alpha;
    const int colours = last ? channels - 1 : channels;
    float share = 1.0f;
    if (last || layer.alpha != nullptr) {
        const float a = lanes[colours];
        share = a > least_alpha ? 1.0f / a : 0.0f;
        if (share == 0.0f && !last) {
            for (int c = 0; c < channels; ++c) pixel[c] = static_cast<float>(source[c]);
            return;
        }
    }
    for (int c = 0; c < colours; ++c) pixel[c] = lanes[c] * share;
    if (layer.encode != nullptr) dim_down(layer, colours, pixel);
    if (last) pixel[colours] = lanes[colours] * top<T>;
}

// Mix with the source; colours count by their alpha.
template <typename T, int channels>
void mix(const Layer& layer, const T* source, float share, float* pixel) {
    float shares[channels];
    for (int c = 0; c < channels; ++c) shares[c] = share;
    if (layer.last_is_alpha) {
        constexpr int last = channels - 1;
        const float before = static_cast<float>(source[last]) * (1.0f - share), after = pixel[last] * share;
        const float both = before + after;
        for (int c = 0; c < last; ++c) shares[c] = both > 0.0f ? after / both : share;
    }
    for (int c = 0; c < channels; ++c) {
        const float old = static_cast<float>(source[c]);
        pixel[c] = old + (pixel[c] - old) * shares[c];
    }
}

template <typename T, int channels>
void store_pixels(const Layer& layer, int64_t y, int64_t x, int64_t count, const float* lanes) {
    const int64_t at = y * layer.source.width + x;
    const T* source = static_cast<const T*>(layer.source.data) + at * channels;
    T* result = static_cast<T*>(layer.result) + at * channels;
    const float* const mask = layer.mask == nullptr ? nullptr : layer.mask + at;
    const int step = channels + (layer.alpha != nullptr);
    for (int64_t i = 0; i < count; ++i, source += channels, result += channels, lanes += step) {
        float pixel[channels];
        finish<T, channels>(layer, source, lanes, pixel);
        if (mask != nullptr) mix<T, channels>(layer, source, mask[i], pixel);
        for (int c = 0; c < channels; ++c) result[c] = rounded<T>(pixel[c]);
    }
}

template <typename T>
void store_plain(const Layer& layer, int64_t y, int64_t x, int64_t count, const float* __restrict lanes) {
    const int64_t channels = layer.source.channels;
    T* const result = static_cast<T*>(layer.result) + (y * layer.source.width + x) * channels;
    for (int64_t i = 0; i < count * channels; ++i) result[i] = rounded<T>(lanes[i]);
}

template <typename T>
void store(const Layer& layer, int64_t y, int64_t x, int64_t count, const float* lanes) {
    if (is_plain(layer) && layer.mask == nullptr) return store_plain<T>(layer, y, x, count, lanes);
    switch (layer.source.channels) {
        case 1:
            return store_pixels<T, 1>(layer, y, x, count, lanes);
        case 2:
            return store_pixels<T, 2>(layer, y, x, count, lanes);
        case 3:
            return store_pixels<T, 3>(layer, y, x, count, lanes);
        default:
            return store_pixels<T, 4>(layer, y, x, count, lanes);
    }
}

}  // namespace

bool is_plain(const Layer& layer) { return !layer.last_is_alpha && layer.alpha == nullptr && layer.decode == nullptr; }

std::int64_t lanes_of(const Layer& layer) { return layer.source.channels + (layer.alpha != nullptr); }

std::int64_t edge_index(std::int64_t at, std::int64_t count, Edges edges) {
    if (at >= 0 && at < count) return at;
    if (edges == Edges::zero) return -1;
    if (edges == Edges::replicate) return at < 0 ? 0 : count - 1;
    const int64_t period = edges == Edges::wrap ? count : 2 * count;
    at %= period;
    if (at < 0) at += period;
    return at < count ? at : period - 1 - at;
}

void load_lanes(const Layer& layer, std::int64_t y, std::int64_t x, std::int64_t count, float* lanes) {
    const int64_t width = layer.source.width, per_pixel = lanes_of(layer);
    const int64_t row = edge_index(y, layer.source.height, layer.edges);
    int64_t begin = x < 0 ? -x : 0, end = width - x;
    begin = begin < count ? begin : count;
    end = end < count ? end : count;
    if (row < 0) begin = end = count;
    if (end < begin) end = begin;
    if (end > begin) load_any(layer, row, x + begin, end - begin, lanes + begin * per_pixel);
    for (int64_t i = 0; i < count; ++i) {
        if (i == begin) i = end;
        if (i == count) break;
        float* const pixel = lanes + i * per_pixel;
        const int64_t column = row < 0 ? -1 : edge_index(x + i, width, layer.edges);
        if (column < 0)
            for (int64_t c = 0; c < per_pixel; ++c) pixel[c] = 0.0f;
        else
            load_any(layer, row, column, 1, pixel);
    }
}

void store_lanes(const Layer& layer, std::int64_t y, std::int64_t x, std::int64_t count, const float* lanes) {
    switch (layer.source.type) {
        case PixelType::uint8:
            return store<std::uint8_t>(layer, y, x, count, lanes);
        case PixelType::uint16:
            return store<std::uint16_t>(layer, y, x, count, lanes);
        default:
            return store<float>(layer, y, x, count, lanes);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
