// The entry points: check the arguments, take the plan and run it. Nothing throws past them.
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <limits>

#include "dilconv.h"
#include "dispatch.h"
#include "fft_tables.h"
#include "plan.h"
#include "run.h"

namespace dilconv {
namespace {

// ------------------------------------------------------------------------------------- checks

// Whether the product of sizes, and what is computed from it, stays far from overflow.
bool countable(std::initializer_list<int64_t> sizes) {
  constexpr int64_t kMost = int64_t{1} << 48;
  int64_t product = 1;
  for (const int64_t size : sizes)
    if (__builtin_mul_overflow(product, std::max<int64_t>(size, 1), &product) || product > kMost)
      return false;
  return true;
}

bool valid_strides(const dilconv_problem& p, int64_t batch, int64_t channel, int64_t channels) {
  return batch >= 0 && channel >= 0 && countable({p.N, batch}) && countable({channels, channel});
}
bool valid_operand(const dilconv_problem& p, const dilconv_operand& t) {
  return !t.data || valid_strides(p, t.batch, t.channel, p.K);
}

bool valid(const dilconv_problem* p) {
  if (!p || p->N < 0 || p->C < 1 || p->K < 1 || p->W < 0 || p->S < 1 || p->d < 1 || p->Q < 1)
    return false;
  const bool words = p->dtype >= DILCONV_FLOAT32 && p->dtype <= DILCONV_BFLOAT16 &&
                     p->algorithm >= DILCONV_AUTO && p->algorithm <= DILCONV_WINOGRAD &&
                     (p->relu == 0 || p->relu == 1) && p->threads >= 1;
  const int32_t length = p->fft_length;
  const bool tiles = length == 0 || (length >= 1 << kFftShortest && length <= 1 << kFftLongest &&
                                     (length & (length - 1)) == 0);
  return words && tiles && p->pad_left >= 0 && countable({p->pad_left}) &&
         countable({p->S, p->d}) && countable({p->K, p->C, p->S}) &&
         countable({p->N, p->C, p->W}) && countable({p->N, p->K, p->Q}) &&
         valid_strides(*p, p->x_batch, p->x_channel, p->C);
}

// More would be refused by the operating system, and no machine has them.
dilconv_problem with_threads_limited(dilconv_problem p) {
  constexpr int32_t kMost = 1024;
  p.threads = std::min(p.threads, kMost);
  return p;
}

int32_t open_call(int32_t isa, const dilconv_problem* problem, const IsaKernels** kernels) {
  int32_t status;
  *kernels = isa_kernels(isa, &status);
  return status != DILCONV_OK ? status : valid(problem) ? DILCONV_OK : DILCONV_BAD_ARGUMENT;
}

// The status of a call that may run out of memory.
template <class Call>
int32_t caught(const Call& call) {
  try {
    return call();
  } catch (...) {
    return DILCONV_NO_MEMORY;
  }
}

// --------------------------------------------------------------------------------- whole calls

// The plans of all algorithms for what a call computes; of direct and winograd, by pass.
struct Plans {
  DirectPlan direct[2];
  WinogradPlan winograd[2];
  SpectralPlan spectral{};
  int count;

