// Mosaic: every tile of a region becomes its own mean. Tiles start at a region's upper left corner; those that the
// region or the picture cuts off are the mean of what is left of them.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

struct Region {
    int64_t top, left, height, width, tile_height, tile_width;
};

struct Work {
    const Layer* layer;
    Region region;
    int64_t lanes;
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

void fill_row_of_tiles(void* context, int64_t task, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const Region& region = work.region;
    const int64_t lanes = work.lanes, tiles = (region.width + region.tile_width - 1) / region.tile_width;
    const int64_t begin = region.top + task * region.tile_height;
    const int64_t end = smaller(begin + region.tile_height, region.top + region.height);
    double* const sums = reinterpret_cast<double*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    float* const line = reinterpret_cast<float*>(sums + tiles * lanes);
    for (int64_t i = 0; i < tiles * lanes; ++i) sums[i] = 0.0;
    for (int64_t y = begin; y < end; ++y) {
        load_lanes(*work.layer, y, region.left, region.width, line);
        for (int64_t x = 0; x < region.width; ++x) {
            double* const sum = sums + x / region.tile_width * lanes;
            for (int64_t c = 0; c < lanes; ++c) sum[c] += static_cast<double>(line[x * lanes + c]);
        }
    }
    for (int64_t x = 0; x < region.width; ++x) {
        const int64_t tile = x / region.tile_width;
        const int64_t across = smaller(region.tile_width, region.width - tile * region.tile_width);
        const double share = 1.0 / static_cast<double>(across * (end - begin));
        for (int64_t c = 0; c < lanes; ++c) line[x * lanes + c] = static_cast<float>(sums[tile * lanes + c] * share);
    }
    for (int64_t y = begin; y < end; ++y) store_lanes(*work.layer, y, region.left, region.width, line);
}

Status fill(const Layer& layer, const Region& region) {
    Work work{};
    work.layer = &layer;
    work.region = region;
    work.lanes = lanes_of(layer);
    const int64_t tasks = (region.height + region.tile_height - 1) / region.tile_height;
    const int64_t tiles = (region.width + region.tile_width - 1) / region.tile_width;
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t bytes = static_cast<std::size_t>(tiles * work.lanes) * sizeof(double) +
                              static_cast<std::size_t>(region.width * work.lanes) * sizeof(float);
    work.scratch_bytes = (bytes + 63) / 64 * 64;
    work.scratch = static_cast<char*>(allocate(static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(tasks, slots, fill_row_of_tiles, &work);
    release(work.scratch);
    return Status::done;
}

}  // namespace

Status mosaic(const Mosaic& call) {
    for (int64_t k = 0; k < call.count; ++k) {
        const int64_t* const r = call.regions + 6 * k;
        const Status status = fill(call.layer, {r[0], r[1], r[2], r[3], r[4], r[5]});
        if (status != Status::done) return status;
    }
    return Status::done;
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
