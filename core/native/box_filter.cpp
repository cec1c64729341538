// Mean over the (2 r + 1)^2 window, clipped at the borders. Work per pixel does not depend on the radius: column sums
// gain the entering row and lose the leaving one, and a window slides along them.
#include "kernels.hpp"

namespace safelight {
namespace SAFELIGHT_TARGET {
namespace {

using std::int64_t;

// Column sums and window sums; both are exact for integers.
template <typename T>
struct Sums {
    using Column = double;
    using Window = double;
};
template <>
struct Sums<std::uint8_t> {
    using Column = std::uint32_t;
    using Window = int64_t;
};

struct Work {
    const BoxFilter* call;
    int64_t strip, radius_x, radius_y, padded;  // rows of a task, the radius clipped to the picture, row length
    const double* inverse_widths;               // 1 / columns of the window, for every column
    char* scratch;
    std::size_t scratch_bytes;
};

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

template <typename T, typename Column>
void add_row(const T* row, int64_t count, Column* sums) {
    for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<Column>(row[i]);
}

template <typename T, typename Column>
void exchange_rows(const T* entering, const T* leaving, int64_t count, Column* sums) {
    for (int64_t i = 0; i < count; ++i) sums[i] += static_cast<Column>(entering[i]) - static_cast<Column>(leaving[i]);
}

template <typename T, typename Column>
void remove_row(const T* row, int64_t count, Column* sums) {
    for (int64_t i = 0; i < count; ++i) sums[i] -= static_cast<Column>(row[i]);
}

// padded holds radius + 1 zero pixels, the column sums, and radius zero pixels.
template <typename Column, typename Window, int channels>
void slide(const Column* padded, int64_t width, int64_t radius, Window* sums) {
    Window window[channels] = {};
    const int64_t reach = (2 * radius + 1) * channels;
    for (int64_t i = channels; i < reach; i += channels)
        for (int c = 0; c < channels; ++c) window[c] += static_cast<Window>(padded[i + c]);
    for (int64_t x = 0; x < width; ++x, padded += channels, sums += channels)
        for (int c = 0; c < channels; ++c) {
            window[c] += static_cast<Window>(padded[reach + c]) - static_cast<Window>(padded[c]);
            sums[c] = window[c];
        }
}

template <typename Column, typename Window>
void slide_any(const Column* padded, int64_t width, int64_t channels, int64_t radius, Window* sums) {
    const int64_t reach = (2 * radius + 1) * channels;
    for (int64_t c = 0; c < channels; ++c) {
        Window window = 0;
        for (int64_t i = channels + c; i < reach; i += channels) window += static_cast<Window>(padded[i]);
        for (int64_t i = c; i < width * channels; i += channels) {
            window += static_cast<Window>(padded[reach + i]) - static_cast<Window>(padded[i]);
            sums[i] = window;
        }
    }
}

template <typename Column, typename Window>
void slide_row(const Column* padded, int64_t width, int64_t channels, int64_t radius, Window* sums) {
    switch (channels) {
        case 1:
            return slide<Column, Window, 1>(padded, width, radius, sums);
        case 3:
            return slide<Column, Window, 3>(padded, width, radius, sums);
        case 4:
            return slide<Column, Window, 4>(padded, width, radius, sums);
        default:
            return slide_any(padded, width, channels, radius, sums);
    }
}

template <typename T>
void filter_strip(void* context, int64_t task, int slot) {
    using Column = typename Sums<T>::Column;
    using Window = typename Sums<T>::Window;
    const Work& work = *static_cast<const Work*>(context);
    const Pixels& source = work.call->source;
    const int64_t height = source.height, channels = source.channels, count = source.width * channels;
    const int64_t begin = task * work.strip, end = smaller(begin + work.strip, height), ry = work.radius_y;
    const T* pixels = static_cast<const T*>(source.data);
    Window* const windows =
        reinterpret_cast<Window*>(work.scratch + static_cast<std::size_t>(slot) * work.scratch_bytes);
    Column* const padded = reinterpret_cast<Column*>(windows + count);
    Column* const columns = padded + (work.radius_x + 1) * channels;
    for (int64_t i = 0; i < work.padded; ++i) padded[i] = 0;
    for (int64_t y = larger(begin - ry, 0); y < smaller(begin + ry, height); ++y)
        add_row(pixels + y * count, count, columns);
    for (int64_t y = begin; y < end; ++y) {
        const int64_t entering = y + ry, leaving = y - ry - 1;
        const bool enters = entering < height, leaves = leaving >= 0 && y > begin;
        if (enters && leaves)
            exchange_rows(pixels + entering * count, pixels + leaving * count, count, columns);
        else if (enters)
            add_row(pixels + entering * count, count, columns);
        else if (leaves)
            remove_row(pixels + leaving * count, count, columns);
        slide_row(padded, source.width, channels, work.radius_x, windows);
        const double inverse_height = 1.0 / static_cast<double>(smaller(y + ry, height - 1) - larger(y - ry, 0) + 1);
        float* const result = work.call->result + y * count;
        for (int64_t i = 0; i < count; ++i)
            result[i] = static_cast<float>(static_cast<double>(windows[i]) * (work.inverse_widths[i] * inverse_height));
    }
}

template <typename T>
Status filter(const BoxFilter& call) {
    const Pixels& source = call.source;
    const int64_t width = source.width, channels = source.channels, count = width * channels;
    Work work{};
    work.call = &call;
    work.radius_x = smaller(call.radius, width - 1);
    work.radius_y = smaller(call.radius, source.height - 1);
    work.strip = larger(64, 4 * work.radius_y);
    work.padded = count + (2 * work.radius_x + 1) * channels;
    work.scratch_bytes = (static_cast<std::size_t>(count + work.padded) * sizeof(double) + 127) / 64 * 64;
    const int64_t tasks = (source.height + work.strip - 1) / work.strip;
    const int slots = slot_count(tasks, 1 << 16);
    const std::size_t table_bytes = (static_cast<std::size_t>(count) * sizeof(double) + 63) / 64 * 64;
    char* const memory =
        static_cast<char*>(allocate(table_bytes + static_cast<std::size_t>(slots) * work.scratch_bytes));
    if (memory == nullptr) return Status::out_of_memory;
    double* const inverse_widths = reinterpret_cast<double*>(memory);
    for (int64_t x = 0, i = 0; x < width; ++x)
        for (int64_t c = 0; c < channels; ++c, ++i)
            inverse_widths[i] =
                1.0 / static_cast<double>(smaller(x + work.radius_x, width - 1) - larger(x - work.radius_x, 0) + 1);
    work.inverse_widths = inverse_widths;
    work.scratch = memory + table_bytes;
    parallel_for(tasks, slots, filter_strip<T>, &work);
    release(memory);
    return Status::done;
}

}  // namespace

Status box_filter(const BoxFilter& call) {
    switch (call.source.type) {
        case PixelType::uint8:
            return filter<std::uint8_t>(call);
        case PixelType::uint16:
            return filter<std::uint16_t>(call);
        default:
            return filter<float>(call);
    }
}

}  // namespace SAFELIGHT_TARGET
}  // namespace safelight