  Plans(const IsaKernels& isa, const dilconv_problem& p, Pass pass)
      : count(pass == kBackward ? 2 : 1) {
    const Pass of[] = {pass == kBackward ? kBackwardData : pass, kBackwardWeight};
    for (int i = 0; i < count; ++i) {
      direct[i] = plan_direct(isa, p, of[i]);
      winograd[i] = plan_winograd(isa, p, of[i]);
    }
    spectral.cost.once = spectral.cycles = std::numeric_limits<double>::infinity();
    if (p.algorithm == DILCONV_AUTO || p.algorithm == DILCONV_SPECTRAL)
      spectral = plan_spectral(isa, p, pass);
  }
  Costs costs() const {
    Costs sum{direct[0].cost, spectral.cost, winograd[0].cost};
    const auto add = [](Cost* to, const Cost& more) {
      to->once += more.once, to->item += more.item;
    };
    if (count == 2) add(&sum.direct, direct[1].cost), add(&sum.winograd, winograd[1].cost);
    return sum;
  }
  // Of all passes, on the problem's threads.
  double direct_cycles() const { return direct[0].cycles + (count == 2 ? direct[1].cycles : 0); }
  double winograd_cycles() const {
    return winograd[0].cycles + (count == 2 ? winograd[1].cycles : 0);
  }
  // The last of the passes is backward-weight, if that is among them.
  const DirectPlan& last_direct() const { return direct[count - 1]; }
  const WinogradPlan& last_winograd() const { return winograd[count - 1]; }
};

// Without dx and dw, nothing else reads the gradient.
template <class T>
int32_t epilogue_only(const dilconv_problem& p, Epilogue<T>* epilogue) {
  constexpr int64_t kColumns = 4096;
  const int64_t shares = p.Q / kColumns + 1;
  if (!epilogue->open(shares)) return DILCONV_NO_MEMORY;
  const double cycles = static_cast<double>(p.N * p.K) * static_cast<double>(p.Q);
  run_items(p.N * shares, useful_threads(p.threads, cycles), [&](int, int64_t first, int64_t last) {
    for (int64_t item = first; item < last; ++item) epilogue->take(item);
  });
  epilogue->close();
  return DILCONV_OK;
}

dilconv_operand relu_operand(const dilconv_problem& p, const void* y) {
  return p.relu ? dilconv_operand{y, p.K * p.Q, p.Q} : dilconv_operand{};
}

template <class T>
int32_t forward(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t) {
  Epilogue<T> none(isa, p, t, nullptr, nullptr);  // forward has it in its kernels
  const Plans plans(isa, p, kForward);
  switch (choose(p, plans.costs())) {
    case DILCONV_SPECTRAL:
      return run_spectral(isa, p, kForward, plans.spectral, t, &none);
    case DILCONV_WINOGRAD:
      return run_winograd(isa, p, kForward, plans.winograd[0], t, &none);
  }
  return convolve_direct(isa, p, kForward, plans.direct[0], t, &none);
}

template <class T>
int32_t both_gradients(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t,
                       Epilogue<T>* epilogue) {
  const Pass pass = !t.dw ? kBackwardData : !t.y ? kBackwardWeight : kBackward;
  const Plans plans(isa, p, pass);
  const int32_t chosen = choose(p, plans.costs());
  if (chosen == DILCONV_SPECTRAL) return run_spectral(isa, p, pass, plans.spectral, t, epilogue);
  const bool direct = chosen == DILCONV_DIRECT;
  int32_t status = DILCONV_OK;
  if (t.y)
    status = direct ? convolve_direct(isa, p, kBackwardData, plans.direct[0], t, epilogue)
                    : run_winograd(isa, p, kBackwardData, plans.winograd[0], t, epilogue);
  if (t.dw && status == DILCONV_OK)
    status = direct ? weights_direct(isa, p, plans.last_direct(), t, epilogue)
                    : run_winograd(isa, p, kBackwardWeight, plans.last_winograd(), t, epilogue);
  return status;
}

template <class T>
int32_t backward(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t, float* db,
                 void* dr) {
  Epilogue<T> epilogue(isa, p, t, db, static_cast<T*>(dr));
  if (p.N > 0 && p.W > 0 && (t.y || t.dw)) return both_gradients(isa, p, t, &epilogue);
  if (t.dw) std::memset(t.dw, 0, static_cast<size_t>(p.K * p.C * p.S) * sizeof(float));
  if (p.N > 0) return epilogue_only(p, &epilogue);
  if (db) std::fill(db, db + p.K, 0.0f);
  return DILCONV_OK;
}

dilconv_plan_report report_of(const Plans& plans, const dilconv_problem& p) {
  const int32_t chosen = choose(p, plans.costs());
  const SpectralPlan& spectral = plans.spectral;
  int64_t floats = spectral.workspace();
  int threads = spectral.threads;
  if (chosen == DILCONV_DIRECT)
    floats = std::max(plans.direct[0].workspace(), plans.last_direct().workspace()),
    threads = std::max(plans.direct[0].threads, plans.last_direct().threads);
  if (chosen == DILCONV_WINOGRAD)
    floats = std::max(plans.winograd[0].workspace(), plans.last_winograd().workspace()),
    threads = std::max(plans.winograd[0].threads, plans.last_winograd().threads);
  const Tiling& t = spectral.conv.tiling;
  const Blocking& b = plans.direct[0].blocking;
  const WinogradShape& w = plans.winograd[0].conv;
  return {chosen,
          threads,
          floats * int64_t{sizeof(float)},
          plans.direct_cycles(),
          spectral.cycles,
          plans.winograd_cycles(),
          b.q_block,
          b.c_block,
          spectral.conv.table.length,
          t.hop,
          t.parts,
          t.phases,
          w.hop(),
          w.phases * w.tiles};
}

}  // namespace
}  // namespace dilconv

using namespace dilconv;

DILCONV_EXPORT int32_t dilconv_plan(int32_t isa, const dilconv_problem* problem, int32_t pass,
                                    dilconv_plan_report* report) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK) return status;
  if (pass < kForward || pass > kBackward || !report) return DILCONV_BAD_ARGUMENT;
  return caught([&] {
    dilconv_problem all = with_threads_limited(*problem);
    all.algorithm = DILCONV_AUTO;  // estimates of all
    *report = report_of(Plans(*kernels, all, Pass(pass)), *problem);
    return DILCONV_OK;
  });
}

DILCONV_EXPORT int32_t dilconv_forward(int32_t isa, const dilconv_problem* problem, const void* x,
                                       const float* w, const float* bias, dilconv_operand residual,
                                       void* y) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK) return status;
  const dilconv_problem p = with_threads_limited(*problem);
  if (!valid_operand(p, residual)) return DILCONV_BAD_ARGUMENT;
  if (p.N == 0) return DILCONV_OK;
  if (!w || !y || (!x && p.W > 0)) return DILCONV_BAD_ARGUMENT;
  const Tensors t{{x, p.x_batch, p.x_channel}, {}, residual, w, bias, p.relu != 0, y, {}, nullptr};
  return caught([&] {
    return p.dtype == DILCONV_BFLOAT16 ? forward<Bf16>(*kernels, p, t)
                                       : forward<float>(*kernels, p, t);
  });
}

DILCONV_EXPORT int32_t dilconv_backward(int32_t isa, const dilconv_problem* problem,
                                        dilconv_operand g, const void* y, const void* x,
                                        const float* w, void* dx, float* dw, float* db, void* dr) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK) return status;
  const dilconv_problem p = with_threads_limited(*problem);
  const bool reads = p.N > 0 && p.W > 0;
  if (!valid_operand(p, g) || (p.N > 0 && (!g.data || (p.relu && !y))) ||
      (reads && ((dx && !w) || (dw && !x))))
    return DILCONV_BAD_ARGUMENT;
  const Tensors t{g,  relu_operand(p, y),          {}, w, nullptr, false,
                  dx, {x, p.x_batch, p.x_channel}, dw};
  return caught([&] {
    return p.dtype == DILCONV_BFLOAT16 ? backward<Bf16>(*kernels, p, t, db, dr)
                                       : backward<float>(*kernels, p, t, db, dr);
  });
}

DILCONV_EXPORT int64_t dilconv_release_memory(void) { return release_kept_memory(); }
