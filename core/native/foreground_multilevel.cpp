// Foreground colours of a matte: T. Germer, T. Uelwer, S. Conrad, S. Harmeling, "Fast Multi-Level Foreground
// Estimation", ICPR 2020. Minimised is, with j over the four neighbours of pixel i,
//
//   sum_i (alpha F + (1 - alpha) B - I)^2 + sum_ij (regularization + gradient_weight |alpha_i - alpha_j|)
//                                                  ((F_i - F_j)^2 + (B_i - B_j)^2)
//
// on a pyramid of area averages, from the top down; each level starts from its parent's colours. Where alpha is 1 F is
// the image, where it is 0 B is; only unknown pixels are solved for. Sweeps are red-black with over-relaxation,
// so a pixel's result does not depend on the order of work.
//
// Levels 2 and coarser are held whole. Levels 1 and 0 of a tile are computed together from level 2, each with a margin
// that its sweeps cannot cross, so the result is the same as without tiles, and no big plane of floats exists.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t tile_size = 128;
constexpr int64_t block = 16;  // cells of a half row relaxed together
constexpr int64_t whole = 2;   // the finest level held whole
constexpr int64_t max_levels = 64;
constexpr float over_relaxation = 1.7f;

// Planes of a grid, and (up to background + 2) of a whole level.
enum : int64_t {
    alpha = 0,
    image = 1,
    foreground = 4,
    background = 7,
    held = 10,  // planes of a whole level
    left = 10,  // shares of the neighbours in their weighted mean
    right = 11,
    up = 12,
    down = 13,
    foreground_gain = 14,
    background_gain = 15,
    planes = 16
};

struct Level {
    int64_t height, width, sweeps;
    float* data;  // held planes of (height, width), for the whole levels
};

struct Region {
    int64_t y0, y1, x0, x1;
};

// Colours of a coarser level: plane k of F (0 to 2) and B (3 to 5) at data + k * plane + (y - y0) * row + (x - x0).
struct Parent {
    const float* data;
    int64_t plane, row, y0, x0;
};

// A region of a level, every row split into its even and its odd columns: then the neighbours of 16 cells of one colour
// of the chequerboard are 16 cells in a row, too. x0 of the region is even.
struct Grid {
    Region region;
    int64_t half, pitch, record;  // cells in a half row; floats from plane to plane, and from half row to half row
    float* cells;
    int* active[2];  // blocks with unknown cells, red ones and black ones
    int64_t active_count[2];
};

struct Work {
    const ForegroundMultilevel* call;
    float scale;
    Level levels[max_levels];
    int64_t level_count, level;  // level: the one being solved
    char* scratch;
    std::size_t scratch_bytes, grid_bytes[2];
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
int64_t round_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

Region grown(const Region& region, int64_t margin, const Level& level) {
    return {larger(region.y0 - margin, 0), smaller(region.y1 + margin, level.height),
            larger(region.x0 - margin, 0) / 2 * 2, smaller(region.x1 + margin, level.width)};
}

Region parent_of(const Region& region) {
    return {region.y0 / 2, (region.y1 + 1) / 2, region.x0 / 2, (region.x1 + 1) / 2};
}

Region tile_of(int64_t task, const Level& level) {
    const int64_t across = (level.width + tile_size - 1) / tile_size;
    const int64_t y = task / across * tile_size, x = task % across * tile_size;
    return {y, smaller(y + tile_size, level.height), x, smaller(x + tile_size, level.width)};
}

int64_t tile_count(const Level& level) {
    return ((level.width + tile_size - 1) / tile_size) * ((level.height + tile_size - 1) / tile_size);
}

// ---- Rows of image and alpha: planes alpha, image at pitch --------------------------------------------------------

// The mean of two by two pixels; at an odd edge the last pixel stands for its missing neighbour.
void average_rows(const float* __restrict upper, const float* __restrict lower, int64_t count,
                  float* __restrict result) {
    for (int64_t i = 0; i < count / 2; ++i)
        result[i] = ((upper[2 * i] + upper[2 * i + 1]) + (lower[2 * i] + lower[2 * i + 1])) * 0.25f;
    if (count % 2 != 0)
        result[count / 2] = ((upper[count - 1] + upper[count - 1]) + (lower[count - 1] + lower[count - 1])) * 0.25f;
}

void separate(const float* __restrict pixels, int64_t count, float* planes, int64_t pitch) {
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        planes[i] = pixels[3 * i];
        planes[pitch + i] = pixels[3 * i + 1];
        planes[2 * pitch + i] = pixels[3 * i + 2];
    }
}

