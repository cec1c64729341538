// Gaussian blur. A small sigma is convolved directly; a large one on a picture shrunk by tents and enlarged by cubic
// B-splines, both of which are nearly Gaussian themselves, so that only the rest is left to convolve. Work per pixel
// does not depend on sigma.
//
// The picture is worked through in bands of rows, so that the small pictures take little memory at small factors, too.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

constexpr int64_t band = 512;  // small rows

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

struct Small {
    Layer layer;  // of the shrunk picture: convolved from one buffer to the other
    int64_t width, lanes;
    char *before, *after;
};

Status blur_band(const GaussianBlur& call, const Small& small, int64_t begin, int64_t end) {
    const int64_t factor = call.factor, pad = call.radius + 3;
    const int64_t first = begin / factor - pad, count = (end - 1) / factor + pad + 1 - first;
    SmallRows rows{small.before, small.layer.source.type, factor, pad, first, count};
    Status status = tent_reduce(call.layer, rows);
    if (status != Status::done) return status;
    Layer layer = small.layer;
    layer.source.height = count;
    status = convolve(layer, call.taps, call.radius);
    if (status != Status::done) return status;
    rows.data = small.after;
    return spline_expand(call.layer, rows, begin, end);
}

Status blur_small(const GaussianBlur& call) {
    const int64_t factor = call.factor, pad = call.radius + 3, height = call.layer.source.height;
    Small small{};
    small.width = (call.layer.source.width + factor - 1) / factor + 2 * pad;
    small.lanes = lanes_of(call.layer);
    const int64_t rows = smaller((height + factor - 1) / factor, band) + 2 * pad + 2;
    const bool bytes = call.layer.source.type == PixelType::uint8 && is_plain(call.layer) && call.layer.mask == nullptr;
    const PixelType type = bytes ? PixelType::fixed16 : PixelType::float32;
    const std::size_t size = static_cast<std::size_t>(rows * small.width * small.lanes) * (bytes ? 2 : 4);
    const std::size_t whole = (size + 63) / 64 * 64;
    char* const memory = static_cast<char*>(allocate(2 * whole));
    if (memory == nullptr) return Status::out_of_memory;
    small.before = memory;
    small.after = memory + whole;
    small.layer.source = {small.before, type, 0, small.width, small.lanes};
    small.layer.result = small.after;
    Status status = Status::done;
    for (int64_t begin = 0; begin < height && status == Status::done; begin += band * factor)
        status = blur_band(call, small, begin, smaller(begin + band * factor, height));
    release(memory);
    return status;
}

}  // namespace

Status gaussian_blur(const GaussianBlur& call) {
    return call.factor == 1 ? convolve(call.layer, call.taps, call.radius) : blur_small(call);
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
