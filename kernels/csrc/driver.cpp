// The entry points: check the arguments, take the plan, allocate the workspace and run the blocks
// or units of all batch items over OpenMP threads.
#include <algorithm>
#include <cstring>

#include "dilconv.h"
#include "dispatch.h"
#include "plan.h"
#include "run.h"

namespace dilconv {
namespace {

bool valid(const dilconv_problem* p) {
  return p && p->N >= 0 && p->C > 0 && p->K > 0 && p->W >= 0 && p->S > 0 && p->d > 0 && p->Q > 0 &&
         p->pad_left >= 0 && p->threads > 0 && p->dtype >= DILCONV_FLOAT32 &&
         p->dtype <= DILCONV_BFLOAT16;
}

// ------------------------------------------------------------------------------------- direct

template <class T>
int32_t convolve_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                        const DirectPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  const Floats workspace = allocate(plan.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  const DirectKernels<T>& kernels = direct_of<T>(isa);
  ConvBlock<T> conv{};
  conv.C = posed.C, conv.K = posed.K, conv.taps = posed.taps, conv.blocking = plan.blocking;
  conv.bias = t.bias, conv.relu = t.relu, conv.packed = workspace.get();
  WeightView weights = posed.weights;
  weights.data = t.w + posed.first_weight;
  kernels.pack_weights(conv, weights, workspace.get());
  const int parts = free_parts(plan.items(), plan.threads);
  if (!epilogue->open(parts)) return DILCONV_NO_MEMORY;
  run_parts(plan.items(), parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              float* own = workspace.get() + plan.shared + thread * plan.per_thread;
              ConvBlock<T> block = conv;
              for (int64_t item = first; item < last; ++item) {
                const int64_t n = item / plan.blocks, i = item % plan.blocks;
                const int64_t q0 = i * plan.blocking.q_block;
                epilogue->take(part, n, i, plan.blocks);
                set_item(&block, t, n, plan.outputs);
                kernels.forward(block, q0, std::min(q0 + plan.blocking.q_block, plan.outputs), own);
              }
            });
  epilogue->close();
  return DILCONV_OK;
}

// Each part sums a fixed run of blocks into its own dw, and the parts are added in order: the bits
// do not depend on which thread took which part.
template <class T>
int32_t weights_direct(const IsaKernels& isa, const dilconv_problem& p, const DirectPlan& plan,
                       const dilconv_operand& g, const dilconv_operand& relu_of, const T* x,
                       float* dw, Epilogue<T>* epilogue) {
  const Floats workspace = allocate(plan.workspace());
  if (!workspace || !epilogue->open(plan.parts)) return DILCONV_NO_MEMORY;
  const int64_t count = p.K * p.C * p.S;
  float* scratch = workspace.get() + plan.parts * plan.sums;
  run_parts(plan.items(), plan.parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              float* own = workspace.get() + part * plan.sums;
              std::memset(own, 0, static_cast<size_t>(count) * sizeof(float));
              WeightBlock<T> block{};
              block.C = p.C, block.K = p.K, block.taps = {p.W, p.S, p.d, p.pad_left};
              block.blocking = plan.blocking, block.dw = own;
              for (int64_t item = first; item < last; ++item) {
                const int64_t n = item / plan.blocks, i = item % plan.blocks;
                const int64_t q0 = i * plan.blocking.q_block;
                epilogue->take(part, n, i, plan.blocks);
                block.x = {x + n * p.x_batch, p.x_channel};
                block.g = rows_of<T>(g, n);
                block.relu_of = rows_of<T>(relu_of, n);
                direct_of<T>(isa).backward_weight(
                    block, q0, std::min(q0 + plan.blocking.q_block, plan.outputs),
                    scratch + thread * plan.per_thread);
              }
            });
  for (int64_t i = 0; i < count; ++i) {
    float sum = workspace.get()[i];
    for (int part = 1; part < plan.parts; ++part) sum += workspace.get()[part * plan.sums + i];
    dw[i] = sum;
  }
  epilogue->close();
  return DILCONV_OK;
}

// ----------------------------------------------------------------------------------- spectral

void transform_weights(const IsaKernels& isa, const SpectralPlan& plan, const WeightView& weights,
                       float* spectra, float* scratch) {
  const int64_t channels = plan.conv.C;
  const int parts = free_parts(channels, plan.threads);
  run_parts(channels, parts, plan.threads, [&](int thread, int, int64_t first, int64_t last) {
    isa.spectra->weight_spectra(plan.conv, weights, first, last, spectra,
                                scratch + thread * plan.scratch);
  });
}

