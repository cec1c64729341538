// Which CPU target runs: found with the cpuid instruction, asked of the processor and of the operating system.
#include <atomic>
#include <cstring>

#include "kernels.hpp"

#if defined(SAFELIGHT_X86_TARGETS)
#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#else
#include <cpuid.h>
#endif
#endif

namespace safelight {
namespace {

#define SAFELIGHT_TABLE(target)     \
    {#target,                       \
     target::area_average,          \
     target::apply_coefficients,    \
     target::box_filter,            \
     target::closed_form,           \
     target::expand_trimap,         \
     target::foreground_multilevel, \
     target::guided_filter,         \
     target::sample_colours}
const KernelTable baseline_table = SAFELIGHT_TABLE(baseline);

struct Features {
    bool avx2, avx512;
};

#if defined(SAFELIGHT_X86_TARGETS)
const KernelTable avx2_table = SAFELIGHT_TABLE(avx2);
const KernelTable avx512_table = SAFELIGHT_TABLE(avx512);

struct Registers {
    unsigned eax, ebx, ecx, edx;
};

Registers cpuid(unsigned leaf) {
    Registers r{0, 0, 0, 0};
#if defined(_MSC_VER)
    int values[4];
    __cpuidex(values, static_cast<int>(leaf), 0);
    r = {static_cast<unsigned>(values[0]), static_cast<unsigned>(values[1]), static_cast<unsigned>(values[2]),
         static_cast<unsigned>(values[3])};
#else
    __cpuid_count(leaf, 0, r.eax, r.ebx, r.ecx, r.edx);
#endif
    return r;
}

// The register states the operating system saves when it switches threads (XCR0).
std::uint64_t saved_states() {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    std::uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return low | static_cast<std::uint64_t>(high) << 32;
#endif
}

bool all(std::uint64_t value, std::uint64_t bits) { return (value & bits) == bits; }

Features detect() {
    constexpr unsigned fma = 1u << 12, movbe = 1u << 22, osxsave = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
    constexpr unsigned bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8, lzcnt = 1u << 5;
    constexpr unsigned avx512f = 1u << 16, avx512dq = 1u << 17, avx512cd = 1u << 28, avx512bw = 1u << 30,
                       avx512vl = 1u << 31;
    constexpr unsigned xmm_ymm = 0x6, zmm = 0xe0;
    if (cpuid(0).eax < 7 || cpuid(0x80000000u).eax < 0x80000001u) return {false, false};
    const Registers one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001u);
    if (!all(one.ecx, osxsave)) return {false, false};
    const std::uint64_t states = saved_states();
    const bool has_avx2 = all(one.ecx, fma | movbe | avx | f16c) && all(seven.ebx, bmi1 | avx2 | bmi2) &&
                          all(extended.ecx, lzcnt) && all(states, xmm_ymm);
    const bool has_avx512 =
        has_avx2 && all(seven.ebx, avx512f | avx512dq | avx512cd | avx512bw | avx512vl) && all(states, xmm_ymm | zmm);
    return {has_avx2, has_avx512};
}
#else
Features detect() { return {false, false}; }
#endif

struct Available {
    const KernelTable* tables[4] = {};
    Available() {
        int count = 0;
        const Features has = detect();
#if defined(SAFELIGHT_X86_TARGETS)
        if (has.avx512) tables[count++] = &avx512_table;
        if (has.avx2) tables[count++] = &avx2_table;
#else
        static_cast<void>(has);
#endif
        tables[count] = &baseline_table;
    }
};

const Available& available() {
    static const Available found;
    return found;
}

std::atomic<const KernelTable*> chosen{nullptr};

}  // namespace

const KernelTable* const* targets() { return available().tables; }

const KernelTable& kernels() {
    const KernelTable* table = chosen.load();
    return table != nullptr ? *table : *available().tables[0];
}

bool set_target(const char* name) {
    for (const KernelTable* const* table = targets(); *table != nullptr; ++table)
        if (std::strcmp((*table)->name, name) == 0) {
            chosen.store(*table);
            return true;
        }
    return false;
}

}  // namespace safelight
