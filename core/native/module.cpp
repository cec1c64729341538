// The private Python module. Arrays come in checked: safelight.kernels sees to that, and documents the functions.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace py = pybind11;

namespace safelight {
namespace {

using Array = py::array;
using FloatArray = py::array_t<float, py::array::c_style>;
using ByteArray = py::array_t<std::uint8_t, py::array::c_style>;
using LongArray = py::array_t<std::int64_t, py::array::c_style>;

PixelType pixel_type(const Array& array) {
    if (py::isinstance<py::array_t<std::uint8_t>>(array)) return PixelType::uint8;
    if (py::isinstance<py::array_t<std::uint16_t>>(array)) return PixelType::uint16;
    if (py::isinstance<py::array_t<float>>(array)) return PixelType::float32;
    throw py::type_error("pixels must be uint8, uint16 or float32");
}

Pixels pixels(const Array& array) {
    if (array.ndim() < 2 || array.ndim() > 3 || (array.flags() & py::array::c_style) == 0)
        throw py::value_error("pixels must be a C-contiguous array of 2 or 3 dimensions");
    return {array.data(), pixel_type(array), array.shape(0), array.shape(1), array.ndim() == 3 ? array.shape(2) : 1};
}

std::vector<py::ssize_t> shape_of(const Array& array) { return {array.shape(), array.shape() + array.ndim()}; }

template <typename Call>
void run(Status (*KernelTable::*kernel)(const Call&), const Call& call) {
    Status status;
    {
        const py::gil_scoped_release released;
        status = (kernels().*kernel)(call);
    }
    if (status == Status::out_of_memory) throw std::bad_alloc();
}

Array box_filter(const Array& source, std::int64_t radius) {
    FloatArray result(shape_of(source));
    run(&KernelTable::box_filter, BoxFilter{pixels(source), radius, result.mutable_data()});
    return result;
}

Array area_average(const Array& source, std::int64_t height, std::int64_t width) {
    std::vector<py::ssize_t> shape = shape_of(source);
    shape[0] = height;
    shape[1] = width;
    FloatArray result(shape);
    run(&KernelTable::area_average, AreaAverage{pixels(source), height, width, result.mutable_data()});
    return result;
}

// What every blur takes; the arrays are the caller's and outlive the call.
Edges edges_named(const std::string& name) {
    const char* const names[] = {"replicate", "reflect", "wrap", "zero"};
    for (int k = 0; k < 4; ++k)
        if (name == names[k]) return static_cast<Edges>(k);
    throw py::value_error("there are no such edges");
}

Layer layer(const Array& source, const std::string& edges, bool last_is_alpha, const py::object& alpha,
            const py::object& mask, Array& result) {
    Layer made{};
    made.source = pixels(source);
    made.edges = edges_named(edges);
    made.last_is_alpha = last_is_alpha;
    if (!alpha.is_none()) made.alpha = alpha.cast<FloatArray>().data();
    if (!mask.is_none()) made.mask = mask.cast<FloatArray>().data();
    made.result = result.mutable_data();
    return made;
}

Array gaussian_blur(const Array& source, double, std::int64_t factor, const FloatArray& taps, const std::string& edges,
                    bool last_is_alpha, const py::object& alpha, const py::object& mask) {
    Array result(source.dtype(), shape_of(source));
    run(&KernelTable::gaussian_blur,
        GaussianBlur{layer(source, edges, last_is_alpha, alpha, mask, result), factor, taps.data(), taps.shape(0) - 1});
    return result;
}

Array box_blur(const Array& source, std::int64_t radius, const std::string& edges, bool last_is_alpha,
               const py::object& alpha, const py::object& mask) {
    Array result(source.dtype(), shape_of(source));
    run(&KernelTable::box_blur, BoxBlur{layer(source, edges, last_is_alpha, alpha, mask, result), radius});
    return result;
}

Array lens_blur(const Array& source, std::int64_t factor, const FloatArray& runs, const std::string& edges,
                bool last_is_alpha, const py::object& alpha, const py::object& mask, const FloatArray& decode,
                const FloatArray& encode, float gain, const FloatArray& dim) {
    Array result(source.dtype(), shape_of(source));
    LensBlur call{layer(source, edges, last_is_alpha, alpha, mask, result), factor, runs.data(), runs.shape(0) / 2};
    call.layer.decode = decode.data();
    call.layer.encode = encode.data();
    call.layer.gain = gain;
    call.layer.dim = dim.data();
    run(&KernelTable::lens_blur, call);
    return result;
}

Array mosaic(const Array& source, const py::array_t<std::int64_t, py::array::c_style>& regions, bool last_is_alpha,
             const py::object& alpha, const py::object& mask) {
    Array result(source.dtype(), shape_of(source));
    std::memcpy(result.mutable_data(), source.data(), static_cast<std::size_t>(source.nbytes()));
    run(&KernelTable::mosaic,
        Mosaic{layer(source, "replicate", last_is_alpha, alpha, mask, result), regions.data(), regions.shape(0)});
    return result;
}

GuidedFilter guided_call(const Array& guide, const FloatArray& source, std::int64_t radius, double eps,
                         const py::object& weight, float least_weight) {
    GuidedFilter call{};
    call.guide = pixels(guide);
    call.source = source.data();
    if (!weight.is_none()) call.weight = weight.cast<FloatArray>().data();  // the caller's array outlives the call
    call.least_weight = least_weight;
    call.radius = radius;
    call.eps = eps;
    return call;
}

Array guided_filter(const Array& guide, const FloatArray& source, std::int64_t radius, double eps,
                    const py::object& weight, float least_weight) {
    GuidedFilter call = guided_call(guide, source, radius, eps, weight, least_weight);
    FloatArray result(shape_of(source));
    call.result = result.mutable_data();
    run(&KernelTable::guided_filter, call);
    return result;
}

Array guided_coefficients(const Array& guide, const FloatArray& source, std::int64_t radius, double eps,
                          const py::object& weight, float least_weight) {
    GuidedFilter call = guided_call(guide, source, radius, eps, weight, least_weight);
    FloatArray result({call.guide.channels + 1, call.guide.height, call.guide.width});
    call.coefficients = result.mutable_data();
    run(&KernelTable::guided_filter, call);
    return result;
}

Array apply_coefficients(const Array& guide, const FloatArray& coefficients, float clip) {
    FloatArray result({guide.shape(0), guide.shape(1)});
    run(&KernelTable::apply_coefficients, ApplyCoefficients{pixels(guide), coefficients.data(), coefficients.shape(1),
                                                            coefficients.shape(2), clip, result.mutable_data()});
    return result;
}

py::object foreground_multilevel(const Array& image, const FloatArray& alpha, std::int64_t small_iterations,
                                 std::int64_t big_iterations, float regularization, float gradient_weight,
                                 bool return_background, bool clear) {
    Array foreground(image.dtype(), shape_of(image));
    Array background = return_background ? Array(image.dtype(), shape_of(image)) : Array();
    run(&KernelTable::foreground_multilevel,
        ForegroundMultilevel{pixels(image), alpha.data(), small_iterations, big_iterations, regularization,
                             gradient_weight, clear, foreground.mutable_data(),
                             return_background ? background.mutable_data() : nullptr});
    if (return_background) return py::make_tuple(foreground, background);
    return std::move(foreground);
}

// Tells Python between iterations how far they are. What it raises stops the kernel, and goes on from there.
struct Report {
    py::object callback;
    std::exception_ptr raised;