// Pixels are converted while their channels still lie side by side, which is quick on every target.
template <typename T>
void full_row(const Work& work, int64_t y, int64_t x0, int64_t x1, float* rows, int64_t pitch) {
    const int64_t at = y * work.call->image.width + x0, count = x1 - x0;
    const float* __restrict alphas = work.call->alpha + at;
    const T* __restrict pixels = static_cast<const T*>(work.call->image.data) + 3 * at;
    for (int64_t i = 0; i < count; ++i) rows[alpha * pitch + i] = alphas[i];
    constexpr int64_t chunk = 128;
    float values[3 * chunk];
    for (int64_t begin = 0; begin < count; begin += chunk) {
        const int64_t here = smaller(chunk, count - begin);
        for (int64_t i = 0; i < 3 * here; ++i) values[i] = static_cast<float>(pixels[3 * begin + i]) * work.scale;
        separate(values, here, rows + image * pitch + begin, pitch);
    }
}

// room: 8 rows of pitch, which is at least twice as long as the row asked for.
template <typename T>
void half_row(const Work& work, int64_t y, int64_t x0, int64_t x1, float* rows, int64_t pitch, float* room) {
    const Level& full = work.levels[0];
    const int64_t from = 2 * x0, to = smaller(2 * x1, full.width);
    float* const lower = room + 4 * pitch;
    full_row<T>(work, 2 * y, from, to, room, pitch);
    full_row<T>(work, smaller(2 * y + 1, full.height - 1), from, to, lower, pitch);
    for (int64_t k = 0; k < foreground; ++k)
        average_rows(room + k * pitch, lower + k * pitch, to - from, rows + k * pitch);
}

// ---- The pyramid ---------------------------------------------------------------------------------------------------

constexpr int64_t pyramid_rows = 8, pyramid_columns = 512;  // of the finest whole level, in one task

// Sums of four pixels in a row that lie `step` floats apart.
float four(const float* values, int64_t step) {
    return (values[0] + values[step]) + (values[2 * step] + values[3 * step]);
}

// The means of whole blocks of four by four pixels: row y of the finest whole level from x0 to x1. room: 16 floats a
// block.
template <typename T>
void average_blocks(const Work& work, int64_t y, int64_t x0, int64_t x1, float* __restrict room) {
    const Level& level = work.levels[whole];
    const int64_t width = work.levels[0].width, count = x1 - x0, at = 4 * (y * width + x0);
    const int64_t size = level.height * level.width;
    const T* __restrict p = static_cast<const T*>(work.call->image.data) + 3 * at;
    const float* __restrict a = work.call->alpha + at;
    float *const colours = room, *const alphas = room + 12 * count;
    for (int64_t i = 0; i < 12 * count; ++i)
        colours[i] = (static_cast<float>(p[i]) + static_cast<float>(p[3 * width + i])) +
                     (static_cast<float>(p[6 * width + i]) + static_cast<float>(p[9 * width + i]));
    for (int64_t i = 0; i < 4 * count; ++i) alphas[i] = (a[i] + a[width + i]) + (a[2 * width + i] + a[3 * width + i]);
    float* const target = level.data + y * level.width + x0;
    const float unit = work.scale * 0.0625f;
    for (int64_t i = 0; i < count; ++i) {
        target[alpha * size + i] = four(alphas + 4 * i, 1) * 0.0625f;
        for (int64_t c = 0; c < 3; ++c) target[(image + c) * size + i] = four(colours + 12 * i + c, 3) * unit;
    }
}

// The same for any pixels, also where the image ends within a block.
template <typename T>
void average_pixels(const Work& work, int64_t y, int64_t x0, int64_t x1, float* memory) {
    const Level &half = work.levels[1], &level = work.levels[whole];
    const int64_t pitch = 4 * pyramid_columns, size = level.height * level.width;
    float *const upper = memory, *const lower = upper + 4 * pitch, *const room = lower + 4 * pitch;
    const int64_t from = 2 * x0, to = smaller(2 * x1, half.width);
    half_row<T>(work, 2 * y, from, to, upper, pitch, room);
    half_row<T>(work, smaller(2 * y + 1, half.height - 1), from, to, lower, pitch, room);
    for (int64_t k = 0; k < foreground; ++k)
        average_rows(upper + k * pitch, lower + k * pitch, to - from, level.data + k * size + y * level.width + x0);
}

