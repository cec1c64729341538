// Guided filter: K. He, J. Sun, X. Tang, "Guided Image Filtering", IEEE TPAMI 35 (2013).
//
// The picture is cut into tiles, and every tile streams through two moving windows, one above the other:
//   rows of guide and source -> column sums -> window sums -> linear fit (a, b) of each window
//   rows of fits             -> column sums -> window sums -> mean a . guide + mean b
// so that only a few rows are held. Sums are kept in double: the guide's variance is a difference of nearly
// equal numbers on flat parts, and integer guides are then summed without any rounding.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr std::size_t ring_limit = 8u << 20;  // a longer memory of fits costs more than computing them twice

struct Work {
    const GuidedFilter* call;
    int64_t radius_x, radius_y;               // clipped to the picture
    int64_t tile_width, tile_height, across;  // across: tiles in a row of tiles
    int64_t pitch;                            // elements between the planes of a buffer
    bool ring;                                // fits are remembered until they leave the second window
    double scale, eps;                        // guide * scale lies in [0, 1]; eps is in the guide's own units
    char* scratch;
    std::size_t scratch_bytes;
};

// Planes of the first window's sums: weight (when there is one), source, then per guide channel: itself, its product
// with the source, and its products with the channels from itself on.
template <int channels, bool weighted>
struct Planes {
    static constexpr int first = weighted ? 1 : 0;
    static constexpr int products = channels * (channels + 1) / 2;
    static constexpr int sums = first + 1 + 2 * channels + products;
    static constexpr int rows = channels + (weighted ? 2 : 1);  // guide, source, weight
    static constexpr int fits = channels + 1;
};

struct Tile {
    int64_t x, y, width, height;
    int64_t rows_first, rows_count;  // source columns in use, as buffer positions
    int64_t fits_first, fits_end;    // the same of the fits
    double* windows;                 // one row of window sums
    double* totals;                  // column sums of the fits
    double* inverse_widths;          // 1 / columns of the window of every fit
    float *entering, *leaving;       // one row each of guide, source and weight; zero outside the picture
    float* guide;                    // a row of the guide alone
    float *fits, *old_fits;          // a row of fits entering the second window, and the one leaving it
    float* ring;
};

// The first window at some row: its column sums and the row it will take in next.
struct Stream {
    double* sums;
    int64_t first_row, row;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <typename Element>
void clear(Element* begin, int64_t count) {
    for (int64_t i = 0; i < count; ++i) begin[i] = 0;
}

void separate_colours(const float* __restrict pixels, int64_t count, float* planes, int64_t pitch) {
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        planes[i] = pixels[3 * i];
        planes[pitch + i] = pixels[3 * i + 1];
        planes[2 * pitch + i] = pixels[3 * i + 2];
    }
}

// Interleaved pixels to planes of floats. They are converted while they still lie side by side, which is quick on
// every target.
template <typename T, int channels>
void separate(const T* __restrict pixels, int64_t count, float* __restrict planes, int64_t pitch) {
    if constexpr (channels == 1) {
        for (int64_t i = 0; i < count; ++i) planes[i] = static_cast<float>(pixels[i]);
    } else {
        constexpr int64_t chunk = 128;
        float values[channels * chunk];
        for (int64_t begin = 0; begin < count; begin += chunk) {
            const int64_t here = smaller(chunk, count - begin);
            for (int64_t i = 0; i < channels * here; ++i) values[i] = static_cast<float>(pixels[channels * begin + i]);
            separate_colours(values, here, planes + begin, pitch);
        }
    }
}

template <typename T, int channels, bool weighted>
void load_row(const Work& work, const Tile& tile, int64_t y, float* rows) {
    using Shape = Planes<channels, weighted>;
    const GuidedFilter& call = *work.call;
    if (y < 0 || y >= call.guide.height) return clear(rows, Shape::rows * work.pitch);
    const int64_t column = tile.x - 2 * work.radius_x - 1 + tile.rows_first;
    const int64_t at = y * call.guide.width + column, count = tile.rows_count;
    rows += tile.rows_first;
    separate<T, channels>(static_cast<const T*>(call.guide.data) + at * channels, count, rows, work.pitch);
    float* const source = rows + channels * work.pitch;
    for (int64_t i = 0; i < count; ++i) source[i] = call.source[at + i];
    if (weighted) {
        float* const weight = source + work.pitch;
        for (int64_t i = 0; i < count; ++i) weight[i] = call.weight[at + i] + call.least_weight;
    }
}

