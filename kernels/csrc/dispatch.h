// The table of instruction sets that this build holds, and what this CPU can run.
#ifndef DILCONV_DISPATCH_H_
#define DILCONV_DISPATCH_H_

#include "kernels.h"

// Entry points of dilconv.h; everything else is hidden.
#define DILCONV_EXPORT extern "C" __attribute__((visibility("default")))

namespace dilconv {

struct IsaKernels {
  const char* name;
  const DirectKernels* direct;
  const SpectralKernels* spectral;
  bool (*supported)();
};

// Null, with the reason in *status, if the build lacks the ISA or the CPU cannot run it.
const IsaKernels* isa_kernels(int32_t isa, int32_t* status);

}  // namespace dilconv
#endif  // DILCONV_DISPATCH_H_
