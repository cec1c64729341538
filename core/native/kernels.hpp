// The one header of the kernel files: plain structs and declarations, nothing inline.
//
// Every kernel file is compiled once per CPU target with SAFELIGHT_TARGET set to the target's name. It keeps its code
// in an anonymous namespace and defines only its entries, so that no function built for a newer processor
// can be picked by the linker for an older one. dispatch.cpp chooses the target while the program runs.
#pragma once

#include <cstddef>
#include <cstdint>

// The next loop's iterations touch no common memory, which the compiler could not see by itself.
#if defined(__clang__)
#define SAFELIGHT_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define SAFELIGHT_INDEPENDENT _Pragma("GCC ivdep")
#elif defined(_MSC_VER)
#define SAFELIGHT_INDEPENDENT __pragma(loop(ivdep))
#else
#define SAFELIGHT_INDEPENDENT
#endif

namespace safelight {

enum class PixelType { uint8, uint16, float32, fixed16 };  // the last inside blurs: bytes with 6 bits behind the point

// A C-contiguous (height, width, channels) array. Integers stand for value / (2^bits - 1).
struct Pixels {
    const void* data;
    PixelType type;
    std::int64_t height, width, channels;
};

enum class Status { done, out_of_memory, stopped };

struct BoxFilter {
    Pixels source;
    std::int64_t radius;
    float* result;  // (height, width, channels)
};

struct AreaAverage {
    Pixels source;
    std::int64_t height, width;  // of the result
    float* result;               // (height, width, channels), integers scaled to [0, 1]
};

struct GuidedFilter {
    Pixels guide;         // 1 or 3 channels
    const float* source;  // (height, width)
    const float* weight;  // (height, width) or null
    float least_weight;   // added to every weight, so that no window is without any
    std::int64_t radius;
    double eps;
    float* result;        // (height, width), or null when the coefficients are wanted
    float* coefficients;  // (channels + 1, height, width), or null
};

struct ApplyCoefficients {
    Pixels guide;               // 1 or 3 channels
    const float* coefficients;  // (channels + 1, height, width)
    std::int64_t height, width;
    float clip;     // what lies within it of 0 and 1 becomes 0 and 1; the rest is stretched
    float* result;  // the guide's (height, width)
};

struct ForegroundMultilevel {
    Pixels image;        // 3 channels
    const float* alpha;  // (height, width)
    std::int64_t small_iterations, big_iterations;
    float regularization, gradient_weight;
    bool clear;        // zeros where alpha rounds to 0 in the image's type
    void* foreground;  // the image's shape and type
    void* background;  // the same, or null
};

struct Convergence {
    std::int64_t iterations;
    double residual_squared;  // of the system, as a share of its right side
    bool converged;
};

// Minimises a^T L a + sum of weight (a - prior)^2, L being the matting Laplacian, over the pixels that are unknown.
struct ClosedForm {
    Pixels image;                // 3 channels, at least 3 x 3
    const std::uint8_t* trimap;  // (height, width): 0 background, 128 unknown, 255 foreground
    const float* weight;         // (height, width) or null
    const float* prior;          // (height, width), or null without a weight; iterations start there
    double eps, tolerance;
    std::int64_t most_iterations;
    bool (*report)(void* context, const Convergence& reached);  // or null; false stops
    void* context;
    float* alpha;  // (height, width)
    Convergence* reached;
};

struct ExpandTrimap {
    Pixels image;                // 3 channels
    const std::uint8_t* trimap;  // (height, width)
    const std::uint8_t* wanted;  // (height, width): unknown pixels that look for a label
    const std::int64_t* steps;   // (offsets, 2): y and x, nearest first
    const float* limits;         // (offsets,): largest square of the colours' distance, in units of 1/255
    std::int64_t offsets;
    std::uint8_t* result;  // (height, width)
};

struct SampleColours {
    Pixels image;                // 3 channels
    const std::uint8_t* trimap;  // (height, width)
    const float* distances;      // (unknown, 2): to the nearest known foreground and background pixel, at least 1
    const float* foreground;     // (foreground_count, 5): r, g, b in units of 1/255, y, x
    const float* background;     // the same
    std::int64_t foreground_count, background_count;
    float spatial;  // weight of distances against colours
    float* result;  // (unknown, 4): alpha, residual, distance of the pair's colours, cost
};

// What lies beyond the picture: its nearest pixel, its mirror image (edge pixels twice), its other side, nothing.
enum class Edges : int { replicate, reflect, wrap, zero };

// A picture as the blurs read and write it: rows of float lanes, `lanes_of` a pixel. With transparency the colours are
// premultiplied and the last lane is alpha; with tables they are in linear light. Otherwise lanes are as stored.
struct Layer {
    Pixels source;  // 1 to 4 channels
    Edges edges;
    bool last_is_alpha;   // the source's last channel, un-premultiplied
    const float* alpha;   // (height, width) or null: how much a pixel counts; a lane of its own, which is not written
    const float* mask;    // (height, width) or null: the new value's share in the result
    const float* decode;  // source -> linear, or null; for floats at table_steps + 1 points of [0, 1]
    const float* encode;  // linear -> source at table_steps + 1 points of [0, 1], or null
    float gain;           // linear colours are multiplied by 1 + this times their largest's eighth power,
    const float* dim;  // and taken back by what this says at table_steps + 1 points of their largest in [0, 1 + gain]
    void* result;      // the source's shape and type
};

struct GaussianBlur {
    Layer layer;
    std::int64_t factor;  // the blur runs on a picture this much smaller, a power of two; 1 is direct
    const float* taps;    // the kernel's one half from the middle on, at that size; its sum is 1
    std::int64_t radius;  // taps hold radius + 1
};

struct BoxBlur {
    Layer layer;
    std::int64_t radius;
};

struct LensBlur {
    Layer layer;
    std::int64_t factor;  // as for GaussianBlur
    const float* runs;    // (2 radius + 1, 2): where the aperture begins and ends in each row, at that size
    std::int64_t radius;
};

struct Mosaic {
    Layer layer;
    const std::int64_t* regions;  // (count, 6): top, left, height, width, and a tile's height and width
    std::int64_t count;
};

struct KernelTable {
    const char* name;
    Status (*area_average)(const AreaAverage&);
    Status (*apply_coefficients)(const ApplyCoefficients&);
    Status (*box_blur)(const BoxBlur&);
    Status (*box_filter)(const BoxFilter&);
    Status (*closed_form)(const ClosedForm&);
    Status (*expand_trimap)(const ExpandTrimap&);
    Status (*foreground_multilevel)(const ForegroundMultilevel&);
    Status (*gaussian_blur)(const GaussianBlur&);
    Status (*guided_filter)(const GuidedFilter&);
    Status (*lens_blur)(const LensBlur&);
    Status (*mosaic)(const Mosaic&);
    Status (*sample_colours)(const SampleColours&);
};

// The parts of blurs. A small picture has `pad` pixels more on every side than the source's size divided by the factor,
// rounded up; these and the rows asked for may lie beyond it.
struct SmallRows {
    void* data;
    PixelType type;  // float32, or fixed16 of bytes as they are
    std::int64_t factor, pad;
    std::int64_t first, count;  // of its rows, counted from the picture's
};

#define SAFELIGHT_DECLARE_KERNELS(target)                                                                   \
    namespace target {                                                                                      \
    Status area_average(const AreaAverage&);                                                                \
    Status apply_coefficients(const ApplyCoefficients&);                                                    \
    Status box_blur(const BoxBlur&);                                                                        \
    Status box_filter(const BoxFilter&);                                                                    \
    Status closed_form(const ClosedForm&);                                                                  \
    Status expand_trimap(const ExpandTrimap&);                                                              \
    Status foreground_multilevel(const ForegroundMultilevel&);                                              \
    Status gaussian_blur(const GaussianBlur&);                                                              \
    Status guided_filter(const GuidedFilter&);                                                              \
    Status lens_blur(const LensBlur&);                                                                      \
    Status mosaic(const Mosaic&);                                                                           \
    Status sample_colours(const SampleColours&);                                                            \
                                                                                                            \
    std::int64_t lanes_of(const Layer&);                                                                    \
    bool is_plain(const Layer&);                                                                            \
    std::int64_t edge_index(std::int64_t at, std::int64_t count, Edges);                                    \
    void load_lanes(const Layer&, std::int64_t y, std::int64_t x, std::int64_t count, float* lanes);        \
    void store_lanes(const Layer&, std::int64_t y, std::int64_t x, std::int64_t count, const float* lanes); \
    Status convolve(const Layer&, const float* taps, std::int64_t radius);                                  \
    Status tent_reduce(const Layer&, const SmallRows&);                                                     \
    Status spline_expand(const Layer&, const SmallRows&, std::int64_t begin, std::int64_t end);             \
    }
SAFELIGHT_DECLARE_KERNELS(baseline)
SAFELIGHT_DECLARE_KERNELS(avx2)
SAFELIGHT_DECLARE_KERNELS(avx512)

// dispatch.cpp
const KernelTable& kernels();         // the table in use: the best this processor can run, unless another was set
const KernelTable* const* targets();  // those this processor can run, best first, then null
bool set_target(const char* name);    // false if the name is not among targets()

// threads.cpp
int thread_count();
void set_thread_count(int count);  // 0 restores the default: the processors this process may use

// Calls body(context, task, slot) for every task in [0, tasks) on the pool. No two calls run in the same slot at the
// same time, and slots are below slot_count(tasks, limit). Bodies must not throw. Which thread takes which task
// is open, so a task's result may depend on nothing but its number.
using Body = void (*)(void* context, std::int64_t task, int slot);
int slot_count(std::int64_t tasks, int limit);
void parallel_for(std::int64_t tasks, int slots, Body body, void* context);

// Memory aligned to a cache line; null when there is none left.
void* allocate(std::size_t bytes);
void release(void* memory);
void set_poison(bool on);  // for tests: fresh memory is filled with what reads as NaN

}  // namespace safelight
