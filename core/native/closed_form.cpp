// Closed-form matting: A. Levin, D. Lischinski, Y. Weiss, "A Closed-Form Solution to Natural Image Matting", IEEE TPAMI
// 30 (2008), solved for the unknown pixels alone by preconditioned conjugate gradients.
//
// The matting Laplacian hardly resists functions that are affine in colour, alpha = b + a . I with slowly varying a and
// b, so plain smoothers stall on them. The coarse space is made of just these: hats on a grid of nodes eight pixels
// apart, times {1, r, g, b}. Its Galerkin matrix has 4 x 4 blocks and is coarsened further by bilinear weights, which
// makes a multigrid cycle with one Gauss-Seidel sweep before and one after each coarse correction.
//
//   band      the unknown pixels and two more around them, held as row segments one after the other
//   matrix    a symmetric 5 x 5 stencil: 13 planes over the band, the other 12 taps are read at the neighbour
//   strips    whole rows of cells; even strips are swept before odd ones, backward the other way round, so the
//             sweeps are each other's transpose and the result does not depend on the threads
//
// Hats are flat for a pixel on either side of a node. Two nodes apart, they are then further apart than the stencil
// reaches, and a node has 8 neighbours instead of 24.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int32_t;
using std::int64_t;
using std::uint8_t;

constexpr int64_t cell = 8;  // pixels between two nodes
constexpr float right_share[cell] = {0.0f,         1.0f / 12.0f, 3.0f / 12.0f,  5.0f / 12.0f,
                                     7.0f / 12.0f, 9.0f / 12.0f, 11.0f / 12.0f, 1.0f};
constexpr int planes = 13;
constexpr int64_t pad = 16;  // floats before and after each plane: runs look two pixels past their ends
constexpr int most_strips = 32, most_level_strips = 16, most_levels = 16;
constexpr int64_t direct_nodes = 400;  // so few are solved directly
constexpr int64_t few_nodes = 1024;    // so few are not worth waking threads for
constexpr int64_t span = 2048;         // values updated at a time, a multiple of the lanes of a sum
constexpr int64_t chunk = 64;          // windows assembled at a time
constexpr uint8_t unknown_mark = 128, foreground_mark = 255;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
double at_least(double a, double b) { return a > b ? a : b; }

constexpr int plane_of(int dy, int dx) { return dy == 0 ? dx : 5 * dy + dx; }  // of the tap that leads forward

// What has been allocated, released together.
class Memory {
  public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() {
        for (int i = 0; i < count_; ++i) release(held_[i]);
    }
    template <typename T>
    T* take(int64_t count) {
        if (failed_ || count_ == most) return fail<T>();
        void* const memory = allocate(static_cast<std::size_t>(larger(count, 1)) * sizeof(T));
        if (memory == nullptr) return fail<T>();
        held_[count_++] = memory;
        return static_cast<T*>(memory);
    }
    template <typename T>
    T* take_clear(int64_t count) {
        T* const memory = take<T>(count);
        if (memory != nullptr)
            for (int64_t i = 0; i < larger(count, 1); ++i) memory[i] = T{};
        return memory;
    }
    bool failed() const { return failed_; }

  private:
    template <typename T>
    T* fail() {
        failed_ = true;
        return nullptr;
    }
    static constexpr int most = 256;
    void* held_[most];
    int count_ = 0;
    bool failed_ = false;
};

struct Segment {  // of the band: pixel x of its row has the number x + offset
    int32_t begin, end;
    int64_t offset;
};

struct Run {  // of unknown pixels
    int32_t y, begin, end;
    unsigned rows;  // bit d: row y + d - 2 is in the picture
    int64_t at[5];  // the number of pixel (y + d - 2, begin)
};

struct Strip {
    int64_t first_cell, end_cell;  // rows of cells
    int64_t first_row, end_row;
    int64_t first_run, end_run;
    int64_t first_pixel, end_pixel;  // of the band
    bool odd;
};

struct Level {
    int64_t rows, columns, count;
    int32_t* numbers;       // (rows, columns): the node's number, or -1
    int32_t *row, *column;  // of each node
    double* blocks;         // 9 per node, 4 x 4 each, stored by columns
    int32_t* neighbours;    // 8 per node: first those swept before it, then those after it
    uint8_t *before, *all;
    double *right, *rest, *result;  // 4 per node
    int64_t strips[most_level_strips + 1];
    int strip_count;
};

struct Direct {  // the factor of the coarsest level's matrix, by rows from the first entry that is not 0
    int64_t size;
    int64_t *first, *start;
    double *entries, *pivots;
};

struct Solver {
    const ClosedForm* call;
    int64_t height, width;
    Memory memory;
    Segment* segments;
    int64_t* segments_of_row;
    Run* runs;
    int64_t* runs_of_row;
    int64_t pixels, unknown;
    float* taps[planes];
    float *inverse, *colours[3];
    float *x, *r, *z, *p, *q, *w;
    Strip strips[most_strips];
    int strip_count, slots;
    uint8_t* cells;  // whether a cell holds an unknown pixel
    int64_t cell_rows, cell_columns;
    int64_t pitch;
    float* scratch;  // 13 rows per slot
    Level levels[most_levels];
    int level_count;
    Direct direct;
};

template <typename F>
void call_task(void* context, int64_t task, int slot) {
    (*static_cast<const F*>(context))(task, slot);
}

template <typename F>
void in_parallel(int64_t tasks, int slots, const F& body) {
    if (slots > 1 && tasks > 1)
        parallel_for(tasks, slots, call_task<F>, const_cast<F*>(&body));
    else
        for (int64_t task = 0; task < tasks; ++task) body(task, 0);
}

template <typename F>
void every_strip(const Solver& solver, const F& body) {
    in_parallel(solver.strip_count, solver.slots,
                [&](int64_t task, int slot) { body(solver.strips[task], task, slot); });
}

// Even strips, then odd ones, or the other way round.
template <typename F>
void alternating_strips(const Solver& solver, bool backward, const F& body) {
    for (int phase = 0; phase < 2; ++phase) {
        const int parity = backward ? 1 - phase : phase;
        in_parallel((solver.strip_count + 1 - parity) / 2, solver.slots,
                    [&](int64_t task, int slot) { body(solver.strips[2 * task + parity], slot); });
    }
}

float* scratch_row(const Solver& solver, int slot, int row) {
    return solver.scratch + (slot * 13 + row) * solver.pitch + pad;
}

// ---- The band -------------------------------------------------------------------------------------------------------

struct Extent {  // of a row's unknown pixels
    int32_t begin, end;
};

