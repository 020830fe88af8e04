// How one call will be run: the algorithm, its blocking or tiling, threads and workspace.
//
// Algorithm and tiling follow from the layer and W alone, neither from N nor from the number of
// threads, and neither do the parts in which sums are kept: so results have the same bits on any
// number of threads, and those of an item in any batch.
#ifndef DILCONV_PLAN_H_
#define DILCONV_PLAN_H_

#include "dilconv.h"
#include "dispatch.h"
#include "kernels.h"

namespace dilconv {

constexpr int64_t kOwnBytes = 32 << 20;      // most workspace of a thread
constexpr int64_t kSharedBytes = 256 << 20;  // and of all together
constexpr int64_t kSummedFloats = 4 << 20;   // of them in more than one part with sums of its own

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

// Estimated cycles on one thread: what is done once, and for each item of the batch.
struct Cost {
  double once, item;
  double of(int64_t N) const { return once + item * static_cast<double>(N); }
};

// Where there are fewer blocks (or parts of sums) than threads, these are cut further, which
// changes no bits: in forward by columns and filters, in backward-weight by channels and filters.
struct DirectPlan {
  Blocking blocking;
  int64_t unit;  // outputs at whose multiples a block may be cut
  int64_t batch, outputs, blocks;
  int threads;
  int parts;       // of the items, each with sums of its own (backward-weight)
  int64_t shares;  // of a block's columns, or of the channels
  int64_t filters, groups,
      at_once;    // of a group; in all; that are packed (forward) and run at once
  int64_t group;  // floats of a group's packed weights
  int64_t shared, sums, per_thread;  // workspace in floats: once; of all parts; per thread
  Cost cost;
  double cycles;

  int64_t items() const { return batch * blocks; }
  int64_t workspace() const { return shared + sums + threads * per_thread; }
};

// How items of equal work are shared: each by one thread from beginning to end, or, where there are
// too few of them (or of their parts), `together`: every step of some items by all threads.
struct Spread {
  int threads;
  bool together;
  double cycles;
};

// What cutting the work asks of the machine and of the problem.
int64_t l2_bytes();
// Threads that gain from sharing work of so many cycles: what to call them and wait for them costs.
int useful_threads(int threads, double cycles);
double shared_cycles(int threads, double cycles);  // of such work
int summed_parts(int64_t items, double item_cycles, int64_t sums);
// parts: 0 where there are no sums. steps: of an item.
Spread spread(int64_t items, double item_cycles, int parts, int steps, int threads);

// Spectral or winograd: units of all items, in `parts` with sums of their own.
template <class Shape>
struct UnitPlan {
  Shape conv;
  bool need_dx, need_dw;
  int64_t batch;
  int threads;
  bool together;  // see Spread
  int parts;
  // Workspace in floats: for the weights; of each part; of a unit at work, and of its thread.
  int64_t weights, sums, unit, own;
  double transform, back;  // cycles of what is done once: the weights, and what becomes of the sums
  Cost cost;
  double cycles;  // infinite: not possible

  int64_t units() const;
  int64_t items() const { return batch * units(); }
  int64_t workspace() const { return weights + parts * sums + threads * (unit + own); }
  // Beside the items, threads share what is done once.
  void take(const Spread& items, int most) {
    together = items.together;
    threads = useful_threads(most, transform > back ? transform : back);
    if (threads < items.threads) threads = items.threads;
    cycles = items.cycles + shared_cycles(threads, transform) + shared_cycles(threads, back);
  }
};
using SpectralPlan = UnitPlan<SpectralShape>;
using WinogradPlan = UnitPlan<WinogradShape>;
template <>
inline int64_t SpectralPlan::units() const {
  return conv.tiling.units();
}
template <>
inline int64_t WinogradPlan::units() const {
  return conv.units();
}

DirectPlan plan_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass);
SpectralPlan plan_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass);
// Of kForward, kBackwardData or kBackwardWeight.
WinogradPlan plan_winograd(const IsaKernels& isa, const dilconv_problem& p, Pass pass);

// The costs of all passes of a call, by algorithm; infinite: not possible.
struct Costs {
  Cost direct, spectral, winograd;
};

// The algorithm asked for where it is possible, direct where it is not; of auto, the one that is
// never much slower than the fastest, whatever N.
int32_t choose(const dilconv_problem& p, const Costs& costs);

}  // namespace dilconv
#endif  // DILCONV_PLAN_H_
