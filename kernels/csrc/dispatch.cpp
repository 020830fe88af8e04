// Which instruction sets this build holds and which of them the CPU can run.
#include "dispatch.h"

#include "dilconv.h"

#ifdef DILCONV_HAVE_X86
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>
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
// and twice the working set. Asked once: a virtual machine answers slowly.
bool halves_avx512() {
  static const bool halves = [] {
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    if (!__builtin_cpu_is("amd") || !__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
    const unsigned family = (eax >> 8 & 0xf) + (eax >> 20 & 0xff);
    return family == 0x19;
  }();
  return halves;
}
#else
bool halves_avx512() { return false; }
#endif

#ifdef DILCONV_HAVE_BF16
bool runs_avx512bf16() { return runs_avx512() && __builtin_cpu_supports("avx512bf16"); }

// Tiles need the CPU, an operating system that saves them, and its permission.
bool permits_amx() {
#ifdef __linux__
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, its state component
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
#else
  return false;
#endif
}
bool runs_amx() {
  static const bool runs = [] {
    constexpr unsigned kTile = 1u << 24, kTileBf16 = 1u << 22, kSaved = 3u << 17;
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0, saved = 0, high = 0;
    if (!runs_avx512bf16() || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    if ((edx & (kTile | kTileBf16)) != (kTile | kTileBf16)) return false;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    return (saved & kSaved) == kSaved && permits_amx();
  }();
  return runs;
}
#endif

// All kernels of an instruction set, but the direct ones of bf16 of another.
#define DILCONV_KERNELS(isa, bf16_isa)                                                      \
  &isa::direct, &bf16_isa::direct_bf16, &isa::spectra, &isa::spectral, &isa::spectral_bf16, \
      &isa::winograd_weights, &isa::winograd, &isa::winograd_bf16, &isa::peak

const IsaKernels kIsas[] = {
    {"generic", DILCONV_KERNELS(generic, generic), runs_anywhere},
#ifdef DILCONV_HAVE_X86
    {"avx2", DILCONV_KERNELS(avx2, avx2), runs_avx2},
    {"avx512", DILCONV_KERNELS(avx512, avx512), runs_avx512},
#endif
#ifdef DILCONV_HAVE_BF16
    {"avx512bf16", DILCONV_KERNELS(avx512, avx512bf16), runs_avx512bf16},
    {"amx", DILCONV_KERNELS(avx512, amx), runs_amx},
#endif
};
constexpr int32_t kIsaCount = sizeof(kIsas) / sizeof(kIsas[0]);

#ifdef DILCONV_HAVE_BF16
// Where AVX-512 is halved, what it adds for bf16 goes with the kernels of AVX2.
const IsaKernels kHalvedBf16{"avx512bf16", DILCONV_KERNELS(avx2, avx512bf16), runs_avx512bf16};
#endif
#undef DILCONV_KERNELS

const IsaKernels* find(int32_t isa) {
  if (isa < 0 || isa >= kIsaCount) return nullptr;
#ifdef DILCONV_HAVE_BF16
  if (kIsas[isa].supported == runs_avx512bf16 && halves_avx512()) return &kHalvedBf16;
#endif
  return &kIsas[isa];
}

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
      return "a size, stride or word is outside its range, or a pointer is missing";
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

DILCONV_EXPORT int32_t dilconv_default_isa(int32_t dtype) {
  int32_t best = 0;
  for (int32_t isa = 1; isa < dilconv::kIsaCount; ++isa) {
    const dilconv::IsaKernels& kernels = *find(isa);
    const bool halved = kernels.direct->lanes == 16 && dilconv::halves_avx512();
    const bool only_bf16 = kernels.direct_bf16->pairs;  // its float32 is that of the one before
    if (kernels.supported() && !halved && (!only_bf16 || dtype == DILCONV_BFLOAT16)) best = isa;
  }
  return best;
}

DILCONV_EXPORT int32_t dilconv_isa_lanes(int32_t isa) {
  return find(isa) ? find(isa)->direct->lanes : 0;
}

DILCONV_EXPORT double dilconv_peak_flops(int32_t isa, int64_t iterations) {
  int32_t status;
  const dilconv::IsaKernels* kernels = dilconv::isa_kernels(isa, &status);
  return kernels ? (*kernels->peak)(iterations) : 0;
}