void find_extent(const uint8_t* trimap, int64_t width, Extent& extent) {
    int64_t begin = 0, end = width;
    while (begin < width && trimap[begin] != unknown_mark) ++begin;
    while (end > begin && trimap[end - 1] != unknown_mark) --end;
    extent = {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
}

// Marks the pixels of row y within `reach` of an unknown one. Returns what part of the row may be marked; what is
// outside of it is not written.
Extent mark_row(const Solver& solver, const Extent* extents, int64_t y, int64_t reach, uint8_t* raw, uint8_t* marks) {
    const int64_t width = solver.width;
    int64_t begin = width, end = 0;
    const int64_t top = larger(y - reach, 0), bottom = smaller(y + reach, solver.height - 1);
    for (int64_t row = top; row <= bottom; ++row)
        if (extents[row].begin < extents[row].end) {
            begin = smaller(begin, extents[row].begin);
            end = larger(end, extents[row].end);
        }
    if (begin >= end) return {0, 0};
    begin = larger(begin - reach, 0);
    end = smaller(end + reach, width);
    const int64_t from = begin - reach, to = end + reach;  // raw has room for it
    for (int64_t x = from; x < to; ++x) raw[x] = 0;
    const int64_t inner_begin = larger(from, 0), inner_end = smaller(to, width);
    for (int64_t row = top; row <= bottom; ++row) {
        const uint8_t* const trimap = solver.call->trimap + row * width;
        for (int64_t x = inner_begin; x < inner_end; ++x) raw[x] |= static_cast<uint8_t>(trimap[x] == unknown_mark);
    }
    for (int64_t x = begin; x < end; ++x) marks[x] = raw[x];
    for (int64_t d = 1; d <= reach; ++d)
        for (int64_t x = begin; x < end; ++x) marks[x] = static_cast<uint8_t>(marks[x] | raw[x - d] | raw[x + d]);
    return {static_cast<int32_t>(begin), static_cast<int32_t>(end)};
}

// Calls body(begin, end) for every stretch of marks.
template <typename F>
void stretches(const uint8_t* marks, Extent extent, const F& body) {
    int32_t x = extent.begin;
    while (x < extent.end) {
        while (x < extent.end && marks[x] == 0) ++x;
        if (x == extent.end) return;
        const int32_t begin = x;
        while (x < extent.end && marks[x] != 0) ++x;
        body(begin, x);
    }
}

template <typename F>
void unknown_stretches(const Solver& solver, const Extent* extents, int64_t y, const F& body) {
    const uint8_t* const trimap = solver.call->trimap + y * solver.width;
    int32_t x = extents[y].begin;
    while (x < extents[y].end) {
        while (x < extents[y].end && trimap[x] != unknown_mark) ++x;
        if (x == extents[y].end) return;
        const int32_t begin = x;
        while (x < extents[y].end && trimap[x] == unknown_mark) ++x;
        body(begin, x);
    }
}

template <typename F>
void blocks_of_rows(const Solver& solver, const F& body) {
    constexpr int64_t rows = 64;
    const int64_t tasks = (solver.height + rows - 1) / rows;
    in_parallel(tasks, solver.slots, [&](int64_t task, int slot) {
        for (int64_t y = task * rows; y < smaller((task + 1) * rows, solver.height); ++y) body(y, slot);
    });
}

uint8_t* mark_rows(const Solver& solver, int slot, int row) {
    return reinterpret_cast<uint8_t*>(scratch_row(solver, slot, row));
}

// The number of pixel (y, x), which lies in the band; `cursor` is a segment of that row at or before it.
int64_t number_of(const Solver& solver, int64_t x, int64_t& cursor) {
    while (solver.segments[cursor].end <= x) ++cursor;
    return x + solver.segments[cursor].offset;
}

bool find_band(Solver& solver, Extent* extents) {
    const int64_t height = solver.height, width = solver.width;
    int64_t* const band = solver.memory.take_clear<int64_t>(height + 1);
    solver.segments_of_row = solver.memory.take_clear<int64_t>(height + 1);
    solver.runs_of_row = solver.memory.take_clear<int64_t>(height + 1);
    if (solver.memory.failed()) return false;
    blocks_of_rows(solver, [&](int64_t y, int) { find_extent(solver.call->trimap + y * width, width, extents[y]); });
    blocks_of_rows(solver, [&](int64_t y, int slot) {
        uint8_t* const marks = mark_rows(solver, slot, 1);
        int64_t pixels = 0, segments = 0, runs = 0;
        stretches(marks, mark_row(solver, extents, y, 2, mark_rows(solver, slot, 0), marks),
                  [&](int64_t begin, int64_t end) {
                      pixels += end - begin;
                      ++segments;
                  });
        unknown_stretches(solver, extents, y, [&](int64_t, int64_t) { ++runs; });
        band[y + 1] = pixels;
        solver.segments_of_row[y + 1] = segments;
        solver.runs_of_row[y + 1] = runs;
    });
    for (int64_t y = 0; y < height; ++y) {
        band[y + 1] += band[y];
        solver.segments_of_row[y + 1] += solver.segments_of_row[y];
        solver.runs_of_row[y + 1] += solver.runs_of_row[y];
    }
    solver.pixels = band[height];
    solver.segments = solver.memory.take<Segment>(solver.segments_of_row[height]);
    solver.runs = solver.memory.take<Run>(solver.runs_of_row[height]);
    if (solver.memory.failed()) return false;
    blocks_of_rows(solver, [&](int64_t y, int slot) {
        uint8_t* const marks = mark_rows(solver, slot, 1);
        Segment* next = solver.segments + solver.segments_of_row[y];
        int64_t number = band[y];
        stretches(marks, mark_row(solver, extents, y, 2, mark_rows(solver, slot, 0), marks),
                  [&](int32_t begin, int32_t end) {
                      *next++ = {begin, end, number - begin};
                      number += end - begin;
                  });
    });
    blocks_of_rows(solver, [&](int64_t y, int) {
        Run* next = solver.runs + solver.runs_of_row[y];
        int64_t cursors[5] = {};
        for (int64_t d = 0; d < 5; ++d) cursors[d] = solver.segments_of_row[smaller(larger(y + d - 2, 0), height - 1)];
        unknown_stretches(solver, extents, y, [&](int32_t begin, int32_t end) {
            Run run{static_cast<int32_t>(y), begin, end, 0, {}};
            for (int64_t d = 0; d < 5; ++d) {
                if (y + d < 2 || y + d - 2 >= height) continue;
                run.rows |= 1u << d;
                run.at[d] = number_of(solver, begin, cursors[d]);
            }
            *next++ = run;
        });
    });
    return true;
}

// Cuts the rows of cells into strips of about the same number of unknown pixels.
void cut_strips(Solver& solver, int64_t* counts) {
    for (int64_t i = 0; i < solver.cell_rows; ++i) counts[i] = 0;
    solver.unknown = 0;
    for (int64_t i = 0; i < solver.runs_of_row[solver.height]; ++i) {
        const Run& run = solver.runs[i];
        counts[run.y / cell] += run.end - run.begin;
        solver.unknown += run.end - run.begin;
    }
    const int64_t share = larger(solver.unknown / most_strips, 1);
    int64_t first = 0;
    solver.strip_count = 0;
    while (first < solver.cell_rows) {
        int64_t end = first, count = 0;
        const bool last = solver.strip_count == most_strips - 1;
        while (end < solver.cell_rows && (last || end < first + 2 || count < share)) count += counts[end++];
        if (solver.cell_rows - end < 2) end = solver.cell_rows;
        Strip& strip = solver.strips[solver.strip_count];
        strip.first_cell = first;
        strip.end_cell = end;
        strip.first_row = first * cell;
        strip.end_row = smaller(end * cell, solver.height);
        strip.first_run = solver.runs_of_row[strip.first_row];
        strip.end_run = solver.runs_of_row[strip.end_row];
        strip.odd = solver.strip_count % 2 != 0;
        ++solver.strip_count;
        first = end;
    }
}

void mark_cells(Solver& solver) {
    every_strip(solver, [&](const Strip& strip, int64_t, int) {
        uint8_t* const cells = solver.cells;
        for (int64_t i = strip.first_cell * solver.cell_columns; i < strip.end_cell * solver.cell_columns; ++i)
            cells[i] = 0;
        for (int64_t i = strip.first_run; i < strip.end_run; ++i) {
            const Run& run = solver.runs[i];
            for (int64_t c = run.begin / cell; c <= (run.end - 1) / cell; ++c)
                cells[run.y / cell * solver.cell_columns + c] = 1;
        }
    });
}

// ---- The matrix -----------------------------------------------------------------------------------------------------

// Windows of one row, `count` at most a chunk, around the pixels from x on; `at` numbers the pixels (y + k - 1, x - 1).
template <typename T>
void assemble(const Solver& solver, int64_t y, int64_t x, int64_t count, const int64_t* at, double least) {
    double image[3][3][chunk + 2], sums[9][chunk + 2], factor[9][chunk];
    float white[9][3][chunk], scaled[9][3][chunk];
    const T* const data = static_cast<const T*>(solver.call->image.data);
    for (int64_t row = 0; row < 3; ++row) {
        const T* const from = data + ((y + row - 1) * solver.width + x - 1) * 3;
        for (int64_t i = 0; i < count + 2; ++i)
            for (int c = 0; c < 3; ++c) image[row][c][i] = static_cast<double>(from[3 * i + c]);
    }
    constexpr int one[6] = {0, 0, 0, 1, 1, 2}, other[6] = {0, 1, 2, 1, 2, 2};
    for (int c = 0; c < 3; ++c)
        for (int64_t i = 0; i < count + 2; ++i) sums[c][i] = image[0][c][i] + image[1][c][i] + image[2][c][i];
    for (int k = 0; k < 6; ++k) {
        const int a = one[k], b = other[k];
        for (int64_t i = 0; i < count + 2; ++i)
            sums[3 + k][i] =
                image[0][a][i] * image[0][b][i] + image[1][a][i] * image[1][b][i] + image[2][a][i] * image[2][b][i];
    }
    for (int k = 0; k < 9; ++k)
        for (int64_t i = 0; i < count; ++i) sums[k][i] = sums[k][i] + sums[k][i + 1] + sums[k][i + 2];
    // 81/9 times the covariance, exact for integers, plus eps; then its factors L D L^T.
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i) {
        const double r = sums[0][i], g = sums[1][i], b = sums[2][i];
        const double rr = 9.0 * sums[3][i] - r * r + least, rg = 9.0 * sums[4][i] - r * g;
        const double rb = 9.0 * sums[5][i] - r * b, gg = 9.0 * sums[6][i] - g * g + least;
        const double gb = 9.0 * sums[7][i] - g * b, bb = 9.0 * sums[8][i] - b * b + least;
        const double inverse0 = 1.0 / rr, l10 = rg * inverse0, l20 = rb * inverse0;
        const double inverse1 = 1.0 / at_least(gg - l10 * rg, least), l21 = (gb - l20 * rg) * inverse1;
        const double left = bb - l20 * rb - l21 * (gb - l20 * rg);
        factor[0][i] = l10;
        factor[1][i] = l20;
        factor[2][i] = l21;
        factor[3][i] = inverse0 * (-1.0 / 9.0);
        factor[4][i] = inverse1 * (-1.0 / 9.0);
        factor[5][i] = (-1.0 / 9.0) / at_least(left, least);
    }
    for (int64_t row = 0; row < 3; ++row)
        for (int64_t column = 0; column < 3; ++column) {
            const int64_t k = 3 * row + column;
            SAFELIGHT_INDEPENDENT
            for (int64_t i = 0; i < count; ++i) {
                const double r = 9.0 * image[row][0][i + column] - sums[0][i];
                const double g = 9.0 * image[row][1][i + column] - sums[1][i] - factor[0][i] * r;
                const double b = 9.0 * image[row][2][i + column] - sums[2][i] - factor[1][i] * r - factor[2][i] * g;
                white[k][0][i] = static_cast<float>(r);
                white[k][1][i] = static_cast<float>(g);
                white[k][2][i] = static_cast<float>(b);
                scaled[k][0][i] = static_cast<float>(r * factor[3][i]);
                scaled[k][1][i] = static_cast<float>(g * factor[4][i]);
                scaled[k][2][i] = static_cast<float>(b * factor[5][i]);
            }
        }
    for (int k = 0; k < 9; ++k)
        for (int j = k; j < 9; ++j) {
            float* const to = solver.taps[plane_of(j / 3 - k / 3, j % 3 - k % 3)] + at[k / 3] + k % 3;
            const float own = (k == j ? 1.0f : 0.0f) - 1.0f / 9.0f;
            SAFELIGHT_INDEPENDENT
            for (int64_t i = 0; i < count; ++i)
                to[i] += own + (scaled[k][0][i] * white[j][0][i] + scaled[k][1][i] * white[j][1][i] +
                                scaled[k][2][i] * white[j][2][i]);
        }
}