// A row enters the column sums, and another leaves them.
template <bool weighted>
void exchange_gray(const float* __restrict entering, const float* __restrict leaving, int64_t count, int64_t pitch,
                   double* __restrict sums) {
    double *const sum_p = sums + (weighted ? pitch : 0), *const sum_i = sum_p + pitch;
    double *const sum_ip = sum_i + pitch, *const sum_ii = sum_ip + pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const double in_w = weighted ? entering[2 * pitch + i] : 1.0f, out_w = weighted ? leaving[2 * pitch + i] : 1.0f;
        const double in_p = entering[pitch + i], out_p = leaving[pitch + i];
        const double in_i = entering[i], out_i = leaving[i];
        const double in_wi = in_w * in_i, out_wi = out_w * out_i;
        if (weighted) sums[i] += in_w - out_w;
        sum_p[i] += in_w * in_p - out_w * out_p;
        sum_i[i] += in_wi - out_wi;
        sum_ip[i] += in_wi * in_p - out_wi * out_p;
        sum_ii[i] += in_wi * in_i - out_wi * out_i;
    }
}

template <bool weighted>
void exchange_colour(const float* __restrict entering, const float* __restrict leaving, int64_t count, int64_t pitch,
                     double* __restrict sums) {
    double *const sum_p = sums + (weighted ? pitch : 0), *const sum_r = sum_p + pitch;
    double *const sum_rp = sum_r + pitch, *const sum_rr = sum_rp + pitch, *const sum_rg = sum_rr + pitch;
    double *const sum_rb = sum_rg + pitch, *const sum_g = sum_rb + pitch, *const sum_gp = sum_g + pitch;
    double *const sum_gg = sum_gp + pitch, *const sum_gb = sum_gg + pitch, *const sum_b = sum_gb + pitch;
    double *const sum_bp = sum_b + pitch, *const sum_bb = sum_bp + pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const double in_r = entering[i], in_g = entering[pitch + i], in_b = entering[2 * pitch + i];
        const double out_r = leaving[i], out_g = leaving[pitch + i], out_b = leaving[2 * pitch + i];
        const double in_p = entering[3 * pitch + i], out_p = leaving[3 * pitch + i];
        const double in_w = weighted ? entering[4 * pitch + i] : 1.0f, out_w = weighted ? leaving[4 * pitch + i] : 1.0f;
        const double in_wr = in_w * in_r, in_wg = in_w * in_g, in_wb = in_w * in_b;
        const double out_wr = out_w * out_r, out_wg = out_w * out_g, out_wb = out_w * out_b;
        if (weighted) sums[i] += in_w - out_w;
        sum_p[i] += in_w * in_p - out_w * out_p;
        sum_r[i] += in_wr - out_wr;
        sum_rp[i] += in_wr * in_p - out_wr * out_p;
        sum_rr[i] += in_wr * in_r - out_wr * out_r;
        sum_rg[i] += in_wr * in_g - out_wr * out_g;
        sum_rb[i] += in_wr * in_b - out_wr * out_b;
        sum_g[i] += in_wg - out_wg;
        sum_gp[i] += in_wg * in_p - out_wg * out_p;
        sum_gg[i] += in_wg * in_g - out_wg * out_g;
        sum_gb[i] += in_wg * in_b - out_wg * out_b;
        sum_b[i] += in_wb - out_wb;
        sum_bp[i] += in_wb * in_p - out_wb * out_p;
        sum_bb[i] += in_wb * in_b - out_wb * out_b;
    }
}

// planes[0] lies before the first window, which covers planes[1 .. 2 radius + 1].
template <int planes>
void slide(const double* __restrict columns, int64_t pitch, int64_t radius, int64_t count, double* __restrict windows) {
    double window[planes];
    for (int k = 0; k < planes; ++k) {
        window[k] = 0;
        for (int64_t i = 1; i <= 2 * radius; ++i) window[k] += columns[k * pitch + i];
    }
    const double* const ahead = columns + 2 * radius + 1;
    for (int64_t i = 0; i < count; ++i)
        for (int k = 0; k < planes; ++k) {
            window[k] += ahead[k * pitch + i] - columns[k * pitch + i];
            windows[k * pitch + i] = window[k];
        }
}

double at_least(double value, double least) { return value < least ? least : value; }