template <typename T>
void average_from_image(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Level &full = work.levels[0], &level = work.levels[whole];
    const int64_t across = (level.width + pyramid_columns - 1) / pyramid_columns;
    const int64_t y0 = task / across * pyramid_rows, x0 = task % across * pyramid_columns;
    const int64_t x1 = smaller(x0 + pyramid_columns, level.width);
    float* const memory = reinterpret_cast<float*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    for (int64_t y = y0; y < smaller(y0 + pyramid_rows, level.height); ++y) {
        const int64_t end = 4 * y + 4 <= full.height ? larger(x0, smaller(x1, full.width / 4)) : x0;
        if (end > x0) average_blocks<T>(work, y, x0, end, memory);
        if (x1 > end) average_pixels<T>(work, y, end, x1, memory);
    }
}

void average_level(void* context, int64_t y, int) {
    const Work& work = *static_cast<const Work*>(context);
    const Level &fine = work.levels[work.level - 1], &level = work.levels[work.level];
    for (int64_t k = 0; k < foreground; ++k) {
        const float* const plane = fine.data + k * fine.height * fine.width;
        average_rows(plane + 2 * y * fine.width, plane + smaller(2 * y + 1, fine.height - 1) * fine.width, fine.width,
                     level.data + (k * level.height + y) * level.width);
    }
}

// ---- Grids ---------------------------------------------------------------------------------------------------------

// Bytes of a grid of the level around a region of the given size.
std::size_t grid_bytes(const Level& level, int64_t size) {
    const int64_t rows = smaller(size + 4 * level.sweeps, level.height);
    const int64_t half = (smaller(size + 4 * level.sweeps + 2, level.width) + 1) / 2;
    const int64_t padded = round_up(half, block);
    return static_cast<std::size_t>((rows + 2) * 2 * planes * (padded + block) + block) * sizeof(float) +
           static_cast<std::size_t>(round_up(rows * 2 * (padded / block), 16) * 2) * sizeof(int);
}

Grid lay_out(const Region& region, char* memory) {
    Grid grid{};
    const int64_t rows = region.y1 - region.y0;
    grid.region = region;
    grid.half = (region.x1 - region.x0 + 1) / 2;
    grid.pitch = round_up(grid.half, block) + block;
    grid.record = planes * grid.pitch;
    grid.active[0] = reinterpret_cast<int*>(memory);
    const int64_t most = round_up(rows * 2 * (grid.pitch / block - 1), 16);
    grid.active[1] = grid.active[0] + most;
    // A row of zeros above and below, and a block of zeros left of every half row.
    float* const cells = reinterpret_cast<float*>(grid.active[1] + most);
    for (int64_t i = 0; i < 2 * grid.record; ++i) cells[i] = 0;
    grid.cells = cells + 2 * grid.record;
    float* const below = grid.cells + rows * 2 * grid.record;
    for (int64_t i = 0; i < 2 * grid.record + block; ++i) below[i] = 0;
    return grid;
}

float* half_row_of(const Grid& grid, int64_t y, int64_t parity) {
    return grid.cells + ((y - grid.region.y0) * 2 + parity) * grid.record + block;
}

// Writes a row of alpha and image into the grid, its columns split by parity.
void put_row(const Grid& grid, int64_t y, const float* rows, int64_t pitch) {
    const int64_t count = grid.region.x1 - grid.region.x0;
    for (int64_t k = 0; k < foreground; ++k) {
        const float* __restrict row = rows + k * pitch;
        float* __restrict even = half_row_of(grid, y, 0) + k * grid.pitch;
        float* __restrict odd = half_row_of(grid, y, 1) + k * grid.pitch;
        for (int64_t i = 0; i < count / 2; ++i) {
            even[i] = row[2 * i];
            odd[i] = row[2 * i + 1];
        }
        if (count % 2 != 0) even[count / 2] = row[count - 1];
        const float outside = k == alpha ? 1.0f : 0.0f;  // cells beyond the region count as known
        for (int64_t i = (count + 1) / 2; i < grid.pitch - block; ++i) even[i] = outside;
        for (int64_t i = count / 2; i < grid.pitch - block; ++i) odd[i] = outside;
        for (int64_t i = 1; i <= block; ++i) even[-i] = odd[-i] = 0;
    }
}

