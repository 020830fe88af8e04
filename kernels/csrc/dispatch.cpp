// Which instruction sets this build holds and which of them the CPU can run.
#include "dispatch.h"

#include "dilconv.h"

#ifdef DILCONV_HAVE_X86
#include <cpuid.h>
#endif

namespace dilconv {
namespace {

bool runs_anywhere() { return true; }

#ifdef DILCONV_HAVE_X86
bool runs_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

// AMD family 19h (Zen 4) runs AVX-512 on 256-bit units: no more multiply-adds a cycle than AVX2,
// and twice the working set.
bool halves_avx512() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__builtin_cpu_is("amd") || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
  const unsigned family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
  return family == 0x19;
}
#else
bool halves_avx512() { return false; }
#endif

const IsaKernels kIsas[] = {
    {"generic", &generic::direct, &generic::spectral, runs_anywhere},
#ifdef DILCONV_HAVE_X86
    {"avx2", &avx2::direct, &avx2::spectral, runs_avx2},
    {"avx512", &avx512::direct, &avx512::spectral, runs_avx512},
#endif
};
constexpr int32_t kIsaCount = sizeof(kIsas) / sizeof(kIsas[0]);

const IsaKernels* find(int32_t isa) { return isa >= 0 && isa < kIsaCount ? &kIsas[isa] : nullptr; }

}  // namespace

const IsaKernels* isa_kernels(int32_t isa, int32_t* status) {
  const IsaKernels* found = find(isa);
  *status = !found                ? DILCONV_UNKNOWN_ISA
            : !found->supported() ? DILCONV_UNSUPPORTED_ISA
                                  : DILCONV_OK;
  return *status == DILCONV_OK ? found : nullptr;
}

}  // namespace dilconv

using dilconv::find;

DILCONV_EXPORT int32_t dilconv_abi_version(void) { return DILCONV_ABI_VERSION; }

DILCONV_EXPORT const char* dilconv_status_text(int32_t status) {
  switch (status) {
    case DILCONV_OK:
      return "ok";
    case DILCONV_BAD_ARGUMENT:
      return "a size or stride is outside its range";
    case DILCONV_NO_MEMORY:
      return "the workspace could not be allocated";
    case DILCONV_UNKNOWN_ISA:
      return "this build has no such instruction set";
    case DILCONV_UNSUPPORTED_ISA:
      return "this CPU cannot run that instruction set";
  }
  return "unknown status";
}

DILCONV_EXPORT const char* dilconv_isa_name(int32_t isa) {
  return find(isa) ? find(isa)->name : nullptr;
}

DILCONV_EXPORT int32_t dilconv_isa_supported(int32_t isa) {
  return find(isa) && find(isa)->supported();
}

DILCONV_EXPORT int32_t dilconv_default_isa(void) {
  int32_t best = 0;
  for (int32_t isa = 1; isa < dilconv::kIsaCount; ++isa) {
    const bool wide = find(isa)->direct->lanes == 16;
    if (find(isa)->supported() && !(wide && dilconv::halves_avx512())) best = isa;
  }
  return best;
}

DILCONV_EXPORT int32_t dilconv_isa_lanes(int32_t isa) {
  return find(isa) ? find(isa)->direct->lanes : 0;
}

DILCONV_EXPORT double dilconv_peak_flops(int32_t isa, int64_t iterations) {
  int32_t status;
  const dilconv::IsaKernels* kernels = dilconv::isa_kernels(isa, &status);
  return kernels ? kernels->direct->peak(iterations) : 0;
}
