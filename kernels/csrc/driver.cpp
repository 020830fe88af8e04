// Poses the three passes to the kernels: checks arguments, chooses the cache blocking, allocates the
// workspace and runs the blocks of all batch items over OpenMP threads. Backward-data is forward on
// the gradient with channels and filters swapped and the taps flipped.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "dilconv.h"
#include "dispatch.h"

namespace dilconv {
namespace {

constexpr int64_t kLine = 16;            // floats in a 64-byte cache line
constexpr int64_t kL1Bytes = 24 << 10;   // three quarters of the smallest L1 in use
constexpr int64_t kForwardBlock = 576;   // outputs: a packed row of AtacWorks' layer is 3.9 KB
constexpr int64_t kWeightBlock = 960;    // long enough that summing the lanes costs under 3 %

enum Pass { kForward, kBackwardData, kBackwardWeight };

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

int64_t l2_bytes() {
  static const int64_t bytes = [] {
#ifdef _SC_LEVEL2_CACHE_SIZE
    const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (found >= 128 << 10) return static_cast<int64_t>(found);
#endif
    return static_cast<int64_t>(512 << 10);
  }();
  return bytes;
}

// Widths of one pass: `outputs` columns are cut into blocks of about `target`, equal in size, at
// least one a thread where there are columns enough.
struct Columns {
  int64_t outputs, blocks;
  Columns(int64_t outputs_, int64_t batch, int64_t target, int64_t unit, int threads)
      : outputs(outputs_) {
    blocks = (outputs + target - 1) / target;
    const int64_t wanted = (2 * threads + batch - 1) / std::max<int64_t>(batch, 1);
    if (blocks < wanted) blocks = std::min(wanted, (outputs + unit - 1) / unit);
    blocks = std::max<int64_t>(blocks, 1);
  }
  int64_t width(int64_t unit) const { return round_up((outputs + blocks - 1) / blocks, unit); }
};

// Rows of `channels` channels, as many at a time as `budget` bytes hold.
Blocking choose_blocking(const Taps& taps, int64_t channels, int64_t q_block, int64_t budget) {
  Blocking b;
  b.q_block = q_block;
  b.tap_stride = std::min(taps.d, q_block);
  // An odd number of cache lines: rows spread over the cache sets.
  b.row = round_up((taps.S - 1) * b.tap_stride + q_block, kLine);
  if (b.row / kLine % 2 == 0) b.row += kLine;
  const int64_t fit = budget / (b.row * static_cast<int64_t>(sizeof(float)));
  b.c_block = std::min(channels, std::max<int64_t>(fit, 1));
  return b;
}

// Channels whose taps under one register tile, and their weights, stay in L1 from tile to tile; but
// enough of them that adding to y once a channel block stays below a few per cent of the work.
int64_t channels_in_l1(const Taps& taps) {
  constexpr int64_t kTile = 16 + 6, kSteps = 256;
  const int64_t touched = (taps.S - 1) * std::min<int64_t>(taps.d, kLine) + kTile * taps.S;
  const int64_t fit = kL1Bytes / (touched * static_cast<int64_t>(sizeof(float)));
  return std::max({fit, (kSteps + taps.S - 1) / taps.S, int64_t{1}});
}

struct Free {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float, Free>;

Floats allocate(int64_t floats) {
  void* p = nullptr;
  const size_t bytes = static_cast<size_t>(round_up(std::max<int64_t>(floats, 1), kLine)) * 4;
  return Floats(posix_memalign(&p, 64, bytes) == 0 ? static_cast<float*>(p) : nullptr);
}

bool valid(const dilconv_problem* p) {
  return p && p->N >= 0 && p->C > 0 && p->K > 0 && p->W >= 0 && p->S > 0 && p->d > 0 && p->Q > 0 &&
         p->pad_left >= 0 && p->threads > 0;
}

// One pass, blocked: everything that does not depend on the batch item.
struct Work {
  const DirectKernels* kernels;
  ConvBlock conv;        // forward and backward-data
  WeightBlock weight;    // backward-weight
  int64_t batch, outputs, blocks, q_block;
  int threads;
  int64_t shared, per_thread;  // workspace in floats