template <typename T>
void assemble_row(const Solver& solver, const Extent* extents, int64_t y, double least, int slot) {
    uint8_t* const marks = mark_rows(solver, slot, 1);
    Extent extent = mark_row(solver, extents, y, 1, mark_rows(solver, slot, 0), marks);
    extent.begin = static_cast<int32_t>(larger(extent.begin, 1));
    extent.end = static_cast<int32_t>(smaller(extent.end, solver.width - 1));
    if (extent.begin >= extent.end) return;
    int64_t cursors[3];
    for (int64_t k = 0; k < 3; ++k) cursors[k] = solver.segments_of_row[y + k - 1];
    stretches(marks, extent, [&](int64_t begin, int64_t end) {
        for (int64_t x = begin; x < end; x += chunk) {
            int64_t at[3];
            for (int64_t k = 0; k < 3; ++k) at[k] = number_of(solver, x - 1, cursors[k]);
            assemble<T>(solver, y, x, smaller(chunk, end - x), at, least);
        }
    });
}

template <typename T>
void fill_colours(const Solver& solver, const Strip& strip, float scale) {
    const T* const data = static_cast<const T*>(solver.call->image.data);
    for (int64_t y = strip.first_row; y < strip.end_row; ++y)
        for (int64_t s = solver.segments_of_row[y]; s < solver.segments_of_row[y + 1]; ++s) {
            const Segment segment = solver.segments[s];
            const T* const row = data + y * solver.width * 3;
            for (int c = 0; c < 3; ++c) {
                float* const to = solver.colours[c];
                for (int64_t x = segment.begin; x < segment.end; ++x)
                    to[x + segment.offset] = static_cast<float>(row[3 * x + c]) * scale - 0.5f;
            }
        }
}

// Rows of windows belong to the strip of their centres, and reach into the next one.
template <typename T>
void assemble_all(const Solver& solver, const Extent* extents, float scale) {
    const double full = 1.0 / static_cast<double>(scale);
    const double least = 9.0 * full * full * solver.call->eps;
    every_strip(solver, [&](const Strip& strip, int64_t, int) { fill_colours<T>(solver, strip, scale); });
    alternating_strips(solver, false, [&](const Strip& strip, int slot) {
        for (int64_t y = larger(strip.first_row, 1); y < smaller(strip.end_row, solver.height - 1); ++y)
            assemble_row<T>(solver, extents, y, least, slot);
    });
}

// result -= a * value + ... over five taps side by side
void subtract_five(const float* a, const float* b, const float* c, const float* d, const float* e, const float* values,
                   int64_t count, float* result) {
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i)
        result[i] -= (a[i] * values[i] + b[i] * values[i + 1]) + (c[i] * values[i + 2] + d[i] * values[i + 3]) +
                     e[i] * values[i + 4];
}

// Subtracts the products with the rows above and below whose bits are set in `rows`.
void subtract_rows(const Solver& solver, const Run& run, unsigned rows, const float* values, float* result) {
    const int64_t count = run.end - run.begin, here = run.at[2];
    float* const* const t = solver.taps;
    for (int d = 0; d < 5; ++d) {
        if (d == 2 || (rows & run.rows & (1u << d)) == 0) continue;
        const int64_t there = run.at[d];
        if (d < 2) {
            const int last = plane_of(2 - d, 2);
            subtract_five(t[last] + there - 2, t[last - 1] + there - 1, t[last - 2] + there, t[last - 3] + there + 1,
                          t[last - 4] + there + 2, values + there - 2, count, result);
        } else {
            const int first = plane_of(d - 2, -2);
            subtract_five(t[first] + here, t[first + 1] + here, t[first + 2] + here, t[first + 3] + here,
                          t[first + 4] + here, values + there - 2, count, result);
        }
    }
}

constexpr unsigned above = 3, below = 24;

// The rows around a run that are swept before it: those above it in its own strip, and all of another strip if its own
// is odd.
unsigned rows_before(const Strip& strip, const Run& run) {
    unsigned rows = 0;
    for (int d = 0; d < 5; ++d) {
        const int64_t y = run.y + d - 2;
        const bool inside = y >= strip.first_row && y < strip.end_row;
        if (d != 2 && (inside ? d < 2 : strip.odd)) rows |= 1u << d;
    }
    return rows;
}

// result = -C values
void negative_product(const Solver& solver, const Run& run, const float* values, float* result) {
    const int64_t count = run.end - run.begin, here = run.at[2];
    const float *own = solver.taps[0] + here, *one = solver.taps[1] + here, *two = solver.taps[2] + here;
    const float* const v = values + here;
    SAFELIGHT_INDEPENDENT
    for (int64_t i = 0; i < count; ++i)
        result[i] = -(own[i] * v[i] + (one[i] * v[i + 1] + two[i] * v[i + 2]) +
                      (one[i - 1] * v[i - 1] + two[i - 2] * v[i - 2]));
    subtract_rows(solver, run, above | below, values, result);
}

// Lets each row of the matrix add up to 0, as that of a Laplacian must: what is missing to it by rounding would pull
// all of a wide band towards 0.
void balance(const Solver& solver, const Strip& strip, int slot) {
    double* const sums = reinterpret_cast<double*>(scratch_row(solver, slot, 0));
    for (int64_t k = strip.first_run; k < strip.end_run; ++k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin;
        for (int64_t i = 0; i < count; ++i) sums[i] = 0.0;
        for (int dy = 0; dy < 3; ++dy)
            for (int dx = dy == 0 ? 1 : -2; dx < 3; ++dx) {
                const float* const tap = solver.taps[plane_of(dy, dx)];
                if ((run.rows & (4u << dy)) != 0)
                    for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(tap[run.at[2] + i]);
                if ((run.rows & (4u >> dy)) != 0)
                    for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<double>(tap[run.at[2 - dy] - dx + i]);
            }
        for (int64_t i = 0; i < count; ++i) solver.taps[0][run.at[2] + i] = static_cast<float>(-sums[i]);
    }
}

// What known pixels contribute goes to the right side; cut_known takes their taps away afterwards.
void impose(const Solver& solver, const Strip& strip) {
    for (int64_t k = strip.first_run; k < strip.end_run; ++k)
        negative_product(solver, solver.runs[k], solver.p, solver.r + solver.runs[k].at[2]);
}

void mark_values(const Solver& solver, const Strip& strip) {
    for (int64_t y = strip.first_row; y < strip.end_row; ++y)
        for (int64_t s = solver.segments_of_row[y]; s < solver.segments_of_row[y + 1]; ++s) {
            const Segment segment = solver.segments[s];
            const uint8_t* const trimap = solver.call->trimap + y * solver.width;
            for (int64_t x = segment.begin; x < segment.end; ++x) {
                solver.p[x + segment.offset] = trimap[x] == foreground_mark ? 1.0f : 0.0f;
                solver.z[x + segment.offset] = trimap[x] == unknown_mark ? 1.0f : 0.0f;
            }
        }
}

