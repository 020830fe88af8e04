// Direct dilated convolution, the batch-reduce-GEMM blocking of arXiv 2104.08002 in vector types.
//
//   for each block of q_block outputs                 (the driver's parallel loop)
//     for each block of c_block channels
//       for the inside and the ends of the block      x is read where it lies, or from packed rows
//         for each tile of KR filters                 its packed weights stay in L1
//           for each tile of VR vectors of outputs    KR*VR accumulators stay in registers
//             for each channel, tap: acc[k][v] += w[k] * x[v]
//
// Packing settles zero padding and the ReLU mask, and brings rows together that would share few
// sets of L1 or fill its TLB; it costs as much as 30 multiply-adds a float, so the inside goes
// without. Either way x is asked for ahead of its use: the rows are too many and the runs too short
// for the hardware's prefetching.
//
// Register budget (16 registers): KR*VR accumulators, VR inputs or KR weights, 1 other. Tiles:
// 4x3, 3x4, 2x6, 1x12: two FMAs a cycle of latency 4 need 8 independent sums, 12 leave slack, and
// 7 or 8 loads for 12 FMAs (13 for one filter) keep below the two loads a cycle.
// With 32 registers: 8x3, 7x3, 6x4, 5x4, 4x6, 3x6, 2x12, 1x12. Without fused multiply-add a product
// takes a register too: 5x2, 4x2, 3x3, 2x4, 1x12.
// Cache budget: a packed block of x takes at most half of L2; one filter tile's weights
// (KR*C*S floats) stream from L1 or L2 at 4 bytes a cycle.
#include "backward_weight.h"
#include "kernels.h"
#include "rows.h"
#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr bool kFused = kLanes > 4;  // multiply-add is one instruction
constexpr int kFiltersMost = kManyRegisters ? 8 : kFused ? 4 : 5;
constexpr int vectors_of(int filters) {
  if (kManyRegisters) return filters <= 2 ? 12 : filters <= 4 ? 6 : filters <= 6 ? 4 : 3;
  if (!kFused && filters > 1) return filters == 2 ? 4 : filters == 3 ? 3 : 2;
  return 12 / filters;
}
// Every tile's number of vectors divides it.
constexpr int64_t kOutputUnit = 12 * kLanes;

// The longer of the two reduction loops is the inner one.
bool taps_inside(int64_t channels, int64_t taps) { return taps >= channels || taps >= 8; }

void pack_weights(const ConvBlock& p, const WeightView& w, float* packed) {
  const Split channel_blocks(p.C, p.blocking.c_block);
  const Split tiles(p.K, kFiltersMost);
  for (int64_t cb = 0; cb < channel_blocks.parts; ++cb) {
    const int64_t c0 = channel_blocks.begin(cb), channels = channel_blocks.begin(cb + 1) - c0;
    const bool inside = taps_inside(channels, p.taps.S);
    const int64_t outer = inside ? channels : p.taps.S, inner = inside ? p.taps.S : channels;
    const int64_t outer_stride = inside ? w.c_stride : w.s_stride;
    const int64_t inner_stride = inside ? w.s_stride : w.c_stride;
    for (int64_t tile = 0; tile < tiles.parts; ++tile)
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i)
          for (int64_t k = tiles.begin(tile); k < tiles.begin(tile + 1); ++k)
            *packed++ =
                w.data[k * w.k_stride + c0 * w.c_stride + o * outer_stride + i * inner_stride];
  }
}

// ---------------------------------------------------------------------------------- forward

// The reduction of one tile: `outer` x `inner` steps through the rows.
struct Reduction {
  int64_t outer, inner, outer_stride, inner_stride;
};

template <int KR, int VR>
DILCONV_INLINE void multiply(const Reduction& r, const float* x, const float* w,
                             Vec (&acc)[KR][VR]) {
  for (int64_t o = 0; o < r.outer; ++o, x += r.outer_stride) {
    const float* at = x;
#pragma GCC unroll 4
    for (int64_t i = 0; i < r.inner; ++i, at += r.inner_stride, w += KR) {
      if constexpr (VR <= KR) {
        Vec in[VR];
        for (int v = 0; v < VR; ++v) in[v] = load(at + v * kLanes);
        for (int k = 0; k < KR; ++k)
          for (int v = 0; v < VR; ++v) acc[k][v] += w[k] * in[v];
      } else {
        Vec weight[KR];
        for (int k = 0; k < KR; ++k) weight[k] = splat(w[k]);
        for (int v = 0; v < VR; ++v) {
          const Vec in = load(at + v * kLanes);
          for (int k = 0; k < KR; ++k) acc[k][v] += weight[k] * in;
        }
      }
    }
  }
}

// Where a tile of filters goes: pointers at its first filter and output. Passed by value: a vector
// store may alias anything that is not the function's own.
struct Output {
  float* y;
  int64_t stride;
  const float* bias;  // these two may be null, and are but in the last channel block
  const float* residual;
  int64_t residual_stride;
  bool add, relu;  // add: to what earlier channel blocks left
};