// First colours of a half row: its parents', and the image's own where they are known.
void start_half_row(const Grid& grid, int64_t y, int64_t parity, const Parent& parent) {
    float* const cells = half_row_of(grid, y, parity);
    const int64_t count = (grid.region.x1 - grid.region.x0 + 1 - parity) / 2;
    const float* const above = parent.data + (y / 2 - parent.y0) * parent.row + (grid.region.x0 / 2 - parent.x0);
    for (int64_t c = 0; c < 3; ++c) {
        const float* __restrict alphas = cells, * __restrict pixels = cells + (image + c) * grid.pitch;
        const float* __restrict f = above + c * parent.plane, * __restrict b = above + (c + 3) * parent.plane;
        float* __restrict fore = cells + (foreground + c) * grid.pitch;
        float* __restrict back = cells + (background + c) * grid.pitch;
        for (int64_t i = 0; i < count; ++i) fore[i] = alphas[i] >= 1.0f ? pixels[i] : f[i];
        for (int64_t i = 0; i < count; ++i) back[i] = alphas[i] <= 0.0f ? pixels[i] : b[i];
        for (int64_t i = count; i < grid.pitch - block; ++i) fore[i] = back[i] = 0;
        for (int64_t i = 1; i <= block; ++i) fore[-i] = back[-i] = 0;
    }
    // The block left of the next plane is where the last plane's cells find their right neighbours.
    for (int64_t i = 1; i <= block; ++i) cells[held * grid.pitch - i] = 0;
}

// Distances in floats from a cell to its four neighbours.
struct Neighbours {
    int64_t left, right, up, down;
};

Neighbours neighbours(const Grid& grid, int64_t parity) {
    const int64_t across = parity == 0 ? grid.record : -grid.record;
    return {across - 1 + parity, across + parity, -2 * grid.record, 2 * grid.record};
}

bool has_unknown(const float* alphas) {
    int unknown = 0;
    for (int64_t i = 0; i < block; ++i) unknown |= (alphas[i] > 0.0f) & (alphas[i] < 1.0f);
    return unknown != 0;
}

float distance(float a, float b) { return a < b ? b - a : a - b; }

// Everything of a block's equations that does not change from sweep to sweep. exists: 0 or 1 for left, right, up and
// down; the first cell may lack its left neighbour, the cell at last its right one.
void prepare_block(float* __restrict cells, int64_t pitch, const Neighbours& to, const ForegroundMultilevel& call,
                   bool lacks_left, int64_t last, float has_up, float has_down) {
    const float base = call.regularization, weight = call.gradient_weight;
    float* const shares = cells + left * pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < block; ++i) {
        const float a = cells[i];
        shares[i] = base + weight * distance(a, cells[to.left + i]);
        shares[pitch + i] = base + weight * distance(a, cells[to.right + i]);
        shares[2 * pitch + i] = has_up * (base + weight * distance(a, cells[to.up + i]));
        shares[3 * pitch + i] = has_down * (base + weight * distance(a, cells[to.down + i]));
    }
    if (lacks_left) shares[0] = 0;
    if (last >= 0 && last < block) shares[pitch + last] = 0;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < block; ++i) {
        const float a = cells[i], rest = 1.0f - a;
        const float sum = (shares[i] + shares[pitch + i]) + (shares[2 * pitch + i] + shares[3 * pitch + i]);
        const float inverse = 1.0f / sum, gain = 1.0f / (a * a + rest * rest + sum);
        for (int64_t k = 0; k < 4; ++k) shares[k * pitch + i] *= inverse;
        cells[foreground_gain * pitch + i] = a * gain;
        cells[background_gain * pitch + i] = rest * gain;
    }
}

// Finds and prepares the blocks with unknown cells.
void prepare(Grid& grid, const ForegroundMultilevel& call) {
    const Region& region = grid.region;
    const int64_t blocks = grid.pitch / block - 1, count = region.x1 - region.x0;
    for (int64_t y = region.y0; y < region.y1; ++y)
        for (int64_t parity = 0; parity < 2; ++parity) {
            float* const cells = half_row_of(grid, y, parity);
            const Neighbours to = neighbours(grid, parity);
            const int64_t last = (count - 1) % 2 == parity ? (count - 1) / 2 : -1;
            const int64_t colour = (y + parity) % 2;
            for (int64_t b = 0; b < blocks; ++b) {
                if (!has_unknown(cells + b * block)) continue;
                prepare_block(cells + b * block, grid.pitch, to, call, b == 0 && parity == 0,
                              last < 0 ? -1 : last - b * block, y > region.y0 ? 1.0f : 0.0f,
                              y + 1 < region.y1 ? 1.0f : 0.0f);
                grid.active[colour][grid.active_count[colour]++] = static_cast<int>(cells + b * block - grid.cells);
            }
        }
}