  int64_t items() const { return batch * blocks; }
  int64_t workspace() const { return shared + threads * per_thread; }
};

void block_columns(Work& work, const dilconv_problem& p, int64_t outputs, int64_t target) {
  const Columns columns(outputs, p.N, target, work.kernels->q_unit, p.threads);
  work.batch = p.N;
  work.outputs = outputs;
  work.q_block = std::max(columns.width(work.kernels->q_unit), work.kernels->q_unit);
  work.blocks = (outputs + work.q_block - 1) / work.q_block;
  work.threads = static_cast<int>(
      std::max<int64_t>(1, std::min<int64_t>(p.threads, work.items())));
}

Work plan(const DirectKernels* kernels, const dilconv_problem& p, Pass pass) {
  Work work{};
  work.kernels = kernels;
  if (pass == kBackwardWeight) {
    block_columns(work, p, p.Q, kWeightBlock);
    WeightBlock& block = work.weight;
    block.C = p.C, block.K = p.K, block.taps = {p.W, p.S, p.d, p.pad_left};
    block.blocking = choose_blocking(block.taps, p.C, work.q_block, l2_bytes() / 2);
    work.per_thread = round_up(p.K * p.C * p.S, kLine) + round_up(p.K, kLine) +
                      p.K * work.q_block + block.blocking.c_block * block.blocking.row;
    return work;
  }
  ConvBlock& block = work.conv;
  if (pass == kForward) {
    block_columns(work, p, p.Q, kForwardBlock);
    block.C = p.C, block.K = p.K, block.taps = {p.W, p.S, p.d, p.pad_left};
  } else {
    block_columns(work, p, p.W, kForwardBlock);
    block.C = p.K, block.K = p.C, block.taps = {p.Q, p.S, p.d, (p.S - 1) * p.d - p.pad_left};
  }
  block.blocking = choose_blocking(block.taps, block.C, work.q_block, l2_bytes() / 2);
  block.blocking.c_block = std::min(block.blocking.c_block, channels_in_l1(block.taps));
  work.shared = round_up(p.K * p.C * p.S, kLine);
  work.per_thread = round_up(block.blocking.c_block * block.blocking.row, kLine);
  return work;
}

Rows rows_of(const dilconv_operand& t, int64_t item) {
  return t.data ? Rows{t.data + item * t.batch, t.channel} : Rows{};
}

// Every output block is computed by one thread from start to end, so the bits of the result do not
// depend on which thread takes it.
void run_convolution(const Work& work, dilconv_operand x, dilconv_operand relu_of,
                     dilconv_operand residual, float* y, float* workspace) {
  const int64_t items = work.items(), y_item = work.conv.K * work.outputs;
#pragma omp parallel for schedule(dynamic, 1) num_threads(work.threads)
  for (int part = 0; part < work.threads; ++part) {
    float* own = workspace + part * work.per_thread;
    for (int64_t item = items * part / work.threads; item < items * (part + 1) / work.threads;
         ++item) {
      const int64_t n = item / work.blocks, q0 = item % work.blocks * work.q_block;
      ConvBlock block = work.conv;
      block.x = rows_of(x, n);
      block.relu_of = rows_of(relu_of, n);
      block.residual = rows_of(residual, n);
      block.y = y + n * y_item;
      block.y_stride = work.outputs;
      work.kernels->forward(block, q0, std::min(q0 + work.q_block, work.outputs), own);
    }
  }
}

// Each of `threads` parts sums a fixed run of blocks into its own dw, and the parts are added in
// order: the same bits for the same number of threads.
void run_backward_weight(const Work& work, dilconv_operand x, dilconv_operand g,
                         dilconv_operand relu_of, float* dw, float* db, float* workspace) {
  const int64_t items = work.items(), weights = work.weight.K * work.weight.C * work.weight.taps.S;
  const int64_t db_at = round_up(weights, kLine), scratch_at = db_at + round_up(work.weight.K, kLine);
#pragma omp parallel for schedule(dynamic, 1) num_threads(work.threads)
  for (int part = 0; part < work.threads; ++part) {
    float* own = workspace + part * work.per_thread;
    std::memset(own, 0, static_cast<size_t>(scratch_at) * sizeof(float));
    WeightBlock block = work.weight;
    block.dw = own;
    block.db = db ? own + db_at : nullptr;
    for (int64_t item = items * part / work.threads; item < items * (part + 1) / work.threads;
         ++item) {
      const int64_t n = item / work.blocks, q0 = item % work.blocks * work.q_block;
      block.x = rows_of(x, n);
      block.g = rows_of(g, n);
      block.relu_of = rows_of(relu_of, n);
      work.kernels->backward_weight(block, q0, std::min(q0 + work.q_block, work.outputs),
                                    own + scratch_at);
    }
  }
  for (int64_t i = 0; i < weights; ++i) {
    float sum = workspace[i];
    for (int part = 1; part < work.threads; ++part) sum += workspace[part * work.per_thread + i];
    dw[i] = sum;
  }
  for (int64_t k = 0; db && k < work.weight.K; ++k) {
    float sum = workspace[db_at + k];
    for (int part = 1; part < work.threads; ++part)
      sum += workspace[part * work.per_thread + db_at + k];
    db[k] = sum;
  }
}

// The shared opening of every entry point.
int32_t open_pass(int32_t isa, const dilconv_problem* problem, Pass pass, Work* work) {
  int32_t status;
  const DirectKernels* kernels = direct_kernels(isa, &status);
  if (status != DILCONV_OK) return status;
  if (!valid(problem)) return DILCONV_BAD_ARGUMENT;
  *work = plan(kernels, *problem, pass);
  return DILCONV_OK;
}

dilconv_operand relu_operand(const dilconv_problem& p, const float* y) {
  return p.relu ? dilconv_operand{y, p.K * p.Q, p.Q} : dilconv_operand{};
}

}  // namespace
}  // namespace dilconv

using namespace dilconv;

#define DILCONV_EXPORT extern "C" __attribute__((visibility("default")))

DILCONV_EXPORT int64_t dilconv_workspace_bytes(int32_t isa, const dilconv_problem* problem,
                                               int32_t pass) {
  Work work;
  if (pass < kForward || pass > kBackwardWeight) return 0;
  if (open_pass(isa, problem, static_cast<Pass>(pass), &work) != DILCONV_OK) return 0;
  return work.workspace() * static_cast<int64_t>(sizeof(float));
}

DILCONV_EXPORT int32_t dilconv_forward(int32_t isa, const dilconv_problem* problem, const float* x,
                                       const float* w, const float* bias, dilconv_operand residual,
                                       float* y) {
  Work work;
  const int32_t status = open_pass(isa, problem, kForward, &work);
  if (status != DILCONV_OK || problem->N == 0) return status;
  const Floats workspace = allocate(work.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  const dilconv_problem& p = *problem;
  work.kernels->pack_weights(work.conv, {w, p.C * p.S, p.S, 1}, workspace.get());
  work.conv.packed = workspace.get();
  work.conv.bias = bias;
  work.conv.relu = p.relu != 0;
  run_convolution(work, {x, p.x_batch, p.x_channel}, {}, residual, y,
                  workspace.get() + work.shared);
  return DILCONV_OK;
}

DILCONV_EXPORT int32_t dilconv_backward_data(int32_t isa, const dilconv_problem* problem,
                                             dilconv_operand g, const float* y, const float* w,
                                             float* dx) {
  Work work;
  const int32_t status = open_pass(isa, problem, kBackwardData, &work);
  if (status != DILCONV_OK || problem->N == 0) return status;
  const Floats workspace = allocate(work.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  const dilconv_problem& p = *problem;
  work.kernels->pack_weights(work.conv, {w + p.S - 1, p.S, p.C * p.S, -1}, workspace.get());
  work.conv.packed = workspace.get();
  run_convolution(work, g, relu_operand(p, y), {}, dx, workspace.get() + work.shared);
  return DILCONV_OK;
}

DILCONV_EXPORT int32_t dilconv_backward_weight(int32_t isa, const dilconv_problem* problem,
                                               dilconv_operand g, const float* y, const float* x,
                                               float* dw, float* db) {
  Work work;
  const int32_t status = open_pass(isa, problem, kBackwardWeight, &work);
  if (status != DILCONV_OK) return status;
  const dilconv_problem& p = *problem;
  const Floats workspace = allocate(work.workspace());
  if (!workspace) return DILCONV_NO_MEMORY;
  run_backward_weight(work, {x, p.x_batch, p.x_channel}, g, relu_operand(p, y), dw, db,
                      workspace.get());
  return DILCONV_OK;
}
