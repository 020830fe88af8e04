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

struct WinogradPlan {
  WinogradShape conv;
  int64_t batch;
  int threads;
  int parts;                         // of the items, each with sums of its own (backward-weight)
  int64_t shared, sums, per_thread;  // workspace in floats: once; per part; per thread
  double cycles;                     // infinite for filters that it does not take

  int64_t items() const { return batch * conv.units(); }
  int64_t workspace() const { return shared + parts * sums + threads * per_thread; }
};

DirectPlan plan_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass);
SpectralPlan plan_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass);
// Of kForward, kBackwardData or kBackwardWeight.
WinogradPlan plan_winograd(const IsaKernels& isa, const dilconv_problem& p, Pass pass);

// What cutting the work asks of the machine and of the problem.
int64_t l2_bytes();
double region_cycles(int threads);  // to call the threads and to wait for the last of them
int useful_threads(int64_t threads, int64_t items);
int summed_parts(int64_t items, int threads, int64_t sums);

// The estimates of all passes of a call, by algorithm; infinite: not possible.
struct Estimates {
  double direct, spectral, winograd;
};

// The algorithm asked for where it is possible, direct where it is not; of auto, the fastest.
int32_t choose(const dilconv_problem& p, const Estimates& cycles);

}  // namespace dilconv
#endif  // DILCONV_PLAN_H_