    static bool pass_on(void* context, const Convergence& reached) {
        Report& report = *static_cast<Report*>(context);
        const py::gil_scoped_acquire held;
        try {
            if (report.callback.is_none()) return PyErr_CheckSignals() == 0 || throw_current();
            report.callback(reached.iterations, std::sqrt(reached.residual_squared));
            return true;
        } catch (...) {
            report.raised = std::current_exception();
            return false;
        }
    }
    [[noreturn]] static bool throw_current() { throw py::error_already_set(); }
};

py::object closed_form(const Array& image, const ByteArray& trimap, const py::object& weight, const py::object& prior,
                       double eps, double tolerance, std::int64_t most_iterations, const py::object& callback) {
    FloatArray alpha({image.shape(0), image.shape(1)});
    Convergence reached{};
    Report report{callback, nullptr};
    ClosedForm call{};
    call.image = pixels(image);
    call.trimap = trimap.data();
    if (!weight.is_none()) call.weight = weight.cast<FloatArray>().data();
    if (!prior.is_none()) call.prior = prior.cast<FloatArray>().data();
    call.eps = eps;
    call.tolerance = tolerance;
    call.most_iterations = most_iterations;
    call.report = Report::pass_on;
    call.context = &report;
    call.alpha = alpha.mutable_data();
    call.reached = &reached;
    run(&KernelTable::closed_form, call);
    if (report.raised) std::rethrow_exception(report.raised);
    return py::make_tuple(alpha, reached.iterations, std::sqrt(reached.residual_squared), reached.converged);
}

Array expand_trimap(const Array& image, const ByteArray& trimap, const ByteArray& wanted, const LongArray& steps,
                    const FloatArray& limits) {
    ByteArray result({image.shape(0), image.shape(1)});
    run(&KernelTable::expand_trimap, ExpandTrimap{pixels(image), trimap.data(), wanted.data(), steps.data(),
                                                  limits.data(), limits.shape(0), result.mutable_data()});
    return result;
}

Array sample_colours(const Array& image, const ByteArray& trimap, const FloatArray& distances,
                     const FloatArray& foreground, const FloatArray& background, float spatial) {
    FloatArray result({distances.shape(0), py::ssize_t{4}});
    run(&KernelTable::sample_colours,
        SampleColours{pixels(image), trimap.data(), distances.data(), foreground.data(), background.data(),
                      foreground.shape(0), background.shape(0), spatial, result.mutable_data()});
    return result;
}

std::vector<std::string> target_names() {
    std::vector<std::string> names;
    for (const KernelTable* const* table = targets(); *table != nullptr; ++table) names.emplace_back((*table)->name);
    return names;
}

void choose_target(const std::string& name) {
    if (set_target(name.c_str())) return;
    std::string message = "target must be one of ";
    for (const std::string& known : target_names()) message += (known == target_names()[0] ? "" : ", ") + known;
    throw py::value_error(message + ", but is '" + name + "'");
}

}  // namespace
}  // namespace safelight