void cut_known(const Solver& solver, const Strip& strip) {
    for (int k = 0; k < planes; ++k) {
        float* const tap = solver.taps[k];
        for (int64_t i = strip.first_pixel; i < strip.end_pixel; ++i) tap[i] *= solver.z[i];
    }
    for (int64_t k = strip.first_run; k < strip.end_run; ++k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin, here = run.at[2];
        for (int dy = 0; dy < 3; ++dy)
            for (int dx = dy == 0 ? 1 : -2; dx < 3; ++dx) {
                if ((run.rows & (1u << (dy + 2))) == 0) continue;
                float* const tap = solver.taps[plane_of(dy, dx)] + here;
                const float* const end = solver.z + run.at[dy + 2] + dx;
                SAFELIGHT_INDEPENDENT
                for (int64_t i = 0; i < count; ++i) tap[i] *= end[i];
            }
    }
}

void add_data(const Solver& solver, const Strip& strip) {
    const ClosedForm& call = *solver.call;
    for (int64_t k = strip.first_run; k < strip.end_run; ++k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin, here = run.at[2], there = run.y * solver.width + run.begin;
        float* const own = solver.taps[0] + here;
        float* const r = solver.r + here;
        if (call.weight != nullptr)
            for (int64_t i = 0; i < count; ++i) {
                own[i] += call.weight[there + i];
                r[i] += call.weight[there + i] * call.prior[there + i];
            }
        for (int64_t i = 0; i < count; ++i) solver.inverse[here + i] = own[i] > 1e-12f ? 1.0f / own[i] : 0.0f;
        if (call.prior != nullptr)
            for (int64_t i = 0; i < count; ++i) solver.x[here + i] = call.prior[there + i];
    }
}

// ---- The colour-affine coarse space ---------------------------------------------------------------------------------

// block += left * right^T for vectors of four, by columns
void add_outer(double* __restrict block, const double* __restrict left, const double* __restrict right) {
    for (int j = 0; j < 4; ++j)
        for (int i = 0; i < 4; ++i) block[4 * j + i] += left[i] * right[j];
}

// result -= block * values
void subtract_block(const double* __restrict block, const double* __restrict values, double* __restrict result) {
    for (int i = 0; i < 4; ++i)
        result[i] -=
            (block[i] * values[0] + block[4 + i] * values[1]) + (block[8 + i] * values[2] + block[12 + i] * values[3]);
}

void apply_block(const double* __restrict block, const double* __restrict values, double* __restrict result) {
    for (int i = 0; i < 4; ++i)
        result[i] =
            (block[i] * values[0] + block[4 + i] * values[1]) + (block[8 + i] * values[2] + block[12 + i] * values[3]);
}

bool prepare_level(Solver& solver, Level& level, int64_t rows, int64_t columns) {
    level = Level{};
    level.rows = rows;
    level.columns = columns;
    level.numbers = solver.memory.take<int32_t>(rows * columns);
    return level.numbers != nullptr;
}

// Numbers the nodes whose entry in `numbers` is not -1, and makes room for them.
bool number_nodes(Solver& solver, Level& level) {
    level.count = 0;
    for (int64_t i = 0; i < level.rows * level.columns; ++i)
        if (level.numbers[i] >= 0) level.numbers[i] = static_cast<int32_t>(level.count++);
    Memory& memory = solver.memory;
    level.row = memory.take<int32_t>(level.count);
    level.column = memory.take<int32_t>(level.count);
    level.blocks = memory.take<double>(level.count * 144);
    level.neighbours = memory.take<int32_t>(level.count * 8);
    level.before = memory.take<uint8_t>(level.count);
    level.all = memory.take<uint8_t>(level.count);
    level.right = memory.take_clear<double>(level.count * 4);
    level.rest = memory.take_clear<double>(level.count * 4);
    level.result = memory.take_clear<double>(level.count * 4);
    if (memory.failed()) return false;
    const int64_t rows_each = larger(4, (level.rows + most_level_strips - 1) / most_level_strips);
    level.strip_count = 0;
    for (int64_t y = 0; y < level.rows; ++y)
        for (int64_t x = 0; x < level.columns; ++x) {
            const int32_t n = level.numbers[y * level.columns + x];
            if (n < 0) continue;
            level.row[n] = static_cast<int32_t>(y);
            level.column[n] = static_cast<int32_t>(x);
        }
    int64_t node = 0;
    for (int64_t y = 0; y < level.rows; y += rows_each) {
        level.strips[level.strip_count++] = node;
        while (node < level.count && level.row[node] < y + rows_each) ++node;
    }
    level.strips[level.strip_count] = level.count;
    return true;
}

int32_t node_at(const Level& level, int64_t row, int64_t column) {
    if (row < 0 || column < 0 || row >= level.rows || column >= level.columns) return -1;
    return level.numbers[row * level.columns + column];
}

int32_t neighbour(const Level& level, int64_t node, int k) {
    return node_at(level, level.row[node] + k / 3 - 1, level.column[node] + k % 3 - 1);
}

int level_slots(const Solver& solver, const Level& level) {
    return level.count < few_nodes ? 1 : static_cast<int>(smaller(solver.slots, level.strip_count));
}

template <typename F>
void every_level_strip(const Solver& solver, const Level& level, const F& body) {
    in_parallel(level.strip_count, level_slots(solver, level),
                [&](int64_t task, int) { body(level.strips[task], level.strips[task + 1]); });
}

template <typename F>
void alternating_level_strips(const Solver& solver, const Level& level, bool backward, const F& body) {
    for (int phase = 0; phase < 2; ++phase) {
        const int parity = backward ? 1 - phase : phase;
        in_parallel((level.strip_count + 1 - parity) / 2, level_slots(solver, level), [&](int64_t task, int) {
            body(level.strips[2 * task + parity], level.strips[2 * task + parity + 1]);
        });
    }
}

// The four basis functions at pixels of a run's row, times the left and the right hat.
void basis_of_row(const Solver& solver, int64_t at, int64_t x, int64_t count, double* basis) {
    const float *red = solver.colours[0] + at, *green = solver.colours[1] + at, *blue = solver.colours[2] + at;
    for (int64_t i = 0; i < count; ++i) {
        const double right = static_cast<double>(right_share[(x + i) & (cell - 1)]), left = 1.0 - right;
        const double colour[4] = {1.0, static_cast<double>(red[i]), static_cast<double>(green[i]),
                                  static_cast<double>(blue[i])};
        for (int m = 0; m < 4; ++m) {
            basis[8 * i + m] = left * colour[m];
            basis[8 * i + 4 + m] = right * colour[m];
        }
    }
}

// Half of P^T C P over one piece of a run, at most a chunk long: first between hats of its row and hats of the rows
// below (4 x 4 blocks per pair of columns), then these between nodes. The other half is the transpose.
void coarsen_piece(const Solver& solver, const Level& level, const Run& run, int64_t begin, int64_t end) {
    constexpr int64_t nodes = chunk / cell + 3;
    double basis[3][(chunk + 4) * 8], blocks[3][nodes * 48];
    const int64_t count = end - begin, shift = begin - run.begin, first = begin / cell;
    const int64_t columns = (end - 1) / cell + 2 - first;
    for (int d = 0; d < 3; ++d) {
        if ((run.rows & (4u << d)) == 0) continue;
        basis_of_row(solver, run.at[2 + d] + shift - 2, begin - 2, count + 4, basis[d]);
        for (int64_t i = 0; i < columns * 48; ++i) blocks[d][i] = 0.0;
    }
    const int64_t here = run.at[2] + shift;
    for (int d = 0; d < 3; ++d) {
        if ((run.rows & (4u << d)) == 0) continue;
        for (int64_t i = 0; i < count; ++i) {
            const int64_t x = begin + i, rest = x & (cell - 1), column = x / cell - first;
            double sums[16] = {};  // over the taps, at the nodes from one left of the pixel's cell on
            for (int dx = d == 0 ? 0 : -2; dx < 3; ++dx) {
                const double half = d == 0 && dx == 0 ? 0.5 : 1.0;
                const double tap = static_cast<double>(solver.taps[plane_of(d, dx)][here + i]) * half;
                const double* const other = basis[d] + (i + dx + 2) * 8;
                double* const to = sums + (((rest + dx + cell) / cell) * 4);
                for (int m = 0; m < 8; ++m) to[m] += tap * other[m];
            }
            const double* const own = basis[0] + (i + 2) * 8;
            double* const left = blocks[d] + column * 48;
            double* const right = left + 48;
            if (rest < 2) add_outer(left, own, sums);
            add_outer(left + 16, own, sums + 4);
            add_outer(left + 32, own, sums + 8);
            add_outer(right, own + 4, sums + 4);
            add_outer(right + 16, own + 4, sums + 8);
            if (rest >= cell - 2) add_outer(right + 32, own + 4, sums + 12);
        }
    }
    const int64_t own_row = run.y / cell;
    const double own_share = static_cast<double>(right_share[run.y & (cell - 1)]);
    for (int d = 0; d < 3; ++d) {
        if ((run.rows & (4u << d)) == 0) continue;
        const int64_t other_row = (run.y + d) / cell;
        const double other_share = static_cast<double>(right_share[(run.y + d) & (cell - 1)]);
        for (int up = 0; up < 2; ++up)
            for (int down = 0; down < 2; ++down) {
                const double share =
                    (up == 0 ? 1.0 - own_share : own_share) * (down == 0 ? 1.0 - other_share : other_share);
                const int64_t step = other_row + down - own_row - up;
                if (share == 0.0 || step < -1 || step > 1) continue;
                for (int64_t column = 0; column < columns; ++column) {
                    const int64_t node = node_at(level, own_row + up, first + column);
                    double* const to = level.blocks + (node * 9 + (step + 1) * 3) * 16;
                    const double* const from = blocks[d] + column * 48;
                    for (int i = 0; i < 48; ++i) to[i] += share * from[i];
                }
            }
    }
}