// The line a . guide + b nearest to the source in every window, from the window's sums.
template <bool weighted>
void fit_gray(const double* __restrict windows, const double* __restrict inverse_widths, double inverse_height,
              double eps, int64_t count, int64_t pitch, float* __restrict fits) {
    const double *const sum_p = windows + (weighted ? pitch : 0), *const sum_i = sum_p + pitch;
    const double *const sum_ip = sum_i + pitch, *const sum_ii = sum_ip + pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const double inverse = weighted ? 1.0 / windows[i] : inverse_widths[i] * inverse_height;
        const double source = sum_p[i] * inverse, mean = sum_i[i] * inverse;
        const double variance = at_least(sum_ii[i] * inverse - mean * mean + eps, eps);
        const double a = (sum_ip[i] * inverse - mean * source) / variance;
        fits[i] = static_cast<float>(a);
        fits[pitch + i] = static_cast<float>(source - a * mean);
    }
}

// (covariance + eps) a = covariance with the source, by an LDL^T factorisation. Its pivots d are never below eps; to
// hold them there keeps rounding from making them so on flat parts.
template <bool weighted>
void fit_colour(const double* __restrict windows, const double* __restrict inverse_widths, double inverse_height,
                double eps, int64_t count, int64_t pitch, float* __restrict fits) {
    const double *const sum_p = windows + (weighted ? pitch : 0), *const sum_r = sum_p + pitch;
    const double *const sum_rp = sum_r + pitch, *const sum_rr = sum_rp + pitch, *const sum_rg = sum_rr + pitch;
    const double *const sum_rb = sum_rg + pitch, *const sum_g = sum_rb + pitch, *const sum_gp = sum_g + pitch;
    const double *const sum_gg = sum_gp + pitch, *const sum_gb = sum_gg + pitch, *const sum_b = sum_gb + pitch;
    const double *const sum_bp = sum_b + pitch, *const sum_bb = sum_bp + pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const double inverse = weighted ? 1.0 / windows[i] : inverse_widths[i] * inverse_height;
        const double p = sum_p[i] * inverse;
        const double r = sum_r[i] * inverse, g = sum_g[i] * inverse, b = sum_b[i] * inverse;
        const double d0 = at_least(sum_rr[i] * inverse - r * r + eps, eps), i0 = 1.0 / d0;
        const double rg = sum_rg[i] * inverse - r * g, rb = sum_rb[i] * inverse - r * b;
        const double l10 = rg * i0, l20 = rb * i0;
        const double d1 = at_least(sum_gg[i] * inverse - g * g + eps - l10 * rg, eps), i1 = 1.0 / d1;
        const double gb = sum_gb[i] * inverse - g * b - l10 * rb, l21 = gb * i1;
        const double d2 = at_least(sum_bb[i] * inverse - b * b + eps - l20 * rb - l21 * gb, eps);
        const double y0 = sum_rp[i] * inverse - r * p;
        const double y1 = sum_gp[i] * inverse - g * p - l10 * y0;
        const double y2 = sum_bp[i] * inverse - b * p - l20 * y0 - l21 * y1;
        const double a2 = y2 / d2, a1 = y1 * i1 - l21 * a2, a0 = y0 * i0 - l10 * a1 - l20 * a2;
        fits[i] = static_cast<float>(a0);
        fits[pitch + i] = static_cast<float>(a1);
        fits[2 * pitch + i] = static_cast<float>(a2);
        fits[3 * pitch + i] = static_cast<float>(p - a0 * r - a1 * g - a2 * b);
    }
}

double inverse_rows(int64_t y, int64_t radius, int64_t height) {
    return 1.0 / static_cast<double>(smaller(y + radius, height - 1) - larger(y - radius, 0) + 1);
}

template <typename T, int channels, bool weighted>
void exchange_in(const Work& work, const Tile& tile, int64_t entering, int64_t leaving, Stream& stream) {
    load_row<T, channels, weighted>(work, tile, entering, tile.entering);
    load_row<T, channels, weighted>(work, tile, leaving, tile.leaving);
    constexpr auto exchange = channels == 1 ? exchange_gray<weighted> : exchange_colour<weighted>;
    exchange(tile.entering, tile.leaving, tile.rows_first + tile.rows_count, work.pitch, stream.sums);
}