float limited(float value) {
    value = value < 0.0f ? 0.0f : value;
    return value > 1.0f ? 1.0f : value;
}

// With the weighted means f and b of the neighbours, the exact minimum of a pixel's terms is
//   F = f + alpha e / (alpha^2 + (1 - alpha)^2 + s),   B = b + (1 - alpha) e / (...),   e = I - alpha f - (1 - alpha) b
// where s is the sum of the weights.
void relax_block(float* __restrict cells, int64_t pitch, const Neighbours& to, float relaxation) {
    const float* const shares = cells + left * pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < block; ++i) {
        const float a = cells[i], rest = 1.0f - a;
        const float l = shares[i], r = shares[pitch + i], u = shares[2 * pitch + i], d = shares[3 * pitch + i];
        const float fore_gain = cells[foreground_gain * pitch + i], back_gain = cells[background_gain * pitch + i];
        const bool unknown = (a > 0.0f) & (a < 1.0f);
        for (int64_t c = 0; c < 3; ++c) {
            float* const fore = cells + (foreground + c) * pitch + i;
            float* const back = cells + (background + c) * pitch + i;
            const float f = (l * fore[to.left] + r * fore[to.right]) + (u * fore[to.up] + d * fore[to.down]);
            const float b = (l * back[to.left] + r * back[to.right]) + (u * back[to.up] + d * back[to.down]);
            const float error = cells[(image + c) * pitch + i] - (a * f + rest * b);
            const float old_fore = *fore, old_back = *back;
            const float new_fore = limited(old_fore + relaxation * ((f + fore_gain * error) - old_fore));
            const float new_back = limited(old_back + relaxation * ((b + back_gain * error) - old_back));
            *fore = unknown ? new_fore : old_fore;
            *back = unknown ? new_back : old_back;
        }
    }
}

// Over-relaxed but for the last sweep, which smooths out what over-relaxation leaves.
void relax(const Grid& grid, int64_t sweeps) {
    for (int64_t sweep = 0; sweep < sweeps; ++sweep)
        for (int64_t colour = 0; colour < 2; ++colour)
            for (int64_t k = 0; k < grid.active_count[colour]; ++k) {
                const int64_t at = grid.active[colour][k], parity = at / grid.record % 2;
                relax_block(grid.cells + at, grid.pitch, neighbours(grid, parity),
                            sweep + 1 < sweeps ? over_relaxation : 1.0f);
            }
}

// One row of colour plane k (foreground + c or background + c), its columns in order again.
void take_row(const Grid& grid, int64_t y, int64_t k, int64_t x0, int64_t x1, float* __restrict row) {
    const float* __restrict even = half_row_of(grid, y, 0) + k * grid.pitch - grid.region.x0 / 2;
    const float* __restrict odd = half_row_of(grid, y, 1) + k * grid.pitch - grid.region.x0 / 2;
    int64_t x = x0;
    if (x % 2 != 0 && x < x1) *row++ = odd[x++ / 2];
    const int64_t first = x / 2, pairs = (x1 - x) / 2;
    for (int64_t i = 0; i < pairs; ++i) {
        row[2 * i] = even[first + i];
        row[2 * i + 1] = odd[first + i];
    }
    if ((x1 - x) % 2 != 0) row[2 * pairs] = even[first + pairs];
}

// ---- Levels held whole ---------------------------------------------------------------------------------------------

bool has_unknown(const Level& level, const Region& tile) {
    int unknown = 0;
    for (int64_t y = tile.y0; y < tile.y1 && unknown == 0; ++y) {
        const float* const alphas = level.data + y * level.width;
        for (int64_t x = tile.x0; x < tile.x1; ++x) unknown |= (alphas[x] > 0.0f) & (alphas[x] < 1.0f);
    }
    return unknown != 0;
}

// A tile without unknown pixels: the image's own colours where they are known, the parents' elsewhere.
void start_tile(const Level& level, const Level& coarse, const Region& tile) {
    const int64_t size = level.height * level.width, coarse_size = coarse.height * coarse.width;
    for (int64_t y = tile.y0; y < tile.y1; ++y)
        for (int64_t k = foreground; k < held; ++k) {
            const int64_t at = y * level.width;
            const float known = k < background ? 1.0f : 0.0f;
            const float* __restrict alphas = level.data + at;
            const float* __restrict pixels = level.data + (image + (k - foreground) % 3) * size + at;
            const float* __restrict parents = coarse.data + k * coarse_size + y / 2 * coarse.width;
            float* __restrict colours = level.data + k * size + at;
            SAFELIGHT_INDEPENDENT
            for (int64_t x = tile.x0; x < tile.x1; ++x) colours[x] = alphas[x] == known ? pixels[x] : parents[x / 2];
        }
}