bool build_finest(Solver& solver) {
    Level& level = solver.levels[0];
    if (!prepare_level(solver, level, solver.cell_rows + 1, solver.cell_columns + 1)) return false;
    for (int64_t i = 0; i < level.rows * level.columns; ++i) level.numbers[i] = -1;
    for (int64_t y = 0; y < solver.cell_rows; ++y)
        for (int64_t x = 0; x < solver.cell_columns; ++x)
            if (solver.cells[y * solver.cell_columns + x] != 0)
                for (int64_t k = 0; k < 4; ++k) level.numbers[(y + k / 2) * level.columns + x + k % 2] = 0;
    if (!number_nodes(solver, level)) return false;
    every_level_strip(solver, level, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin * 144; i < end * 144; ++i) level.blocks[i] = 0.0;
    });
    alternating_strips(solver, false, [&](const Strip& strip, int) {
        for (int64_t k = strip.first_run; k < strip.end_run; ++k) {
            const Run& run = solver.runs[k];
            for (int64_t x = run.begin; x < run.end;) {
                const int64_t end = smaller(run.end, (x / cell + chunk / cell) * cell);
                coarsen_piece(solver, level, run, x, end);
                x = end;
            }
        }
    });
    every_level_strip(solver, level, [&](int64_t begin, int64_t end) {  // add the other half
        for (int64_t n = begin; n < end; ++n)
            for (int k = 0; k < 5; ++k) {
                const int32_t m = neighbour(level, n, k);
                double* const one = level.blocks + (n * 9 + k) * 16;
                if (m < 0) continue;
                double* const other = level.blocks + (m * 9 + 8 - k) * 16;
                for (int i = 0; i < 4; ++i)
                    for (int j = 0; j < (k == 4 ? i + 1 : 4); ++j)
                        one[4 * j + i] = other[4 * i + j] = one[4 * j + i] + other[4 * i + j];
            }
    });
    return true;
}

// Cells of one colour leave the basis dependent.
void regularize(const Level& level) {
    for (int64_t n = 0; n < level.count; ++n)
        for (int m = 0; m < 4; ++m) {
            double& entry = level.blocks[(n * 9 + 4) * 16 + 5 * m];
            entry = entry * (1.0 + 1e-8) + 1e-10;
        }
}

// Row or column of the coarser grid that a line hangs on: one of weight 1, or two of weight 1/2.
struct Parents {
    int64_t first;
    int count;
    double weight;
};

Parents parents_of(int64_t line) { return line % 2 == 0 ? Parents{line / 2, 1, 1.0} : Parents{line / 2, 2, 0.5}; }

void gather_blocks(const Level& fine, const Level& coarse, int64_t node) {
    double* const own = coarse.blocks + node * 144;
    for (int i = 0; i < 144; ++i) own[i] = 0.0;
    const int64_t row = coarse.row[node], column = coarse.column[node];
    for (int k = 0; k < 9; ++k) {
        const int64_t y = 2 * row + k / 3 - 1, x = 2 * column + k % 3 - 1;
        const int64_t child = node_at(fine, y, x);
        if (child < 0) continue;
        const double weight = (k / 3 == 1 ? 1.0 : 0.5) * (k % 3 == 1 ? 1.0 : 0.5);
        for (int j = 0; j < 9; ++j) {
            if (node_at(fine, y + j / 3 - 1, x + j % 3 - 1) < 0) continue;
            const Parents rows = parents_of(y + j / 3 - 1), columns = parents_of(x + j % 3 - 1);
            const double* const from = fine.blocks + (child * 9 + j) * 16;
            for (int a = 0; a < rows.count; ++a)
                for (int b = 0; b < columns.count; ++b) {
                    const int64_t dy = rows.first + a - row, dx = columns.first + b - column;
                    const double share = weight * rows.weight * columns.weight;
                    double* const to = own + ((dy + 1) * 3 + dx + 1) * 16;
                    for (int i = 0; i < 16; ++i) to[i] += share * from[i];
                }
        }
    }
}

bool build_coarser(Solver& solver, const Level& fine, Level& coarse) {
    if (!prepare_level(solver, coarse, fine.rows / 2 + 1, fine.columns / 2 + 1)) return false;
    for (int64_t i = 0; i < coarse.rows * coarse.columns; ++i) coarse.numbers[i] = -1;
    for (int64_t n = 0; n < fine.count; ++n) {
        const Parents rows = parents_of(fine.row[n]), columns = parents_of(fine.column[n]);
        for (int a = 0; a < rows.count; ++a)
            for (int b = 0; b < columns.count; ++b)
                coarse.numbers[(rows.first + a) * coarse.columns + columns.first + b] = 0;
    }
    if (!number_nodes(solver, coarse)) return false;
    every_level_strip(solver, coarse, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) gather_blocks(fine, coarse, n);
    });
    return true;
}

// The inverse of a symmetric positive definite block, by Gauss-Jordan elimination.
void invert_block(double* block) {
    double a[4][8] = {};
    for (int i = 0; i < 4; ++i) {
        for (int j = 0; j < 4; ++j) a[i][j] = block[4 * j + i];
        a[i][4 + i] = 1.0;
    }
    for (int k = 0; k < 4; ++k) {
        const double inverse = 1.0 / at_least(a[k][k], 1e-12);
        for (int j = 0; j < 8; ++j) a[k][j] *= inverse;
        for (int i = 0; i < 4; ++i) {
            if (i == k) continue;
            const double factor = a[i][k];
            for (int j = 0; j < 8; ++j) a[i][j] -= factor * a[k][j];
        }
    }
    for (int i = 0; i < 4; ++i)
        for (int j = 0; j < 4; ++j) block[4 * j + i] = 0.5 * (a[i][4 + j] + a[j][4 + i]);
}

// Puts the blocks of neighbours swept before a node first, then those swept after it, and last its own inverse.
void order_blocks(const Level& level, int strip) {
    for (int64_t n = level.strips[strip]; n < level.strips[strip + 1]; ++n) {
        double old[144];
        double* const blocks = level.blocks + n * 144;
        for (int i = 0; i < 144; ++i) old[i] = blocks[i];
        int count = 0;
        for (int pass = 0; pass < 2; ++pass) {
            for (int k = 0; k < 9; ++k) {
                const int32_t m = neighbour(level, n, k);
                if (k == 4 || m < 0) continue;
                const bool inside = m >= level.strips[strip] && m < level.strips[strip + 1];
                const bool before = inside ? m < n : strip % 2 != 0;
                if (before != (pass == 0)) continue;
                for (int i = 0; i < 16; ++i) blocks[count * 16 + i] = old[k * 16 + i];
                level.neighbours[n * 8 + count++] = m;
            }
            if (pass == 0) level.before[n] = static_cast<uint8_t>(count);
        }
        level.all[n] = static_cast<uint8_t>(count);
        for (int i = 0; i < 16; ++i) blocks[128 + i] = old[64 + i];
        invert_block(blocks + 128);
    }
}

double dot_of(const double* a, const double* b, int64_t count) {
    double sums[4] = {};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
        for (int64_t k = 0; k < 4; ++k) sums[k] += a[i + k] * b[i + k];
    double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    for (; i < count; ++i) sum += a[i] * b[i];
    return sum;
}

bool factorize(Solver& solver, const Level& level) {
    Direct& direct = solver.direct;
    direct.size = level.count * 4;
    direct.first = solver.memory.take<int64_t>(direct.size);
    direct.start = solver.memory.take<int64_t>(direct.size + 1);
    direct.pivots = solver.memory.take<double>(direct.size);
    if (solver.memory.failed()) return false;
    direct.start[0] = 0;
    for (int64_t i = 0; i < direct.size; ++i) {
        int64_t first = i / 4;
        for (int k = 0; k < 4; ++k) {
            const int64_t m = neighbour(level, i / 4, k);
            if (m >= 0) first = smaller(first, m);
        }
        direct.first[i] = first * 4;
        direct.start[i + 1] = direct.start[i] + i - first * 4;
    }
    direct.entries = solver.memory.take_clear<double>(direct.start[direct.size]);
    if (solver.memory.failed()) return false;
    for (int64_t i = 0; i < direct.size; ++i) {
        double* const row = direct.entries + direct.start[i] - direct.first[i];
        for (int k = 0; k < 5; ++k) {
            const int64_t m = neighbour(level, i / 4, k);
            if (m < 0) continue;
            for (int64_t j = 0; j < (k == 4 ? i % 4 : 4); ++j)
                row[m * 4 + j] = level.blocks[((i / 4) * 9 + k) * 16 + 4 * j + i % 4];
        }
        double pivot = level.blocks[((i / 4) * 9 + 4) * 16 + 5 * (i % 4)];
        for (int64_t j = direct.first[i]; j < i; ++j) {
            const int64_t from = larger(direct.first[i], direct.first[j]);
            const double* const other = direct.entries + direct.start[j] - direct.first[j];
            row[j] -= dot_of(row + from, other + from, j - from);
        }
        for (int64_t j = direct.first[i]; j < i; ++j) {
            const double scaled = row[j] / direct.pivots[j];
            pivot -= row[j] * scaled;
            row[j] = scaled;
        }
        direct.pivots[i] = at_least(pivot, 1e-12);
    }
    return true;
}

