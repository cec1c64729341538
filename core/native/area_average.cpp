// Mean over the area every pixel of a smaller picture covers in a larger one, for any ratio of sizes. Integers come out
// in [0, 1]. Rows are summed into one row first, so the costly direction runs along memory.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

struct Work {
    const AreaAverage* call;
    float scale;
    float* scratch;
    int64_t pitch;
};

// The pixels a result pixel covers: first, and last with the shares of both; all between count fully.
struct Cover {
    int64_t first, last;
    double first_share, last_share;
};

// Result pixel i covers [i * from / to, (i + 1) * from / to).
Cover cover(int64_t i, int64_t from, int64_t to) {
    const int64_t begin = i * from, end = (i + 1) * from;
    Cover found{begin / to, (end - 1) / to, 0, 0};
    const double unit = static_cast<double>(to);
    found.first_share = static_cast<double>(to - begin % to) / unit;
    found.last_share = static_cast<double>((end - 1) % to + 1) / unit;
    if (found.first == found.last) found.first_share = found.last_share = static_cast<double>(from) / unit;
    return found;
}

template <typename T>
void add_row(const T* __restrict row, float share, int64_t count, float* __restrict sums) {
    for (int64_t i = 0; i < count; ++i) sums[i] += share * static_cast<float>(row[i]);
}

template <int channels>
void average_columns(const float* __restrict row, const Cover& columns, float unit, float* __restrict result) {
    const float* pixel = row + columns.first * channels;
    float sums[channels];
    for (int c = 0; c < channels; ++c) sums[c] = static_cast<float>(columns.first_share) * *pixel++;
    for (int64_t x = columns.first + 1; x < columns.last; ++x)
        for (int c = 0; c < channels; ++c) sums[c] += *pixel++;
    if (columns.last > columns.first)
        for (int c = 0; c < channels; ++c) sums[c] += static_cast<float>(columns.last_share) * *pixel++;
    for (int c = 0; c < channels; ++c) result[c] = sums[c] * unit;
}

template <typename T, int channels>
void average_row(void* context, int64_t y, int slot) {
    const Work& work = *static_cast<const Work*>(context);
    const AreaAverage& call = *work.call;
    const int64_t count = call.source.width * channels;
    float* const sums = work.scratch + slot * work.pitch;
    for (int64_t i = 0; i < count; ++i) sums[i] = 0;
    const Cover rows = cover(y, call.source.height, call.height);
    for (int64_t row = rows.first; row <= rows.last; ++row) {
        const double share = row == rows.first ? rows.first_share : row == rows.last ? rows.last_share : 1.0;
        add_row(static_cast<const T*>(call.source.data) + row * count, static_cast<float>(share), count, sums);
    }
    const double area = static_cast<double>(call.source.height) / static_cast<double>(call.height) *
                        (static_cast<double>(call.source.width) / static_cast<double>(call.width));
    const float unit = static_cast<float>(static_cast<double>(work.scale) / area);
    float* const result = call.result + y * call.width * channels;
    for (int64_t x = 0; x < call.width; ++x)
        average_columns<channels>(sums, cover(x, call.source.width, call.width), unit, result + x * channels);
}

template <typename T>
Status average(const AreaAverage& call, float scale) {
    const int64_t pitch = (call.source.width * call.source.channels + 15) / 16 * 16;
    const int slots = slot_count(call.height, 1 << 16);
    Work work{&call, scale, nullptr, pitch};
    work.scratch = static_cast<float*>(allocate(static_cast<std::size_t>(slots * pitch) * sizeof(float)));
    if (work.scratch == nullptr) return Status::out_of_memory;
    parallel_for(call.height, slots, call.source.channels == 1 ? average_row<T, 1> : average_row<T, 3>, &work);
    release(work.scratch);
    return Status::done;
}

}  // namespace

Status area_average(const AreaAverage& call) {
    switch (call.source.type) {
        case PixelType::uint8:
            return average<std::uint8_t>(call, 1.0f / 255);
        case PixelType::uint16:
            return average<std::uint16_t>(call, 1.0f / 65535);
        default:
            return average<float>(call, 1.0f);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