void solve_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Level &level = work.levels[work.level], &coarse = work.levels[work.level + 1];
    const int64_t size = level.height * level.width, coarse_size = coarse.height * coarse.width;
    const Parent parent{coarse.data + foreground * coarse_size, coarse_size, coarse.width, 0, 0};
    const Region tile = tile_of(task, level);
    if (!has_unknown(level, tile)) {
        start_tile(level, coarse, tile);
        return;
    }
    const Region region = grown(tile, 2 * level.sweeps, level);
    Grid grid = lay_out(region, work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    for (int64_t y = region.y0; y < region.y1; ++y) {
        put_row(grid, y, level.data + y * level.width + region.x0, size);
        for (int64_t parity = 0; parity < 2; ++parity) start_half_row(grid, y, parity, parent);
    }
    prepare(grid, *work.call);
    relax(grid, level.sweeps);
    for (int64_t k = foreground; k < held; ++k)
        for (int64_t y = tile.y0; y < tile.y1; ++y)
            take_row(grid, y, k, tile.x0, tile.x1, level.data + k * size + y * level.width + tile.x0);
}

// ---- Levels 1 and 0, tile by tile ----------------------------------------------------------------------------------

template <typename T>
T from_unit(float value, float most) {
    return static_cast<T>(value * most + 0.5f);
}
template <>
float from_unit<float>(float value, float) {
    return value;
}

// One row of the result: the image's own pixels where alpha is the known value, else the colours.
template <typename T>
void write_row(const T* __restrict pixels, const float* __restrict alphas, float known, const float* colours,
               int64_t pitch, float most, int64_t count, T* __restrict result) {
    const float* __restrict red = colours, * __restrict green = red + pitch, * __restrict blue = green + pitch;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const bool own = alphas[i] == known;
        result[3 * i] = own ? pixels[3 * i] : from_unit<T>(red[i], most);
        result[3 * i + 1] = own ? pixels[3 * i + 1] : from_unit<T>(green[i], most);
        result[3 * i + 2] = own ? pixels[3 * i + 2] : from_unit<T>(blue[i], most);
    }
}

// What rounds to 0 in the result's type is hidden.
template <typename T>
bool visible(float a, float most) {
    return a * most + 0.5f >= 1.0f;
}
template <>
bool visible<float>(float a, float) {
    return a > 0.0f;
}

template <typename T>
void clear_row(const float* __restrict alphas, float most, int64_t count, T* __restrict result) {
    for (int64_t i = 0; i < count; ++i) {
        const T shown = static_cast<T>(visible<T>(alphas[i], most));
        for (int64_t c = 0; c < 3; ++c) result[3 * i + c] = static_cast<T>(result[3 * i + c] * shown);
    }
}

enum class Share { zero, one, mixed };

Share share_of(const Work& work, const Region& tile) {
    const int64_t width = work.levels[0].width;
    const float first = work.call->alpha[tile.y0 * width + tile.x0];
    if (first > 0.0f && first < 1.0f) return Share::mixed;
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
        const float* const alphas = work.call->alpha + y * width;
        int other = 0;
        for (int64_t x = tile.x0; x < tile.x1; ++x) other |= alphas[x] != first;
        if (other != 0) return Share::mixed;
    }
    return first > 0.0f ? Share::one : Share::zero;
}

// A tile without any edge: the image itself, or the colours of the whole level above it.
template <typename T>
void copy_tile(const Work& work, const Region& tile, T* result) {
    const int64_t width = work.levels[0].width, count = 3 * (tile.x1 - tile.x0);
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
        const int64_t at = 3 * (y * width + tile.x0);
        const T* __restrict pixels = static_cast<const T*>(work.call->image.data) + at;
        T* __restrict row = result + at;
        for (int64_t i = 0; i < count; ++i) row[i] = pixels[i];
    }
}

template <typename T>
void spread_tile(const Work& work, const Region& tile, int64_t plane, T* result) {
    const Level& level = work.levels[whole];
    const float most = 1.0f / work.scale;
    const int64_t size = level.height * level.width, width = work.levels[0].width;
    T row[3 * tile_size];
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
        const float* const colours = level.data + plane * size + y / 4 * level.width;
        if (y % 4 == 0)
            for (int64_t x = tile.x0; x < tile.x1; ++x)
                for (int64_t c = 0; c < 3; ++c)
                    row[3 * (x - tile.x0) + c] = from_unit<T>(colours[c * size + x / 4], most);
        T* const target = result + 3 * (y * width + tile.x0);
        for (int64_t i = 0; i < 3 * (tile.x1 - tile.x0); ++i) target[i] = row[i];
    }
}