template <class T>
int32_t convolve_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                          const SpectralPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  const Floats workspace = allocate(plan.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  float* scratch = workspace.get() + plan.spectra;
  WeightView weights = posed.weights;
  weights.data = t.w + posed.first_weight;
  transform_weights(isa, plan, weights, workspace.get(), scratch);
  const int64_t units = plan.conv.tiling.units();
  const int parts = free_parts(plan.items(), plan.threads);
  if (!epilogue->open(parts)) return DILCONV_NO_MEMORY;
  run_parts(plan.items(), parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              SpectralConv<T> conv{};
              static_cast<SpectralShape&>(conv) = plan.conv;
              conv.spectra = workspace.get(), conv.bias = t.bias, conv.relu = t.relu;
              for (int64_t item = first; item < last; ++item) {
                epilogue->take(part, item / units, item % units, units);
                set_item(&conv, t, item / units, conv.outputs);
                spectral_of<T>(isa).forward(conv, item % units, scratch + thread * plan.scratch);
              }
            });
  epilogue->close();
  return DILCONV_OK;
}

// dx (t.y) and dw from one transform of the gradient (t.x); parts are added in order.
template <class T>
int32_t backward_spectral(const IsaKernels& isa, const dilconv_problem& p, const SpectralPlan& plan,
                          const Tensors& t, const T* x, float* dw, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, kBackward);
  const int64_t units = plan.conv.tiling.units();
  const Floats workspace = allocate(plan.workspace());
  if (!workspace || !epilogue->open(plan.parts)) return DILCONV_NO_MEMORY;
  float* sums = workspace.get() + plan.spectra;
  float* scratch = sums + plan.parts * plan.dw_spectrum;
  WeightView weights = posed.weights;
  weights.data = t.w + posed.first_weight;
  if (plan.need_dx) transform_weights(isa, plan, weights, workspace.get(), scratch);
  run_parts(plan.items(), plan.parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              SpectralBackward<T> work{};
              static_cast<SpectralShape&>(work.conv) = plan.conv;
              work.conv.spectra = workspace.get();
              work.need_dx = plan.need_dx, work.need_dw = plan.need_dw;
              work.dw_spectrum = sums + part * plan.dw_spectrum;
              std::memset(work.dw_spectrum, 0,
                          static_cast<size_t>(plan.dw_spectrum) * sizeof(float));
              for (int64_t item = first; item < last; ++item) {
                const int64_t n = item / units;
                epilogue->take(part, n, item % units, units);
                set_item(&work.conv, t, n, work.conv.outputs);
                work.x = {x + n * p.x_batch, p.x_channel};
                spectral_of<T>(isa).backward(work, item % units, scratch + thread * plan.scratch);
              }
            });
  for (int part = 1; part < plan.parts; ++part)
    for (int64_t i = 0; i < plan.dw_spectrum; ++i) sums[i] += sums[part * plan.dw_spectrum + i];
  isa.spectra->weight_gradient(plan.conv, sums, weights, dw + posed.first_weight, scratch);
  epilogue->close();
  return DILCONV_OK;
}

// ----------------------------------------------------------------------------------- winograd

template <class T>
int32_t convolve_winograd(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                          const WinogradPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  const Floats workspace = allocate(plan.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  WeightView weights = posed.weights;
  weights.data = t.w + posed.first_weight;
  isa.winograd_weights->transform_weights(plan.conv, weights, workspace.get());
  const int64_t units = plan.conv.units();
  const int parts = free_parts(plan.items(), plan.threads);
  if (!epilogue->open(parts)) return DILCONV_NO_MEMORY;
  run_parts(plan.items(), parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              float* own = workspace.get() + plan.shared + thread * plan.per_thread;
              WinogradConv<T> conv{};
              static_cast<WinogradShape&>(conv) = plan.conv;
              conv.weights = workspace.get(), conv.bias = t.bias, conv.relu = t.relu;
              for (int64_t item = first; item < last; ++item) {
                epilogue->take(part, item / units, item % units, units);
                set_item(&conv, t, item / units, conv.outputs);
                winograd_of<T>(isa).forward(conv, item % units, own);
              }
            });
  epilogue->close();
  return DILCONV_OK;
}

