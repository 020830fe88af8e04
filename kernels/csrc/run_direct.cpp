// Runs direct sums: blocks of all items over threads.
#include <cstring>

#include "run.h"

namespace dilconv {
namespace {

// The filters of a convolution that are packed at a time.
template <class T>
struct Filters {
  int64_t first;
  ConvBlock<T> conv;
};

template <class T>
void convolve_filters(const IsaKernels& isa, const DirectPlan& plan, const Tensors& t, int64_t K,
                      const Filters<T>& filters, Workspace* workspace, Epilogue<T>* epilogue) {
  const Blocking& b = plan.blocking;
  const int64_t units = b.q_block / plan.unit;
  run_items(plan.items() * plan.shares, plan.threads, [&](int thread, int64_t i, int64_t last) {
    float* own = workspace->get() + plan.shared + thread * plan.per_thread;
    ConvBlock<T> block = filters.conv;
    for (; i < last; ++i) {
      const int64_t item = i / plan.shares, n = item / plan.blocks;
      const Share share{i % plan.shares, plan.shares};
      const int64_t q0 = item % plan.blocks * b.q_block;
      if (share.number == 0) epilogue->take(item);
      set_item(&block, t, n, K, plan.outputs);
      block.y += filters.first * plan.outputs;
      if (block.residual.data) block.residual.data += filters.first * block.residual.stride;
      const int64_t begin = q0 + share.begin(units) * plan.unit,
                    end = std::min(q0 + share.end(units) * plan.unit, plan.outputs);
      if (begin < end) direct_of<T>(isa).forward(block, begin, end, own);
    }
  });
}

}  // namespace

template <class T>
int32_t convolve_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                        const DirectPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.blocks)) return DILCONV_NO_MEMORY;
  ConvBlock<T> conv{};
  conv.C = posed.C, conv.taps = posed.taps, conv.blocking = plan.blocking;
  conv.relu = t.relu, conv.packed = workspace.get();
  for (int64_t k0 = 0; k0 < posed.K; k0 += plan.filters) {
    conv.K = std::min(plan.filters, posed.K - k0);
    conv.bias = t.bias ? t.bias + k0 : nullptr;
    WeightView weights = posed.weights;
    weights.data = t.w + posed.first_weight + k0 * weights.k_stride;
    run_shares(plan.tiles, 2.0 * static_cast<double>(plan.shared), plan.threads,
               [&](int, Share share) {
                 direct_of<T>(isa).pack_weights(conv, weights, share, workspace.get());
               });
    convolve_filters<T>(isa, plan, t, posed.K, {k0, conv}, &workspace, epilogue);
    epilogue->close();
  }
  return DILCONV_OK;
}

// Each part sums a fixed run of blocks into its own dw, and the parts are added in order: the bits
// do not depend on which thread took which part, or which of its filters.
template <class T>
int32_t weights_direct(const IsaKernels& isa, const dilconv_problem& p, const DirectPlan& plan,
                       const Tensors& t, Epilogue<T>* epilogue) {
  constexpr int64_t kTile = 4;  // of filters: what one thread takes is a number of them
  Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.blocks)) return DILCONV_NO_MEMORY;
  const int64_t filter = p.C * p.S, count = p.K * filter;
  const int64_t apart = plan.parts > 1 ? plan.sums / (plan.parts - 1) : 0;
  const int64_t tiles = (p.K + kTile - 1) / kTile;
  run_tasks(plan.parts * plan.shares, plan.threads, [&](int thread, int64_t task) {
    const int64_t part = task / plan.shares;
    const Share run{part, plan.parts}, share{task % plan.shares, plan.shares};
    const int64_t k0 = share.begin(tiles) * kTile, k1 = std::min(share.end(tiles) * kTile, p.K);
    WeightBlock<T> block{};
    block.C = p.C, block.K = k1 - k0, block.taps = {p.W, p.S, p.d, p.pad_left};
    block.blocking = plan.blocking;
    block.dw = (part ? workspace.get() + (part - 1) * apart : t.dw) + k0 * filter;
    std::memset(block.dw, 0, static_cast<size_t>((k1 - k0) * filter) * sizeof(float));
    for (int64_t item = run.begin(plan.items()); item < run.end(plan.items()); ++item) {
      const int64_t n = item / plan.blocks, q0 = item % plan.blocks * plan.blocking.q_block;
      if (share.number == 0) epilogue->take(item);
      block.x = rows_of<T>(t.multiplied, n);
      block.g = rows_of<T>(t.x, n), block.relu_of = rows_of<T>(t.relu_of, n);
      block.g.data += k0 * block.g.stride;
      if (block.relu_of.data) block.relu_of.data += k0 * block.relu_of.stride;
      direct_of<T>(isa).backward_weight(block, q0,
                                        std::min(q0 + plan.blocking.q_block, plan.outputs),
                                        workspace.get() + plan.sums + thread * plan.per_thread);
    }
  });
  add_parts(t.dw, workspace.get(), count, apart, plan.parts, plan.threads);
  epilogue->close();
  return DILCONV_OK;
}

#define DILCONV_RUN(T)                                                                          \
  template int32_t convolve_direct(const IsaKernels&, const dilconv_problem&, Pass,             \
                                   const DirectPlan&, const Tensors&, Epilogue<T>*);            \
  template int32_t weights_direct(const IsaKernels&, const dilconv_problem&, const DirectPlan&, \
                                  const Tensors&, Epilogue<T>*);
DILCONV_RUN(float)
DILCONV_RUN(Bf16)
#undef DILCONV_RUN

}  // namespace dilconv