template <typename T, int channels, bool weighted>
void start(const Work& work, const Tile& tile, Stream& stream) {
    stream.first_row = larger(tile.y - work.radius_y, 0);
    stream.row = stream.first_row;
    clear(stream.sums, Planes<channels, weighted>::sums * work.pitch);
    for (int64_t y = larger(stream.row - work.radius_y, 0); y < stream.row + work.radius_y; ++y)
        exchange_in<T, channels, weighted>(work, tile, y, -1, stream);
}

template <typename T, int channels, bool weighted>
void fit_next_row(const Work& work, const Tile& tile, Stream& stream, float* fits) {
    using Shape = Planes<channels, weighted>;
    const int64_t entering = stream.row + work.radius_y;
    const int64_t leaving = stream.row > stream.first_row ? stream.row - work.radius_y - 1 : -1;
    exchange_in<T, channels, weighted>(work, tile, entering, leaving, stream);
    const int64_t skip = tile.fits_first, count = tile.fits_end - skip;
    slide<Shape::sums>(stream.sums + skip, work.pitch, work.radius_x, count, tile.windows);
    constexpr auto fit = channels == 1 ? fit_gray<weighted> : fit_colour<weighted>;
    fit(tile.windows, tile.inverse_widths + skip, inverse_rows(stream.row, work.radius_y, work.call->guide.height),
        work.eps, count, work.pitch, fits + skip);
    ++stream.row;
}

template <typename T, int channels, bool weighted>
void write_row(const Work& work, const Tile& tile, int64_t y) {
    const GuidedFilter& call = *work.call;
    const int64_t pitch = work.pitch, at = y * call.guide.width + tile.x;
    slide<channels + 1>(tile.totals, pitch, work.radius_x, tile.width, tile.windows);
    const double inverse_height = inverse_rows(y, work.radius_y, call.guide.height);
    const double* const inverse_widths = tile.inverse_widths + work.radius_x;
    const double* const windows = tile.windows;
    if (call.coefficients != nullptr) {
        for (int k = 0; k <= channels; ++k) {
            float* const result = call.coefficients + k * call.guide.height * call.guide.width + at;
            const double unit = (k < channels ? 1.0 / work.scale : 1.0) * inverse_height;
            for (int64_t i = 0; i < tile.width; ++i)
                result[i] = static_cast<float>(windows[k * pitch + i] * (inverse_widths[i] * unit));
        }
        return;
    }
    separate<T, channels>(static_cast<const T*>(call.guide.data) + at * channels, tile.width, tile.guide, pitch);
    const float* const guide = tile.guide;
    float* const result = call.result + at;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < tile.width; ++i) {
        double value = windows[channels * pitch + i];
        for (int c = 0; c < channels; ++c) value += windows[c * pitch + i] * static_cast<double>(guide[c * pitch + i]);
        result[i] = static_cast<float>(value * (inverse_widths[i] * inverse_height));
    }
}