void solve_directly(const Direct& direct, const double* right, double* result) {
    for (int64_t i = 0; i < direct.size; ++i) {
        const double* const row = direct.entries + direct.start[i] - direct.first[i];
        result[i] = right[i] - dot_of(row + direct.first[i], result + direct.first[i], i - direct.first[i]);
    }
    for (int64_t i = 0; i < direct.size; ++i) result[i] /= direct.pivots[i];
    for (int64_t i = direct.size - 1; i >= 0; --i) {
        const double* const row = direct.entries + direct.start[i] - direct.first[i];
        const double value = result[i];
        for (int64_t j = direct.first[i]; j < i; ++j) result[j] -= row[j] * value;
    }
}

bool build_levels(Solver& solver) {
    if (!build_finest(solver)) return false;
    solver.level_count = 1;
    regularize(solver.levels[0]);
    for (;;) {
        Level& level = solver.levels[solver.level_count - 1];
        const bool last = level.count <= direct_nodes || solver.level_count == most_levels;
        if (last) return factorize(solver, level);
        if (!build_coarser(solver, level, solver.levels[solver.level_count])) return false;
        regularize(solver.levels[solver.level_count]);
        in_parallel(level.strip_count, level_slots(solver, level),
                    [&](int64_t strip, int) { order_blocks(level, static_cast<int>(strip)); });
        ++solver.level_count;
    }
}

// One cycle: level.result is about the inverse of its matrix times level.right.
void cycle(const Solver& solver, int depth) {
    const Level& level = solver.levels[depth];
    if (depth == solver.level_count - 1) {
        solve_directly(solver.direct, level.right, level.result);
        return;
    }
    double* const x = level.result;
    alternating_level_strips(solver, level, false, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            const double* const blocks = level.blocks + n * 144;
            double rest[4];
            for (int m = 0; m < 4; ++m) rest[m] = level.right[4 * n + m];
            for (int k = 0; k < level.before[n]; ++k)
                subtract_block(blocks + 16 * k, x + 4 * level.neighbours[8 * n + k], rest);
            apply_block(blocks + 128, rest, x + 4 * n);
        }
    });
    every_level_strip(solver, level, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            double rest[4] = {};
            for (int k = level.before[n]; k < level.all[n]; ++k)
                subtract_block(level.blocks + n * 144 + 16 * k, x + 4 * level.neighbours[8 * n + k], rest);
            for (int m = 0; m < 4; ++m) level.rest[4 * n + m] = rest[m];
        }
    });
    const Level& coarse = solver.levels[depth + 1];
    every_level_strip(solver, coarse, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            double sum[4] = {};
            for (int k = 0; k < 9; ++k) {
                const int64_t child = node_at(level, 2 * coarse.row[n] + k / 3 - 1, 2 * coarse.column[n] + k % 3 - 1);
                if (child < 0) continue;
                const double weight = (k / 3 == 1 ? 1.0 : 0.5) * (k % 3 == 1 ? 1.0 : 0.5);
                for (int m = 0; m < 4; ++m) sum[m] += weight * level.rest[4 * child + m];
            }
            for (int m = 0; m < 4; ++m) coarse.right[4 * n + m] = sum[m];
        }
    });
    cycle(solver, depth + 1);
    every_level_strip(solver, level, [&](int64_t begin, int64_t end) {
        for (int64_t n = begin; n < end; ++n) {
            const Parents rows = parents_of(level.row[n]), columns = parents_of(level.column[n]);
            for (int a = 0; a < rows.count; ++a)
                for (int b = 0; b < columns.count; ++b) {
                    const int64_t parent = node_at(coarse, rows.first + a, columns.first + b);
                    for (int m = 0; m < 4; ++m)
                        x[4 * n + m] += rows.weight * columns.weight * coarse.result[4 * parent + m];
                }
        }
    });
    alternating_level_strips(solver, level, true, [&](int64_t begin, int64_t end) {
        for (int64_t n = end - 1; n >= begin; --n) {
            const double* const blocks = level.blocks + n * 144;
            double rest[4];
            for (int m = 0; m < 4; ++m) rest[m] = level.right[4 * n + m];
            for (int k = 0; k < level.all[n]; ++k)
                subtract_block(blocks + 16 * k, x + 4 * level.neighbours[8 * n + k], rest);
            apply_block(blocks + 128, rest, x + 4 * n);
        }
    });
}

// ---- Between the band and the finest level --------------------------------------------------------------------------

// Clears the sums of restrict_row.
void clear_sums(const Solver& solver, int slot) {
    for (int q = 0; q < 8; ++q) {
        float* const sums = scratch_row(solver, slot, 4 + q);
        for (int64_t x = 0; x < solver.cell_columns * cell; ++x) sums[x] = 0.0f;
    }
}

// What a row's equations lack after the forward sweep, -L^T z, weighed by the colours and the upper and lower hats.
void restrict_row(const Solver& solver, const Strip& strip, int64_t y, int slot) {
    float *sums[8], *const rest = scratch_row(solver, slot, 3);
    for (int q = 0; q < 8; ++q) sums[q] = scratch_row(solver, slot, 4 + q);
    const float lower = right_share[y & (cell - 1)], upper = 1.0f - lower;
    for (int64_t k = solver.runs_of_row[y]; k < solver.runs_of_row[y + 1]; ++k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin, here = run.at[2];
        const float *one = solver.taps[1] + here, *two = solver.taps[2] + here, *z = solver.z + here;
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) rest[i] = -(one[i] * z[i + 1] + two[i] * z[i + 2]);
        subtract_rows(solver, run, ~rows_before(strip, run), solver.z, rest);
        for (int q = 0; q < 4; ++q) {
            float *const top = sums[q] + run.begin, *const bottom = sums[4 + q] + run.begin;
            const float* const colour = q == 0 ? nullptr : solver.colours[q - 1] + here;
            SAFELIGHT_INDEPENDENT
            for (int64_t i = 0; i < count; ++i) {
                const float value = q == 0 ? rest[i] : rest[i] * colour[i];
                top[i] += upper * value;
                bottom[i] += lower * value;
            }
        }
    }
}

// Adds the sums of a row of cells to its nodes' right side, and clears them.
void fold_cells(const Solver& solver, int64_t row, int slot) {
    const Level& level = solver.levels[0];
    for (int64_t column = 0; column < solver.cell_columns; ++column) {
        if (solver.cells[row * solver.cell_columns + column] == 0) continue;
        for (int q = 0; q < 8; ++q) {
            double left = 0.0, right = 0.0;
            float* const from = scratch_row(solver, slot, 4 + q) + column * cell;
            for (int64_t i = 0; i < cell; ++i) {
                const double value = static_cast<double>(from[i]), share = static_cast<double>(right_share[i]);
                left += (1.0 - share) * value;
                right += share * value;
                from[i] = 0.0f;
            }
            level.right[4 * node_at(level, row + q / 4, column) + q % 4] += left;
            level.right[4 * node_at(level, row + q / 4, column + 1) + q % 4] += right;
        }
    }
}

