// Gives unknown pixels the label of the nearest known pixel of nearly the same colour; the first step of the sampling
// methods for mattes, see sample_colours.cpp.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;
using std::uint8_t;

constexpr int64_t rows_each = 16;
constexpr uint8_t unknown_mark = 128;

struct Work {
    const ExpandTrimap* call;
    float unit;
};

template <typename T>
uint8_t label_for(const Work& work, int64_t y, int64_t x) {
    const ExpandTrimap& call = *work.call;
    const int64_t height = call.image.height, width = call.image.width;
    const T* const data = static_cast<const T*>(call.image.data);
    const T* const own = data + (y * width + x) * 3;
    for (int64_t k = 0; k < call.offsets; ++k) {
        const int64_t j = y + call.steps[2 * k], i = x + call.steps[2 * k + 1];
        if (j < 0 || i < 0 || j >= height || i >= width) continue;
        const uint8_t label = call.trimap[j * width + i];
        if (label == unknown_mark) continue;
        const T* const other = data + (j * width + i) * 3;
        float square = 0.0f;
        for (int c = 0; c < 3; ++c) {
            const float apart = static_cast<float>(other[c]) * work.unit - static_cast<float>(own[c]) * work.unit;
            square += apart * apart;
        }
        if (square <= call.limits[k]) return label;
    }
    return unknown_mark;
}

template <typename T>
void expand_rows(void* context, int64_t task, int) {
    const Work& work = *static_cast<const Work*>(context);
    const ExpandTrimap& call = *work.call;
    const int64_t width = call.image.width, end = (task + 1) * rows_each;
    for (int64_t y = task * rows_each; y < (end < call.image.height ? end : call.image.height); ++y) {
        for (int64_t x = 0; x < width; ++x) {
            const int64_t at = y * width + x;
            call.result[at] = call.wanted[at] != 0 ? label_for<T>(work, y, x) : call.trimap[at];
        }
    }
}

template <typename T>
void expand(const ExpandTrimap& call, float unit) {
    Work work{&call, unit};
    const int64_t tasks = (call.image.height + rows_each - 1) / rows_each;
    parallel_for(tasks, slot_count(tasks, 1 << 16), expand_rows<T>, &work);
}

}  // namespace

Status expand_trimap(const ExpandTrimap& call) {
    switch (call.image.type) {
        case PixelType::uint8:
            expand<std::uint8_t>(call, 1.0f);
            break;
        case PixelType::uint16:
            expand<std::uint16_t>(call, 255.0f / 65535.0f);
            break;
        default:
            expand<float>(call, 255.0f);
    }
    return Status::done;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
