// How one call will be run: the algorithm, its blocking or tiling, threads and workspace.
#ifndef DILCONV_PLAN_H_
#define DILCONV_PLAN_H_

#include "dilconv.h"
#include "dispatch.h"
#include "kernels.h"

namespace dilconv {

enum Pass { kForward, kBackwardData, kBackwardWeight, kBackward };

// A convolution as the kernels run it: forward as it is; backward-data as a convolution of g with
// channels and filters swapped and the taps flipped.
struct Posed {
  int64_t C, K, outputs;
  Taps taps;
  WeightView weights;  // strides only: the driver sets data to w + first_weight
  int64_t first_weight;
};

Posed pose(const dilconv_problem& p, Pass pass);

struct DirectPlan {
  Blocking blocking;
  int64_t batch, outputs, blocks;
  int threads;
  int parts;                         // of the items, each with sums of its own (backward-weight)
  int64_t shared, sums, per_thread;  // workspace in floats: once; per part; per thread
  double cycles;

  int64_t items() const { return batch * blocks; }
  int64_t workspace() const { return shared + parts * sums + threads * per_thread; }
};

struct SpectralPlan {
  SpectralShape conv;
  bool need_dx, need_dw;
  int64_t batch;
  int threads;
  int parts;                              // of the items, each with a dw_spectrum of its own
  int64_t spectra, dw_spectrum, scratch;  // workspace in floats: once; per part; per thread
  double cycles;                          // infinite where no tiling fits

  int64_t items() const { return batch * conv.tiling.units(); }
  int64_t workspace() const { return spectra + parts * dw_spectrum + threads * scratch; }
};

DirectPlan plan_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass);
SpectralPlan plan_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass);

// True if the spectral algorithm is asked for, or is possible and estimated faster.
bool chooses_spectral(const dilconv_problem& p, const SpectralPlan& spectral, double direct_cycles);

}  // namespace dilconv
#endif  // DILCONV_PLAN_H_