template <typename T, int channels, bool weighted>
void filter_tile(void* context, int64_t task, int slot) {
    using Shape = Planes<channels, weighted>;
    const Work& work = *static_cast<const Work*>(context);
    const int64_t height = work.call->guide.height, width = work.call->guide.width, pitch = work.pitch;
    const int64_t rx = work.radius_x, ry = work.radius_y;
    Tile tile{};
    tile.x = task % work.across * work.tile_width;
    tile.y = task / work.across * work.tile_height;
    tile.width = smaller(work.tile_width, width - tile.x);
    tile.height = smaller(work.tile_height, height - tile.y);
    tile.rows_first = larger(2 * rx + 1 - tile.x, 1);
    tile.rows_count = smaller(tile.width + 4 * rx + 1, width - tile.x + 2 * rx + 1) - tile.rows_first;
    tile.fits_first = larger(rx - tile.x, 0);
    tile.fits_end = smaller(tile.width + 2 * rx, width - tile.x + rx);

    double* doubles = reinterpret_cast<double*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    Stream lead{}, trail{};
    lead.sums = doubles;
    tile.windows = lead.sums + Shape::sums * pitch;
    tile.totals = tile.windows + Shape::sums * pitch;
    tile.inverse_widths = tile.totals + Shape::fits * pitch;
    trail.sums = tile.inverse_widths + pitch;
    float* floats = reinterpret_cast<float*>(trail.sums + (work.ring ? 0 : Shape::sums * pitch));
    tile.entering = floats;
    tile.leaving = tile.entering + Shape::rows * pitch;
    tile.guide = tile.leaving + Shape::rows * pitch;
    tile.fits = tile.guide + channels * pitch;
    tile.old_fits = tile.fits + Shape::fits * pitch;
    tile.ring = tile.old_fits + Shape::fits * pitch;
    const int64_t ring_rows = work.ring ? 2 * ry + 1 : 0, fit_size = Shape::fits * pitch;
    clear(tile.totals, fit_size);
    clear(tile.entering, 2 * Shape::rows * pitch);
    clear(tile.fits, 2 * fit_size + ring_rows * fit_size);
    for (int64_t i = 0; i < tile.width + 2 * rx; ++i) tile.inverse_widths[i] = inverse_rows(tile.x - rx + i, rx, width);
    start<T, channels, weighted>(work, tile, lead);
    if (!work.ring) start<T, channels, weighted>(work, tile, trail);

    for (int64_t row = lead.first_row; row < tile.y + tile.height + ry; ++row) {
        float* fits = tile.fits;
        const float* old_fits = tile.old_fits;
        if (row < height)
            fit_next_row<T, channels, weighted>(work, tile, lead, fits);
        else
            clear(fits, fit_size);
        if (work.ring)
            old_fits = tile.ring + row % ring_rows * fit_size;
        else if (row - 2 * ry - 1 >= trail.first_row)
            fit_next_row<T, channels, weighted>(work, tile, trail, tile.old_fits);
        double* const totals = tile.totals + 1;
        for (int k = 0; k < Shape::fits; ++k)
            for (int64_t i = 0; i < tile.width + 2 * rx; ++i)
                totals[k * pitch + i] +=
                    static_cast<double>(fits[k * pitch + i]) - static_cast<double>(old_fits[k * pitch + i]);
        if (work.ring) {
            float* const kept = tile.ring + row % ring_rows * fit_size;
            for (int64_t i = 0; i < fit_size; ++i) kept[i] = fits[i];
        }
        if (row - ry >= tile.y) write_row<T, channels, weighted>(work, tile, row - ry);
    }
}

template <typename T, int channels, bool weighted>
Status filter(const GuidedFilter& call, double scale) {
    using Shape = Planes<channels, weighted>;
    const int64_t height = call.guide.height, width = call.guide.width;
    Work work{};
    work.call = &call;
    work.radius_x = smaller(call.radius, width - 1);
    work.radius_y = smaller(call.radius, height - 1);
    work.tile_width = smaller(larger(512, 8 * work.radius_x), width);
    work.tile_height = smaller(larger(256, 8 * work.radius_y), height);
    work.across = (width + work.tile_width - 1) / work.tile_width;
    work.pitch = (work.tile_width + 4 * work.radius_x + 2 + 15) / 16 * 16 + 16;
    work.scale = scale;
    work.eps = call.eps / (scale * scale);
    const std::size_t row_bytes = static_cast<std::size_t>(work.pitch) * sizeof(float);
    const std::size_t ring_bytes = static_cast<std::size_t>((2 * work.radius_y + 1) * Shape::fits) * row_bytes;
    work.ring = ring_bytes <= ring_limit;
    const std::size_t planes = 2 * (2 * Shape::sums + Shape::fits + 1 + (work.ring ? 0 : Shape::sums)) +
                               2 * Shape::rows + channels + 2 * Shape::fits;
    work.scratch_bytes = planes * row_bytes + (work.ring ? ring_bytes : 0);
    const int64_t tasks = work.across * ((height + work.tile_height - 1) / work.tile_height);
    const int slots = slot_count(tasks, 1 << 16);
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, filter_tile<T, channels, weighted>, &work);
    release(work.scratch);
    return Status::done;
}

template <typename T>
Status filter_any(const GuidedFilter& call, double scale) {
    if (call.guide.channels == 1)
        return call.weight != nullptr ? filter<T, 1, true>(call, scale) : filter<T, 1, false>(call, scale);
    return call.weight != nullptr ? filter<T, 3, true>(call, scale) : filter<T, 3, false>(call, scale);
}

}  // namespace

Status guided_filter(const GuidedFilter& call) {
    switch (call.guide.type) {
        case PixelType::uint8:
            return filter_any<std::uint8_t>(call, 1.0 / 255);
        case PixelType::uint16:
            return filter_any<std::uint16_t>(call, 1.0 / 65535);
        default:
            return filter_any<float>(call, 1.0);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
