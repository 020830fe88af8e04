// Runs direct sums: blocks of all items over threads.
#include <cstring>

#include "run.h"

namespace dilconv {
namespace {

// What one thread takes: of a block (or of a part of them, for dw) a group of filters and a share
// of the columns (or channels).
struct Piece {
  int64_t item, group;
  Share share;
};

Piece piece_of(int64_t number, int64_t groups, int64_t shares) {
  const int64_t piece = number % (groups * shares);
  return {number / (groups * shares), piece / shares, Share{piece % shares, shares}};
}

template <class T>
class DirectForward {
 public:
  DirectForward(const IsaKernels& isa, const DirectPlan& plan, const Posed& posed, const Tensors& t,
                float* workspace)
      : kernels_(direct_of<T>(isa)), plan_(plan), posed_(posed), t_(t), workspace_(workspace) {}

  // Packs groups [first, first + count), tile by tile.
  void pack(int64_t first, int64_t count) const {
    const int64_t tiles = kernels_.layout(posed_.C, plan_.filters, posed_.taps).tiles;
    const double cycles = 2.0 * static_cast<double>(count * plan_.group);
    run_shares(count * tiles, cycles, plan_.threads, [&](int, Share share) {
      for (int64_t i = share.begin(count * tiles); i < share.end(count * tiles); ++i) {
        const int64_t group = first + i / tiles;
        WeightView weights = posed_.weights;
        weights.data = t_.w + posed_.first_weight + group * plan_.filters * posed_.weights.k_stride;
        kernels_.pack_weights(group_of(group), weights, Share{i % tiles, tiles}, packed(group));
      }
    });
  }

  void run(const Piece& piece, int thread) const {
    const Blocking& b = plan_.blocking;
    const int64_t n = piece.item / plan_.blocks, units = b.q_block / plan_.unit;
    const int64_t q0 = piece.item % plan_.blocks * b.q_block;
    const int64_t begin = q0 + piece.share.begin(units) * plan_.unit,
                  end = std::min(q0 + piece.share.end(units) * plan_.unit, plan_.outputs);
    if (begin >= end) return;
    const int64_t k0 = piece.group * plan_.filters;
    ConvBlock<T> conv = group_of(piece.group);
    set_item(&conv, t_, n, posed_.K, plan_.outputs);
    conv.y += k0 * plan_.outputs;
    if (conv.residual.data) conv.residual.data += k0 * conv.residual.stride;
    kernels_.forward(conv, begin, end, workspace_ + plan_.shared + thread * plan_.per_thread);
  }

 private:
  float* packed(int64_t group) const { return workspace_ + group % plan_.at_once * plan_.group; }

  ConvBlock<T> group_of(int64_t group) const {
    const int64_t k0 = group * plan_.filters;
    ConvBlock<T> conv{};
    conv.C = posed_.C, conv.K = std::min(plan_.filters, posed_.K - k0);
    conv.taps = posed_.taps, conv.blocking = plan_.blocking, conv.packed = packed(group);
    conv.bias = t_.bias ? t_.bias + k0 : nullptr, conv.relu = t_.relu;
    return conv;
  }

  const DirectKernels<T>& kernels_;
  const DirectPlan& plan_;
  const Posed& posed_;
  const Tensors& t_;
  float* workspace_;
};

}  // namespace

template <class T>
int32_t convolve_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                        const DirectPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  const Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.blocks)) return DILCONV_NO_MEMORY;
  const DirectForward<T> forward(isa, plan, posed, t, workspace.get());
  for (int64_t first = 0; first < plan.groups; first += plan.at_once) {
    const int64_t count = std::min(plan.at_once, plan.groups - first);
    forward.pack(first, count);
    run_items(plan.items() * count * plan.shares, plan.threads,
              [&](int thread, int64_t i, int64_t last) {
                for (; i < last; ++i) {
                  Piece piece = piece_of(i, count, plan.shares);
                  if (first + piece.group + piece.share.number == 0) epilogue->take(piece.item);
                  piece.group += first;
                  forward.run(piece, thread);
                }
              });
  }
  epilogue->close();
  return DILCONV_OK;
}

// Each part sums a fixed run of blocks into its own dw, and the parts are added in order: the bits
// do not depend on which thread took which part, or which of its filters and channels.
template <class T>
int32_t weights_direct(const IsaKernels& isa, const dilconv_problem& p, const DirectPlan& plan,
                       const Tensors& t, Epilogue<T>* epilogue) {
  const Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.blocks)) return DILCONV_NO_MEMORY;
  const int64_t filter = p.C * p.S, count = p.K * filter;
  const int64_t apart = plan.parts > 1 ? plan.sums / (plan.parts - 1) : 0;
  run_tasks(plan.parts * plan.groups * plan.shares, plan.threads, [&](int thread, int64_t task) {
    const Piece piece = piece_of(task, plan.groups, plan.shares);
    const int64_t k0 = piece.group * plan.filters, k1 = std::min(k0 + plan.filters, p.K);
    const int64_t c0 = piece.share.begin(p.C), c1 = piece.share.end(p.C), part = piece.item;
    WeightBlock<T> block{};
    block.C = c1 - c0, block.K = k1 - k0, block.taps = {p.W, p.S, p.d, p.pad_left};
    block.blocking = plan.blocking, block.dw_filter = filter;
    block.dw = (part ? workspace.get() + (part - 1) * apart : t.dw) + k0 * filter + c0 * p.S;
    for (int64_t k = 0; k < block.K; ++k)
      std::memset(block.dw + k * filter, 0, static_cast<size_t>(block.C * p.S) * sizeof(float));
    const Share run{part, plan.parts};
    for (int64_t item = run.begin(plan.items()); item < run.end(plan.items()); ++item) {
      const int64_t n = item / plan.blocks, q0 = item % plan.blocks * plan.blocking.q_block;
      if (piece.group + piece.share.number == 0) epilogue->take(item);
      block.x = rows_of<T>(t.multiplied, n), block.x.data += c0 * block.x.stride;
      block.g = rows_of<T>(t.x, n), block.g.data += k0 * block.g.stride;
      block.relu_of = rows_of<T>(t.relu_of, n);
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
