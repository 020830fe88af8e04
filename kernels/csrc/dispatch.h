// The table of instruction sets that this build holds, and what this CPU can run.
#ifndef DILCONV_DISPATCH_H_
#define DILCONV_DISPATCH_H_

#include "kernels.h"

// Entry points of dilconv.h; everything else is hidden.
#define DILCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace dilconv {

struct IsaKernels {
  const char* name;
  const DirectKernels<float>* direct;
  const DirectKernels<Bf16>* direct_bf16;
  const SpectraKernels* spectra;
  const SpectralKernels<float>* spectral;
  const SpectralKernels<Bf16>* spectral_bf16;
  const WinogradWeights* winograd_weights;
  const WinogradKernels<float>* winograd;
  const WinogradKernels<Bf16>* winograd_bf16;
  const Peak* peak;
  bool (*supported)();
};

template <class T>
const DirectKernels<T>& direct_of(const IsaKernels& isa);
template <>
inline const DirectKernels<float>& direct_of(const IsaKernels& isa) {
  return *isa.direct;
}
template <>
inline const DirectKernels<Bf16>& direct_of(const IsaKernels& isa) {
  return *isa.direct_bf16;
}
template <class T>
const SpectralKernels<T>& spectral_of(const IsaKernels& isa);
template <>
inline const SpectralKernels<float>& spectral_of(const IsaKernels& isa) {
  return *isa.spectral;
}
template <>
inline const SpectralKernels<Bf16>& spectral_of(const IsaKernels& isa) {
  return *isa.spectral_bf16;
}
template <class T>
const WinogradKernels<T>& winograd_of(const IsaKernels& isa);
template <>
inline const WinogradKernels<float>& winograd_of(const IsaKernels& isa) {
  return *isa.winograd;
}
template <>
inline const WinogradKernels<Bf16>& winograd_of(const IsaKernels& isa) {
  return *isa.winograd_bf16;
}

// Null, with the reason in *status, if the build lacks the ISA or the CPU cannot run it.
const IsaKernels* isa_kernels(int32_t isa, int32_t* status);

}  // namespace dilconv
#endif  // DILCONV_DISPATCH_H_