template <typename T>
void clear_tile(const Work& work, const Region& tile, T* result) {
    const int64_t width = work.levels[0].width, count = 3 * (tile.x1 - tile.x0);
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
        T* __restrict row = result + 3 * (y * width + tile.x0);
        for (int64_t i = 0; i < count; ++i) row[i] = 0;
    }
}

template <typename T>
void solve_fine_tile(const Work& work, const Region& tile, char* memory) {
    const Level &full = work.levels[0], &half = work.levels[1], &coarse = work.levels[whole];
    const Region full_region = grown(tile, 2 * full.sweeps, full);
    const Region half_tile = parent_of(full_region), half_region = grown(half_tile, 2 * half.sweeps, half);
    const int64_t coarse_size = coarse.height * coarse.width;
    Grid half_grid = lay_out(half_region, memory), full_grid = lay_out(full_region, memory + work.grid_bytes[1]);
    float* const rows = reinterpret_cast<float*>(memory + work.grid_bytes[0] + work.grid_bytes[1]);
    const int64_t pitch =
        round_up(larger(full_region.x1 - full_region.x0, 2 * (half_region.x1 - half_region.x0)), block);
    float *const room = rows + foreground * pitch, *const colours = room + 2 * foreground * pitch;

    const Parent coarse_parent{coarse.data + foreground * coarse_size, coarse_size, coarse.width, 0, 0};
    for (int64_t y = half_region.y0; y < half_region.y1; ++y) {
        half_row<T>(work, y, half_region.x0, half_region.x1, rows, pitch, room);
        put_row(half_grid, y, rows, pitch);
        for (int64_t parity = 0; parity < 2; ++parity) start_half_row(half_grid, y, parity, coarse_parent);
    }
    prepare(half_grid, *work.call);
    relax(half_grid, half.sweeps);

    const int64_t half_count = half_tile.x1 - half_tile.x0;
    const Parent half_parent{colours, half_count, 6 * half_count, half_tile.y0, half_tile.x0};
    for (int64_t y = half_tile.y0; y < half_tile.y1; ++y)
        for (int64_t k = 0; k < 6; ++k)
            take_row(half_grid, y, foreground + k, half_tile.x0, half_tile.x1,
                     colours + ((y - half_tile.y0) * 6 + k) * half_count);
    for (int64_t y = full_region.y0; y < full_region.y1; ++y) {
        full_row<T>(work, y, full_region.x0, full_region.x1, rows, pitch);
        put_row(full_grid, y, rows, pitch);
        for (int64_t parity = 0; parity < 2; ++parity) start_half_row(full_grid, y, parity, half_parent);
    }
    prepare(full_grid, *work.call);
    relax(full_grid, full.sweeps);

    const float most = 1.0f / work.scale;
    for (int64_t y = tile.y0; y < tile.y1; ++y) {
        const int64_t at = y * full.width + tile.x0, count = tile.x1 - tile.x0;
        const T* const pixels = static_cast<const T*>(work.call->image.data) + 3 * at;
        for (int64_t c = 0; c < 3; ++c) take_row(full_grid, y, foreground + c, tile.x0, tile.x1, rows + c * pitch);
        T* const fore = static_cast<T*>(work.call->foreground) + 3 * at;
        write_row(pixels, work.call->alpha + at, 1.0f, rows, pitch, most, count, fore);
        if (work.call->clear) clear_row(work.call->alpha + at, most, count, fore);
        if (work.call->background == nullptr) continue;
        for (int64_t c = 0; c < 3; ++c) take_row(full_grid, y, background + c, tile.x0, tile.x1, rows + c * pitch);
        write_row(pixels, work.call->alpha + at, 0.0f, rows, pitch, most, count,
                  static_cast<T*>(work.call->background) + 3 * at);
    }
}