// As weights_direct: parts are added in order.
template <class T>
int32_t weights_winograd(const IsaKernels& isa, const dilconv_problem& p, const WinogradPlan& plan,
                         const Tensors& t, const T* x, float* dw, Epilogue<T>* epilogue) {
  const Floats workspace = allocate(plan.workspace());
  if (!workspace || !epilogue->open(plan.parts)) return DILCONV_NO_MEMORY;
  float* sums = workspace.get();
  const int64_t units = plan.conv.units();
  run_parts(plan.items(), plan.parts, plan.threads,
            [&](int thread, int part, int64_t first, int64_t last) {
              WinogradGradient<T> work{};
              static_cast<WinogradShape&>(work) = plan.conv;
              work.sums = sums + part * plan.sums;
              std::memset(work.sums, 0, static_cast<size_t>(plan.sums) * sizeof(float));
              for (int64_t item = first; item < last; ++item) {
                const int64_t n = item / units;
                epilogue->take(part, n, item % units, units);
                work.x = {x + n * p.x_batch, p.x_channel};
                work.g = rows_of<T>(t.x, n);
                work.relu_of = rows_of<T>(t.relu_of, n);
                winograd_of<T>(isa).backward_weight(
                    work, item % units, sums + plan.parts * plan.sums + thread * plan.per_thread);
              }
            });
  for (int part = 1; part < plan.parts; ++part)
    for (int64_t i = 0; i < plan.sums; ++i) sums[i] += sums[part * plan.sums + i];
  isa.winograd_weights->weight_gradient(plan.conv, sums, dw);
  epilogue->close();
  return DILCONV_OK;
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
    if (p.algorithm == DILCONV_AUTO || p.algorithm == DILCONV_SPECTRAL)
      spectral = plan_spectral(isa, p, pass);
  }
  Estimates cycles() const {
    Estimates sum{direct[0].cycles, spectral.cycles, winograd[0].cycles};
    if (count == 2) sum.direct += direct[1].cycles, sum.winograd += winograd[1].cycles;
    return sum;
  }
  // The last of the passes is backward-weight, if that is among them.
  const DirectPlan& last_direct() const { return direct[count - 1]; }
  const WinogradPlan& last_winograd() const { return winograd[count - 1]; }
};

// Without dx and dw, nothing else reads the gradient.
template <class T>
int32_t epilogue_only(const dilconv_problem& p, Epilogue<T>* epilogue) {
  constexpr int64_t kColumns = 4096;
  const int64_t shares = p.Q / kColumns + 1, items = p.N * shares;
  const int threads = static_cast<int>(std::max<int64_t>(1, std::min<int64_t>(p.threads, items)));
  const int parts = free_parts(items, threads);
  if (!epilogue->open(parts)) return DILCONV_NO_MEMORY;
  run_parts(items, parts, threads, [&](int, int part, int64_t first, int64_t last) {
    for (int64_t item = first; item < last; ++item)
      epilogue->take(part, item / shares, item % shares, shares);
  });
  epilogue->close();
  return DILCONV_OK;
}

dilconv_operand relu_operand(const dilconv_problem& p, const void* y) {
  return p.relu ? dilconv_operand{y, p.K * p.Q, p.Q} : dilconv_operand{};
}

template <class T>
int32_t forward(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t) {
  Epilogue<T> none(isa, p, {}, {}, nullptr, nullptr);  // forward has it in its kernels
  const Plans plans(isa, p, kForward);
  switch (choose(p, plans.cycles())) {
    case DILCONV_SPECTRAL:
      return convolve_spectral(isa, p, kForward, plans.spectral, t, &none);
    case DILCONV_WINOGRAD:
      return convolve_winograd(isa, p, kForward, plans.winograd[0], t, &none);
  }
  return convolve_direct(isa, p, kForward, plans.direct[0], t, &none);
}