// z += the nodes' result, spread by the basis.
void prolong_strip(const Solver& solver, const Strip& strip, int slot) {
    const Level& level = solver.levels[0];
    float* fields[8];
    for (int q = 0; q < 8; ++q) fields[q] = scratch_row(solver, slot, 4 + q);
    for (int64_t row = strip.first_cell; row < strip.end_cell; ++row) {
        for (int64_t column = 0; column < solver.cell_columns; ++column) {
            if (solver.cells[row * solver.cell_columns + column] == 0) continue;
            const double* corners[4];
            for (int64_t k = 0; k < 4; ++k) corners[k] = level.result + 4 * node_at(level, row + k / 2, column + k % 2);
            for (int q = 0; q < 4; ++q)
                for (int64_t i = 0; i < cell; ++i) {
                    const double share = static_cast<double>(right_share[i]);
                    const double top = corners[0][q] + share * (corners[1][q] - corners[0][q]);
                    const double bottom = corners[2][q] + share * (corners[3][q] - corners[2][q]);
                    fields[q][column * cell + i] = static_cast<float>(top);
                    fields[4 + q][column * cell + i] = static_cast<float>(bottom - top);
                }
        }
        const int64_t end_y = smaller((row + 1) * cell, solver.height);
        for (int64_t k = solver.runs_of_row[row * cell]; k < solver.runs_of_row[end_y]; ++k) {
            const Run& run = solver.runs[k];
            const int64_t count = run.end - run.begin, here = run.at[2];
            const float lower = right_share[run.y & (cell - 1)];
            const float *f0 = fields[0] + run.begin, *f1 = fields[1] + run.begin, *f2 = fields[2] + run.begin;
            const float *f3 = fields[3] + run.begin, *f4 = fields[4] + run.begin, *f5 = fields[5] + run.begin;
            const float *f6 = fields[6] + run.begin, *f7 = fields[7] + run.begin;
            const float *red = solver.colours[0] + here, *green = solver.colours[1] + here;
            const float* const blue = solver.colours[2] + here;
            float* const z = solver.z + here;
            SAFELIGHT_INDEPENDENT
            for (int64_t i = 0; i < count; ++i)
                z[i] += ((f0[i] + lower * f4[i]) + (f1[i] + lower * f5[i]) * red[i]) +
                        ((f2[i] + lower * f6[i]) * green[i] + (f3[i] + lower * f7[i]) * blue[i]);
        }
    }
}

// ---- Sweeps and iterations ------------------------------------------------------------------------------------------

// Five rows of scratch for the recurrence value[i] = rest[i] - first[i] value[i - 1] - second[i] value[i - 2]. Put into
// itself once it needs the values two and three before, so that two chains of it run side by side:
// value[i] = ahead[i] + rest[i] value[i - 3] + near[i] value[i - 2], with another rest.
struct Recurrence {
    float *rest, *first, *second, *ahead, *near;
};

Recurrence recurrence(const Solver& solver, int slot) {
    return {scratch_row(solver, slot, 0), scratch_row(solver, slot, 1), scratch_row(solver, slot, 2),
            scratch_row(solver, slot, 3), scratch_row(solver, slot, 12)};
}

// A row of the forward sweep from 0: (D + L) z = r.
void sweep_forward(const Solver& solver, const Strip& strip, int64_t y, int slot) {
    const Recurrence terms = recurrence(solver, slot);
    float *const rest = terms.rest, *const first = terms.first, *const second = terms.second;
    float *const ahead = terms.ahead, *const near = terms.near;
    for (int64_t k = solver.runs_of_row[y]; k < solver.runs_of_row[y + 1]; ++k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin, here = run.at[2];
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) rest[i] = solver.r[here + i];
        subtract_rows(solver, run, rows_before(strip, run), solver.z, rest);
        const float *one = solver.taps[1] + here, *two = solver.taps[2] + here, *inverse = solver.inverse + here;
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) {
            rest[i] *= inverse[i];
            first[i] = one[i - 1] * inverse[i];
            second[i] = two[i - 2] * inverse[i];
        }
        float* const z = solver.z + here;
        z[0] = (rest[0] - second[0] * z[-2]) - first[0] * z[-1];
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 1; i < count; ++i) {
            ahead[i] = rest[i] - first[i] * rest[i - 1];
            near[i] = first[i] * first[i - 1] - second[i];
        }
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 1; i < count; ++i) rest[i] = first[i] * second[i - 1];
        float one_before = z[0], two_before = z[-1], three_before = z[-2];
        for (int64_t i = 1; i < count; ++i) {
            const float value = (ahead[i] + rest[i] * three_before) + near[i] * two_before;
            three_before = two_before;
            two_before = one_before;
            one_before = z[i] = value;
        }
    }
}

// A row of the backward sweep from z: (D + L^T) z_new = r - L z.
void sweep_backward(const Solver& solver, int64_t y, int slot) {
    const Recurrence terms = recurrence(solver, slot);
    float *const rest = terms.rest, *const first = terms.first, *const second = terms.second;
    float *const ahead = terms.ahead, *const near = terms.near;
    for (int64_t k = solver.runs_of_row[y + 1] - 1; k >= solver.runs_of_row[y]; --k) {
        const Run& run = solver.runs[k];
        const int64_t count = run.end - run.begin, here = run.at[2], last = count - 1;
        const float *one = solver.taps[1] + here, *two = solver.taps[2] + here, *inverse = solver.inverse + here;
        float* const z = solver.z + here;
        const float* const r = solver.r + here;
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) rest[i] = r[i] - (one[i - 1] * z[i - 1] + two[i - 2] * z[i - 2]);
        subtract_rows(solver, run, above | below, solver.z, rest);
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < count; ++i) {
            rest[i] *= inverse[i];
            first[i] = one[i] * inverse[i];
            second[i] = two[i] * inverse[i];
        }
        z[last] = (rest[last] - second[last] * z[count + 1]) - first[last] * z[count];
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < last; ++i) {
            ahead[i] = rest[i] - first[i] * rest[i + 1];
            near[i] = first[i] * first[i + 1] - second[i];
        }
        SAFELIGHT_INDEPENDENT
        for (int64_t i = 0; i < last; ++i) rest[i] = first[i] * second[i + 1];
        float one_after = z[last], two_after = z[count], three_after = z[count + 1];
        for (int64_t i = last - 1; i >= 0; --i) {
            const float value = (ahead[i] + rest[i] * three_after) + near[i] * two_after;
            three_after = two_after;
            two_after = one_after;
            one_after = z[i] = value;
        }
    }
}

// Rows that are two or more away from a strip's ends look at no other strip.
bool inner(const Strip& strip, int64_t y) { return y >= strip.first_row + 2 && y < strip.end_row - 2; }

bool ends_cells(const Strip& strip, int64_t y) { return (y & (cell - 1)) == cell - 1 || y == strip.end_row - 1; }

// Sweeps forward and restricts what is left, two rows behind: the taps are in the cache then. Even strips leave out
// the rows that look at odd ones, which are swept later; restrict_ends makes up for them.
void descend(const Solver& solver, const Strip& strip, int slot) {
    clear_sums(solver, slot);
    for (int64_t y = strip.first_row; y < strip.end_row + 2; ++y) {
        if (y < strip.end_row) sweep_forward(solver, strip, y, slot);
        const int64_t behind = y - 2;
        if (behind < strip.first_row) continue;
        if (strip.odd || inner(strip, behind)) restrict_row(solver, strip, behind, slot);
        if (ends_cells(strip, behind)) fold_cells(solver, behind / cell, slot);
    }
}

void restrict_ends(const Solver& solver, const Strip& strip, int slot) {
    clear_sums(solver, slot);
    bool any = false;
    for (int64_t y = strip.first_row; y < strip.end_row; ++y) {
        if (!inner(strip, y)) {
            restrict_row(solver, strip, y, slot);
            any = true;
        }
        if (any && ends_cells(strip, y)) {
            fold_cells(solver, y / cell, slot);
            any = false;
        }
    }
}

// w = -C z for a row.
void multiply_row(const Solver& solver, int64_t y) {
    for (int64_t k = solver.runs_of_row[y]; k < solver.runs_of_row[y + 1]; ++k)
        negative_product(solver, solver.runs[k], solver.z, solver.w + solver.runs[k].at[2]);
}

// Sweeps backward and multiplies, two rows behind. Odd strips leave out the rows that look at even ones.
void ascend(const Solver& solver, const Strip& strip, int slot) {
    for (int64_t y = strip.end_row - 1; y >= strip.first_row - 2; --y) {
        if (y >= strip.first_row) sweep_backward(solver, y, slot);
        const int64_t behind = y + 2;
        if (behind < strip.end_row && (!strip.odd || inner(strip, behind))) multiply_row(solver, behind);
    }
}

void multiply_ends(const Solver& solver, const Strip& strip) {
    for (int64_t y = strip.first_row; y < strip.end_row; ++y)
        if (!inner(strip, y)) multiply_row(solver, y);
}

template <typename F>
void strips_of_parity(const Solver& solver, int parity, const F& body) {
    in_parallel((solver.strip_count + 1 - parity) / 2, solver.slots,
                [&](int64_t task, int slot) { body(solver.strips[2 * task + parity], slot); });
}

// z is about the inverse of C times r, and w = -C z.
void precondition(const Solver& solver) {
    const Level& level = solver.levels[0];
    for (int64_t i = 0; i < level.count * 4; ++i) level.right[i] = 0.0;
    alternating_strips(solver, false, [&](const Strip& strip, int slot) { descend(solver, strip, slot); });
    strips_of_parity(solver, 0, [&](const Strip& strip, int slot) { restrict_ends(solver, strip, slot); });
    cycle(solver, 0);
    every_strip(solver, [&](const Strip& strip, int64_t, int slot) { prolong_strip(solver, strip, slot); });
    alternating_strips(solver, true, [&](const Strip& strip, int slot) { ascend(solver, strip, slot); });
    strips_of_parity(solver, 1, [&](const Strip& strip, int) { multiply_ends(solver, strip); });
}