template <typename T>
void fine_tile(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Region tile = tile_of(task, work.levels[0]);
    T* const fore = static_cast<T*>(work.call->foreground);
    T* const back = static_cast<T*>(work.call->background);
    switch (share_of(work, tile)) {
        case Share::one:
            copy_tile(work, tile, fore);
            if (back != nullptr) spread_tile(work, tile, background, back);
            break;
        case Share::zero:
            if (work.call->clear)
                clear_tile(work, tile, fore);
            else
                spread_tile(work, tile, foreground, fore);
            if (back != nullptr) copy_tile(work, tile, back);
            break;
        case Share::mixed:
            solve_fine_tile<T>(work, tile, work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    }
}

// ---- The whole -----------------------------------------------------------------------------------------------------

// Sweeps double from level to level, between the numbers asked for the finest and the coarse ones.
int64_t sweeps_at(const ForegroundMultilevel& call, int64_t level) {
    int64_t count = call.big_iterations;
    for (int64_t l = 0; l < level && count < call.small_iterations; ++l) count *= 2;
    return larger(call.big_iterations, smaller(count, call.small_iterations));
}

void plan(Work& work) {
    const ForegroundMultilevel& call = *work.call;
    int64_t height = call.image.height, width = call.image.width, l = 0;
    for (;; ++l, height = (height + 1) / 2, width = (width + 1) / 2) {
        const bool single = height == 1 && width == 1;
        work.levels[l] = {height, width, single ? 0 : sweeps_at(call, l), nullptr};
        if (single && l >= whole) break;
    }
    work.level_count = l + 1;
    const Level &full = work.levels[0], &half = work.levels[1];
    const int64_t half_size = (tile_size + 4 * full.sweeps) / 2 + 2;
    work.grid_bytes[0] = grid_bytes(full, tile_size);
    work.grid_bytes[1] = grid_bytes(half, half_size);
    const int64_t longest =
        round_up(larger(tile_size + 4 * full.sweeps + 2, 2 * (half_size + 4 * half.sweeps + 2)), block);
    work.scratch_bytes = work.grid_bytes[0] + work.grid_bytes[1] +
                         static_cast<std::size_t>(12 * longest + 6 * half_size * half_size) * sizeof(float);
    for (int64_t k = whole; k < work.level_count; ++k) {
        const std::size_t bytes = grid_bytes(work.levels[k], tile_size);
        if (bytes > work.scratch_bytes) work.scratch_bytes = bytes;
    }
    const std::size_t rows = static_cast<std::size_t>(16 * 4 * pyramid_columns) * sizeof(float);
    if (rows > work.scratch_bytes) work.scratch_bytes = rows;
    work.scratch_bytes = (work.scratch_bytes + 127) / 64 * 64;
}

bool allocate_levels(Work& work, int slots) {
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    bool complete = work.scratch != nullptr;
    for (int64_t l = whole; l < work.level_count && complete; ++l) {
        Level& level = work.levels[l];
        level.data =
            static_cast<float*>(allocate(static_cast<std::size_t>(held * level.height * level.width) * sizeof(float)));
        complete = level.data != nullptr;
    }
    return complete;
}

void release_levels(Work& work) {
    release(work.scratch);
    for (int64_t l = whole; l < work.level_count; ++l) release(work.levels[l].data);
}

void run(Work& work, int slots, Body body, int64_t tasks) {
    parallel_for(tasks, static_cast<int>(smaller(slots, tasks)), body, &work);
}

template <typename T>
Status estimate(const ForegroundMultilevel& call, float scale) {
    Work work{};
    work.call = &call;
    work.scale = scale;
    plan(work);
    const int slots = slot_count(tile_count(work.levels[0]), 1 << 16);
    if (!allocate_levels(work, slots)) {
        release_levels(work);
        return Status::out_of_memory;
    }
    const Level &finest = work.levels[whole], &top = work.levels[work.level_count - 1];
    run(work, slots, average_from_image<T>,
        ((finest.height + pyramid_rows - 1) / pyramid_rows) * ((finest.width + pyramid_columns - 1) / pyramid_columns));
    for (work.level = whole + 1; work.level < work.level_count; ++work.level)
        run(work, slots, average_level, work.levels[work.level].height);
    for (int64_t c = 0; c < 3; ++c) top.data[foreground + c] = top.data[background + c] = top.data[image + c];
    for (work.level = work.level_count - 2; work.level >= whole; --work.level)
        run(work, slots, solve_tile, tile_count(work.levels[work.level]));
    run(work, slots, fine_tile<T>, tile_count(work.levels[0]));
    release_levels(work);
    return Status::done;
}

}  // namespace

Status foreground_multilevel(const ForegroundMultilevel& call) {
    switch (call.image.type) {
        case PixelType::uint8:
            return estimate<std::uint8_t>(call, 1.0f / 255);
        case PixelType::uint16:
            return estimate<std::uint16_t>(call, 1.0f / 65535);
        default:
            return estimate<float>(call, 1.0f);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