// What will be read soon: `rows` rows that advance with the outputs.
struct Ahead {
  const float* x;
  int64_t rows, stride;
};

// y[i] = act(sums[i] + ...) for i in [0, columns): the ragged end of a row.
void write_columns(const Output& out, const float* sums, const float* residual, int64_t columns,
                   float* y) {
  for (int64_t i = 0; i < columns; ++i) {
    float sum = sums[i];
    if (out.add) sum += y[i];
    if (residual) sum += residual[i];
    y[i] = out.relu ? relu(sum) : sum;
  }
}

// Row k of a tile at output q, `columns` of which are left.
template <int VR>
DILCONV_INLINE void write_row(const Output& out, int k, int64_t q, int64_t columns,
                              Vec (&sum)[VR]) {
  float* y = out.y + k * out.stride + q;
  const float* residual = out.residual ? out.residual + k * out.residual_stride + q : nullptr;
  if (out.bias)
    for (int v = 0; v < VR; ++v) sum[v] += out.bias[k];
  if (columns < VR * kLanes) {
    float sums[VR * kLanes];
    for (int v = 0; v < VR; ++v) store(sums + v * kLanes, sum[v]);
    return write_columns(out, sums, residual, columns, y);
  }
  if (out.add)
    for (int v = 0; v < VR; ++v) sum[v] += load(y + v * kLanes);
  if (residual)
    for (int v = 0; v < VR; ++v) sum[v] += load(residual + v * kLanes);
  if (out.relu)
    for (int v = 0; v < VR; ++v) sum[v] = relu(sum[v]);
  for (int v = 0; v < VR; ++v) store(y + v * kLanes, sum[v]);
}

template <int KR>
void filter_tile(Reduction r, Output out, Ahead ahead, const float* x, const float* w,
                 int64_t columns) {
  constexpr int VR = vectors_of(KR);
  for (int64_t q = 0; q < columns; q += VR * kLanes) {
    for (int64_t row = 0; row < ahead.rows; ++row)
#pragma GCC unroll 12
      for (int64_t at = 0; at < VR * kLanes; at += kLine)
        __builtin_prefetch(ahead.x + row * ahead.stride + q + at);
    Vec acc[KR][VR];
#pragma GCC unroll 12
    for (int k = 0; k < KR; ++k)
      for (int v = 0; v < VR; ++v) acc[k][v] = Vec{};
    multiply<KR, VR>(r, x + q, w, acc);
#pragma GCC unroll 12
    for (int k = 0; k < KR; ++k) write_row<VR>(out, k, q, columns - q, acc[k]);
  }
}

template <int KR>
void run_filter_tile(int64_t filters, const Reduction& r, const Output& out, const Ahead& ahead,
                     const float* x, const float* w, int64_t columns) {
  if (filters == KR) return filter_tile<KR>(r, out, ahead, x, w, columns);
  if constexpr (KR > 1) run_filter_tile<KR - 1>(filters, r, out, ahead, x, w, columns);
}

// Channels [c0, c1) for outputs [q0, q1) of every filter.
struct Part {
  int64_t c0, c1, q0, q1;
};

// Rows in place: the first tile of filters fetches x some tiles ahead of itself, into L1. Packed
// rows: every tile of filters fetches its share of what the next block will pack.
Ahead ahead_of(const ConvBlock& p, const Part& part, const Source& from, bool packed,
               const Split& tiles, int64_t tile) {
  const int64_t channels = part.c1 - part.c0, last_tap = p.taps.S - 1;
  if (!packed)
    return {from.x + last_tap * from.tap + 4 * kLine, tile == 0 ? channels : 0, from.row};
  const int64_t c0 = part.c0 + channels * tile / tiles.parts;
  const int64_t c1 = part.c0 + channels * (tile + 1) / tiles.parts;
  const Source next = in_place(p.taps, p.x, c0, part.q0 + p.blocking.q_block);
  return {next.x + last_tap * next.tap, c1 - c0, next.row};
}

void filters(const ConvBlock& p, const Part& part, const Source& from, bool packed,
             const float* w) {
  const int64_t channels = part.c1 - part.c0, S = p.taps.S;
  const Reduction r = taps_inside(channels, S) ? Reduction{channels, S, from.row, from.tap}
                                               : Reduction{S, channels, from.tap, from.row};
  const bool last = part.c1 == p.C;
  const Split tiles(p.K, kFiltersMost);
  for (int64_t tile = 0; tile < tiles.parts; ++tile) {
    const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
    Output out{};
    out.y = p.y + k0 * p.y_stride + part.q0, out.stride = p.y_stride;
    out.add = part.c0 > 0, out.relu = last && p.relu;
    if (last && p.bias) out.bias = p.bias + k0;
    if (last && p.residual.data) out.residual = p.residual.data + k0 * p.residual.stride + part.q0;
    out.residual_stride = p.residual.stride;
    const Ahead ahead = ahead_of(p, part, from, packed, tiles, tile);
    run_filter_tile<kFiltersMost>(filters, r, out, ahead, from.x, w, part.q1 - part.q0);
    w += filters * channels * S;
  }
}