// Adds products in lanes of fixed width, so that every target adds in the same order.
struct Sum {
    static constexpr int64_t lanes = 32;
    double values[lanes] = {};
    void add(const float* a, const float* b, int64_t count) {
        int64_t i = 0;
        for (; i + lanes <= count; i += lanes)
            for (int64_t k = 0; k < lanes; ++k)
                values[k] += static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
        for (int64_t k = 0; i + k < count; ++k)
            values[k] += static_cast<double>(a[i + k]) * static_cast<double>(b[i + k]);
    }
    double total() const {
        double sum = 0.0;
        for (int64_t k = 0; k < lanes; ++k) sum += values[k];
        return sum;
    }
};

template <typename F>
double sum_over_strips(const Solver& solver, const F& body) {
    double parts[most_strips] = {};
    every_strip(solver, [&](const Strip& strip, int64_t task, int) {
        Sum sum;
        body(strip, sum);
        parts[task] = sum.total();
    });
    double total = 0.0;
    for (int k = 0; k < solver.strip_count; ++k) total += parts[k];
    return total;
}

double dot(const Solver& solver, const float* a, const float* b) {
    return sum_over_strips(solver, [&](const Strip& strip, Sum& sum) {
        sum.add(a + strip.first_pixel, b + strip.first_pixel, strip.end_pixel - strip.first_pixel);
    });
}

// Preconditioned conjugate gradients for C x = r; r is left as what remains. Returns false when asked to stop.
bool iterate(const Solver& solver, double least, double scale, Convergence& reached) {
    const ClosedForm& call = *solver.call;
    double left = dot(solver, solver.r, solver.r), old = 0.0;
    for (;;) {
        reached.residual_squared = left * scale;
        reached.converged = left <= least;
        if (call.report != nullptr && !call.report(call.context, reached)) return false;
        if (reached.converged || reached.iterations == call.most_iterations) return true;
        precondition(solver);
        const double now = dot(solver, solver.r, solver.z);
        if (!(now > 0.0)) return true;  // nothing is left that floats could tell from 0
        const float beta = reached.iterations == 0 ? 0.0f : static_cast<float>(now / old);
        const double curvature = -sum_over_strips(solver, [&](const Strip& strip, Sum& sum) {
            for (int64_t i = strip.first_pixel; i < strip.end_pixel; i += span) {
                const int64_t end = smaller(i + span, strip.end_pixel);
                SAFELIGHT_INDEPENDENT
                for (int64_t k = i; k < end; ++k) {
                    solver.p[k] = solver.z[k] + beta * solver.p[k];
                    solver.q[k] = solver.w[k] + beta * solver.q[k];
                }
                sum.add(solver.p + i, solver.q + i, end - i);
            }
        });
        if (!(curvature > 0.0)) return true;
        const float step = static_cast<float>(now / curvature);
        left = sum_over_strips(solver, [&](const Strip& strip, Sum& sum) {
            for (int64_t i = strip.first_pixel; i < strip.end_pixel; i += span) {
                const int64_t end = smaller(i + span, strip.end_pixel);
                SAFELIGHT_INDEPENDENT
                for (int64_t k = i; k < end; ++k) {
                    solver.x[k] += step * solver.p[k];
                    solver.r[k] += step * solver.q[k];
                }
                sum.add(solver.r + i, solver.r + i, end - i);
            }
        });
        old = now;
        ++reached.iterations;
    }
}

bool prepare(Solver& solver, Extent*& extents) {
    const ClosedForm& call = *solver.call;
    solver.height = call.image.height;
    solver.width = call.image.width;
    solver.cell_rows = (solver.height + cell - 1) / cell;
    solver.cell_columns = (solver.width + cell - 1) / cell;
    solver.slots = slot_count(most_strips, most_strips);
    solver.pitch = solver.cell_columns * cell + 3 * pad;
    Memory& memory = solver.memory;
    solver.scratch = memory.take<float>(solver.slots * 13 * solver.pitch);
    extents = memory.take<Extent>(solver.height);
    int64_t* const counts = memory.take<int64_t>(solver.cell_rows);
    solver.cells = memory.take<uint8_t>(solver.cell_rows * solver.cell_columns);
    if (memory.failed() || !find_band(solver, extents)) return false;
    cut_strips(solver, counts);
    int64_t pixel = 0;
    for (int k = 0; k < solver.strip_count; ++k) {
        Strip& strip = solver.strips[k];
        strip.first_pixel = pixel;
        for (int64_t s = solver.segments_of_row[strip.first_row]; s < solver.segments_of_row[strip.end_row]; ++s)
            pixel += solver.segments[s].end - solver.segments[s].begin;
        strip.end_pixel = pixel;
    }
    mark_cells(solver);
    return true;
}

// A plane over the band, 0 everywhere.
float* take_plane(Solver& solver) {
    float* const memory = solver.memory.take<float>(solver.pixels + 2 * pad);
    if (memory == nullptr) return nullptr;
    for (int64_t i = 0; i < pad; ++i) memory[i] = memory[pad + solver.pixels + i] = 0.0f;
    float* const plane = memory + pad;
    every_strip(solver, [&](const Strip& strip, int64_t, int) {
        for (int64_t i = strip.first_pixel; i < strip.end_pixel; ++i) plane[i] = 0.0f;
    });
    return plane;
}

template <typename T>
bool build(Solver& solver, const Extent* extents, float scale) {
    for (float*& tap : solver.taps) tap = take_plane(solver);
    for (float*& colour : solver.colours) colour = take_plane(solver);
    float** const vectors[] = {&solver.inverse, &solver.x, &solver.r, &solver.z, &solver.p, &solver.q, &solver.w};
    for (float** const vector : vectors) *vector = take_plane(solver);
    if (solver.memory.failed()) return false;
    assemble_all<T>(solver, extents, scale);
    return true;
}

void write_alpha(const Solver& solver) {
    const ClosedForm& call = *solver.call;
    blocks_of_rows(solver, [&](int64_t y, int) {
        const uint8_t* const trimap = call.trimap + y * solver.width;
        float* const alpha = call.alpha + y * solver.width;
        for (int64_t x = 0; x < solver.width; ++x) alpha[x] = trimap[x] == foreground_mark ? 1.0f : 0.0f;
        for (int64_t k = solver.runs_of_row[y]; k < solver.runs_of_row[y + 1]; ++k) {
            const Run& run = solver.runs[k];
            for (int64_t i = 0; i < run.end - run.begin; ++i) {
                const float value = solver.x[run.at[2] + i];
                alpha[run.begin + i] = value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
            }
        }
    });
}

template <typename T>
Status solve(const ClosedForm& call, float scale) {
    Solver solver{};
    solver.call = &call;
    Convergence reached{0, 1.0, false};
    Extent* extents = nullptr;
    const auto stopped = [&] { return call.report != nullptr && !call.report(call.context, reached); };
    if (!prepare(solver, extents) || !build<T>(solver, extents, scale)) return Status::out_of_memory;
    if (stopped()) return Status::stopped;
    every_strip(solver, [&](const Strip& strip, int64_t, int) { mark_values(solver, strip); });
    every_strip(solver, [&](const Strip& strip, int64_t, int slot) { balance(solver, strip, slot); });
    every_strip(solver, [&](const Strip& strip, int64_t, int) { impose(solver, strip); });
    every_strip(solver, [&](const Strip& strip, int64_t, int) { cut_known(solver, strip); });
    every_strip(solver, [&](const Strip& strip, int64_t, int) { add_data(solver, strip); });
    double norm = dot(solver, solver.r, solver.r);
    if (call.prior != nullptr)  // start there
        every_strip(solver, [&](const Strip& strip, int64_t, int) {
            for (int64_t k = strip.first_run; k < strip.end_run; ++k) {
                const Run& run = solver.runs[k];
                negative_product(solver, run, solver.x, solver.q + run.at[2]);
            }
        });
    every_strip(solver, [&](const Strip& strip, int64_t, int) {
        for (int64_t i = strip.first_pixel; i < strip.end_pixel; ++i) {
            solver.r[i] += solver.q[i];
            solver.z[i] = solver.p[i] = solver.q[i] = 0.0f;
        }
    });
    if (!build_levels(solver)) return Status::out_of_memory;
    if (stopped()) return Status::stopped;
    if (norm == 0.0) norm = dot(solver, solver.r, solver.r);
    if (!iterate(solver, call.tolerance * call.tolerance * norm, norm > 0.0 ? 1.0 / norm : 1.0, reached))
        return Status::stopped;
    write_alpha(solver);
    *call.reached = reached;
    return Status::done;
}

}  // namespace

Status closed_form(const ClosedForm& call) {
    switch (call.image.type) {
        case PixelType::uint8:
            return solve<std::uint8_t>(call, 1.0f / 255);
        case PixelType::uint16:
            return solve<std::uint16_t>(call, 1.0f / 65535);
        default:
            return solve<float>(call, 1.0f);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