PYBIND11_MODULE(_native, m, py::mod_gil_not_used()) {
    using namespace safelight;
    m.doc() = "Compiled kernels of safelight.kernels; private.";
    m.attr("__version__") = SAFELIGHT_VERSION;
    m.def("targets", target_names, "CPU targets this processor can run, best first.");
    m.def("target", [] { return kernels().name; }, "The CPU target in use.");
    m.def("set_target", choose_target, py::arg("name"));
    m.def("threads", thread_count, "Threads a kernel uses.");
    m.def("set_threads", set_thread_count, py::arg("count"), "0 restores the default, the processors in reach.");
    m.def("set_poison", set_poison, py::arg("on"), "For tests: fill the kernels' fresh memory with NaN.");
    m.def("area_average", area_average);
    m.def("apply_coefficients", apply_coefficients);
    m.def("box_blur", box_blur);
    m.def("box_filter", box_filter);
    m.def("closed_form", closed_form);
    m.def("expand_trimap", expand_trimap);
    m.def("foreground_multilevel", foreground_multilevel);
    m.def("gaussian_blur", gaussian_blur);
    m.def("guided_coefficients", guided_coefficients);
    m.def("guided_filter", guided_filter);
    m.def("lens_blur", lens_blur);
    m.def("mosaic", mosaic);
    m.def("sample_colours", sample_colours);
}