// Whether more than `kWays` of n pieces of a line or two, `stride` apart, fall on the same sets of
// an L1 that repeats every 4 KB.
bool collide(int64_t n, int64_t stride) {
  constexpr int64_t kWays = 6, kPeriod = 1024, kNear = 2 * kLine;
  for (int64_t m = 1; m * kWays < n; ++m) {
    const int64_t apart = m * stride % kPeriod;
    if (m * stride > kNear && (apart < kNear || apart > kPeriod - kNear)) return true;
  }
  return false;
}

// Whether a block's rows can be read in place: not under a mask, and not where they would share few
// sets of L1 or take more than a quarter of its TLB, each being in a page of its own.
bool reads_in_place(const ConvBlock& p, int64_t channels) {
  return !p.relu_of.data && channels <= 16 && !collide(channels, p.x.stride) &&
         !collide(p.taps.S, p.taps.d);
}

// Outputs [q0, q1) of every filter, q1 - q0 <= q_block.
void forward(const ConvBlock& p, int64_t q0, int64_t q1, float* workspace) {
  const Split channel_blocks(p.C, p.blocking.c_block);
  const float* w = p.packed;
  for (int64_t cb = 0; cb < channel_blocks.parts; ++cb) {
    const int64_t c0 = channel_blocks.begin(cb), c1 = channel_blocks.begin(cb + 1);
    const Inside in =
        reads_in_place(p, c1 - c0) ? inside(p.taps, q0, q1, kOutputUnit) : Inside{q1, q1};
    const int64_t cuts[] = {q0, in.begin, in.end, q1};
    for (int i = 0; i < 3; ++i) {
      const Part part{c0, c1, cuts[i], cuts[i + 1]};
      if (part.q0 == part.q1) continue;
      Source from = in_place(p.taps, p.x, c0, part.q0);
      if (i != 1) {
        pack_rows(p.taps, p.blocking, p.x, p.relu_of, c0, c1, part.q0,
                  round_up(part.q1 - part.q0, kOutputUnit), workspace);
        from = {workspace, p.blocking.row, p.blocking.tap_stride};
      }
      filters(p, part, from, i != 1, w);
    }
    w += p.K * (c1 - c0) * p.taps.S;
  }
}

// ----------------------------------------------------------------------------------- sums

DILCONV_INLINE Vec masked_vec(const float* row, const float* mask, float* out) {
  Vec v = load(row);
  if (mask) v = relu_mask(v, load(mask));
  if (out) store(out, v);
  return v;
}

// Runs of kRun columns are summed in four chains a lane, then added up: short chains, small error.
void pass_gradient(const GradientPass& p, int64_t begin, int64_t end, double* sums) {
  constexpr int64_t kRun = 64 * kLanes;
  for (int64_t k = 0; k < p.K; ++k) {
    const float *row = p.g.row(k), *mask = p.relu_of.row(k);
    float* out = p.masked ? p.masked + k * p.masked_stride : nullptr;
    double total = 0;
    int64_t q = begin;
    for (; q + kRun <= end; q += kRun) {
      Vec chain[4] = {};
      for (int64_t i = q; i < q + kRun; i += 4 * kLanes)
        for (int j = 0; j < 4; ++j) {
          const int64_t at = i + j * kLanes;
          chain[j] += masked_vec(row + at, mask ? mask + at : nullptr, out ? out + at : nullptr);
        }
      total += lane_sum((chain[0] + chain[1]) + (chain[2] + chain[3]));
    }
    float rest = 0;
    for (; q < end; ++q) {
      const float v = mask ? relu_mask(row[q], mask[q]) : row[q];
      if (out) out[q] = v;
      rest += v;
    }
    sums[k] += total + rest;
  }
}

// ----------------------------------------------------------------------------------- peak

// 12 independent chains: enough for any FMA latency x throughput in use.
double peak(int64_t iterations) {
  Vec acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = splat(static_cast<float>(i));
  volatile float scale = 0.999f, shift = 1e-3f;
  const Vec a = splat(scale), b = splat(shift);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) acc[i] = acc[i] * a + b;
  }
  volatile float sink = 0;
  for (int i = 0; i < 12; ++i) sink = sink + lane_sum(acc[i]);
  return 2.0 * 12 * kLanes * static_cast<double>(iterations);
}

}  // namespace

extern const DirectKernels direct{kLanes,          kOutputUnit,   pack_weights, forward,
                                  backward_weight, pass_gradient, peak};

}  // namespace DILCONV_ISA
}  // namespace dilconv