template <class T>
int32_t both_gradients(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t,
                       const T* x, float* dw, Epilogue<T>* epilogue) {
  const Pass pass = !dw ? kBackwardData : !t.y ? kBackwardWeight : kBackward;
  const Plans plans(isa, p, pass);
  const int32_t chosen = choose(p, plans.cycles());
  if (chosen == DILCONV_SPECTRAL)
    return dw ? backward_spectral(isa, p, plans.spectral, t, x, dw, epilogue)
              : convolve_spectral(isa, p, kBackwardData, plans.spectral, t, epilogue);
  const bool direct = chosen == DILCONV_DIRECT;
  int32_t status = DILCONV_OK;
  if (t.y)
    status = direct ? convolve_direct(isa, p, kBackwardData, plans.direct[0], t, epilogue)
                    : convolve_winograd(isa, p, kBackwardData, plans.winograd[0], t, epilogue);
  if (dw && status == DILCONV_OK)
    status = direct ? weights_direct(isa, p, plans.last_direct(), t.x, t.relu_of, x, dw, epilogue)
                    : weights_winograd(isa, p, plans.last_winograd(), t, x, dw, epilogue);
  return status;
}

template <class T>
int32_t backward(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t, const void* x,
                 float* dw, float* db, void* dr) {
  Epilogue<T> epilogue(isa, p, t.x, t.relu_of, db, static_cast<T*>(dr));
  if (p.N > 0 && p.W > 0 && (t.y || dw))
    return both_gradients(isa, p, t, static_cast<const T*>(x), dw, &epilogue);
  if (dw) std::memset(dw, 0, static_cast<size_t>(p.K * p.C * p.S) * sizeof(float));
  return epilogue_only(p, &epilogue);
}

int32_t open_call(int32_t isa, const dilconv_problem* problem, const IsaKernels** kernels) {
  int32_t status;
  *kernels = isa_kernels(isa, &status);
  return status != DILCONV_OK ? status : valid(problem) ? DILCONV_OK : DILCONV_BAD_ARGUMENT;
}

}  // namespace
}  // namespace dilconv

using namespace dilconv;

DILCONV_EXPORT int32_t dilconv_plan(int32_t isa, const dilconv_problem* problem, int32_t pass,
                                    dilconv_plan_report* report) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK) return status;
  if (pass < kForward || pass > kBackward) return DILCONV_BAD_ARGUMENT;
  dilconv_problem auto_problem = *problem;
  auto_problem.algorithm = DILCONV_AUTO;  // estimates of all
  const Plans plans(*kernels, auto_problem, Pass(pass));
  const Estimates cycles = plans.cycles();
  const int32_t chosen = choose(*problem, cycles);
  const SpectralPlan& spectral = plans.spectral;
  int64_t floats = spectral.workspace();
  int threads = spectral.threads;
  if (chosen == DILCONV_DIRECT)
    floats = std::max(plans.direct[0].workspace(), plans.last_direct().workspace()),
    threads = plans.direct[0].threads;
  if (chosen == DILCONV_WINOGRAD)
    floats = std::max(plans.winograd[0].workspace(), plans.last_winograd().workspace()),
    threads = plans.winograd[0].threads;
  const Tiling& t = spectral.conv.tiling;
  const Blocking& b = plans.direct[0].blocking;
  const WinogradShape& w = plans.winograd[0].conv;
  *report = {chosen,        threads,           floats * int64_t{sizeof(float)},
             cycles.direct, cycles.spectral,   cycles.winograd,
             b.q_block,     b.c_block,         spectral.conv.table.length,
             t.hop,         t.parts,           t.phases,
             w.hop(),       w.phases * w.tiles};
  return DILCONV_OK;
}

DILCONV_EXPORT int32_t dilconv_forward(int32_t isa, const dilconv_problem* problem, const void* x,
                                       const float* w, const float* bias, dilconv_operand residual,
                                       void* y) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK || problem->N == 0) return status;
  const dilconv_problem& p = *problem;
  const Tensors t{{x, p.x_batch, p.x_channel}, {}, residual, w, bias, p.relu != 0, y};
  return p.dtype == DILCONV_BFLOAT16 ? forward<Bf16>(*kernels, p, t)
                                     : forward<float>(*kernels, p, t);
}

DILCONV_EXPORT int32_t dilconv_backward(int32_t isa, const dilconv_problem* problem,
                                        dilconv_operand g, const void* y, const void* x,
                                        const float* w, void* dx, float* dw, float* db, void* dr) {
  const IsaKernels* kernels;
  const int32_t status = open_call(isa, problem, &kernels);
  if (status != DILCONV_OK) return status;
  const dilconv_problem& p = *problem;
  const Tensors t{g, relu_operand(p, y), {}, w, nullptr, false, dx};
  return p.dtype == DILCONV_BFLOAT16 ? backward<Bf16>(*kernels, p, t, x, dw, db, dr)
                                     : backward<float>(*kernels, p, t, x, dw, db, dr);
}
