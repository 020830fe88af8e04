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
#include "gradient.h"
#include "kernels.h"
#include "output.h"
#include "pairs.h"
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

// Rows of all channels: of pairs of them where bf16 is multiplied as it is.
int64_t rows_of(int64_t C) { return kPairs ? (C + 1) / 2 : C; }

RowLayout layout(int64_t C, int64_t K, const Taps& taps) {
  return {rows_of(C), 1, taps, rows_of(C) * K * taps.S, Split(K, kFiltersMost).parts};
}

float step_weight(const WeightView& w, int64_t C, int64_t k, int64_t row, int64_t s) {
  const float* at = w.data + k * w.k_stride + s * w.s_stride;
  if constexpr (kPairs) {
    const int64_t c = 2 * row;
    return pair_of(bf16_of(at[c * w.c_stride]),
                   c + 1 < C ? bf16_of(at[(c + 1) * w.c_stride]) : Bf16{});
  }
  return w.to_bf16 ? rounded(at[row * w.c_stride]) : at[row * w.c_stride];
}

// Into [block of rows][filter tile][row or tap][tap or row][filter].
template <class T>
void pack_weights(const ConvBlock<T>& p, const WeightView& w, Share share, float* packed) {
  const Split blocks(rows_of(p.C), p.blocking.c_block);
  const Split tiles(p.K, kFiltersMost);
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const int64_t r0 = blocks.begin(block), rows = blocks.begin(block + 1) - r0;
    const bool inside = taps_inside(rows, p.taps.S);
    const int64_t outer = inside ? rows : p.taps.S, inner = inside ? p.taps.S : rows;
    for (int64_t tile = share.begin(tiles.parts); tile < share.end(tiles.parts); ++tile) {
      float* out = packed + (r0 * p.K + tiles.begin(tile) * rows) * p.taps.S;
      for (int64_t o = 0; o < outer; ++o)
        for (int64_t i = 0; i < inner; ++i)
          for (int64_t k = tiles.begin(tile); k < tiles.begin(tile + 1); ++k)
            *out++ = step_weight(w, p.C, k, r0 + (inside ? o : i), inside ? i : o);
    }
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
          for (int v = 0; v < VR; ++v)
            acc[k][v] = multiply_add(splat_bits(w + k), in[v], acc[k][v]);
      } else {
        Vec weight[KR];
        for (int k = 0; k < KR; ++k) weight[k] = splat_bits(w + k);
        for (int v = 0; v < VR; ++v) {
          const Vec in = load(at + v * kLanes);
          for (int k = 0; k < KR; ++k) acc[k][v] = multiply_add(weight[k], in, acc[k][v]);
        }
      }
    }
  }
}

// What will be read soon: `rows` rows that advance with the outputs.
template <class T>
struct Ahead {
  const T* x;
  int64_t rows, stride;
};

template <int KR, class T>
void filter_tile(Reduction r, Output<T> out, Ahead<T> ahead, const float* x, const float* w,
                 int64_t columns) {
  constexpr int VR = vectors_of(KR);
  for (int64_t q = 0; q < columns; q += VR * kLanes) {
    for (int64_t row = 0; row < ahead.rows; ++row)
#pragma GCC unroll 12
      for (int64_t at = 0; at < VR * kLanes; at += 64 / sizeof(T))
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

template <int KR, class T>
void run_filter_tile(int64_t filters, const Reduction& r, const Output<T>& out,
                     const Ahead<T>& ahead, const float* x, const float* w, int64_t columns) {
  if (filters == KR) return filter_tile<KR>(r, out, ahead, x, w, columns);
  if constexpr (KR > 1) run_filter_tile<KR - 1>(filters, r, out, ahead, x, w, columns);
}

// Rows [r0, r1) for outputs [q0, q1) of every filter.
struct Part {
  int64_t r0, r1, q0, q1;
};

// Rows in place: the first tile of filters fetches x some tiles ahead of itself, into L1. Packed
// rows: every tile of filters fetches its share of what the next block will pack.
template <class T>
Ahead<T> ahead_of(const ConvBlock<T>& p, const Part& part, bool packed, const Split& tiles,
                  int64_t tile) {
  constexpr int64_t kChannels = kPairs ? 2 : 1;  // of a row
  const int64_t rows = part.r1 - part.r0;
  const int64_t r0 = packed ? part.r0 + rows * tile / tiles.parts : part.r0;
  const int64_t r1 = packed ? part.r0 + rows * (tile + 1) / tiles.parts : tile ? r0 : part.r1;
  const int64_t columns = packed ? p.blocking.q_block : 4 * kLine;
  const Source<T> next = in_place(p.taps, p.x, kChannels * r0, part.q0 + columns);
  const int64_t c1 = kChannels * r1 < p.C ? kChannels * r1 : p.C;
  return {next.x + (p.taps.S - 1) * next.tap, c1 - kChannels * r0, next.row};
}

template <class T>
void filters(const ConvBlock<T>& p, const Part& part, const Source<float>& from, bool packed,
             const Sums& sums, const float* w) {
  const int64_t rows = part.r1 - part.r0, S = p.taps.S;
  const Reduction r = taps_inside(rows, S) ? Reduction{rows, S, from.row, from.tap}
                                           : Reduction{S, rows, from.tap, from.row};
  const Split tiles(p.K, kFiltersMost);
  for (int64_t tile = 0; tile < tiles.parts; ++tile) {
    const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
    const Output<T> out = output_of(p, sums, k0, part.q0);
    const Ahead<T> ahead = ahead_of(p, part, packed, tiles, tile);
    run_filter_tile<kFiltersMost>(filters, r, out, ahead, from.x, w, part.q1 - part.q0);
    w += filters * rows * S;
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
inline bool reads_in_place(const ConvBlock<float>& p, int64_t channels) {
  return !p.relu_of.data && channels <= 16 && !collide(channels, p.x.stride) &&
         !collide(p.taps.S, p.taps.d);
}

inline void pack(const ConvBlock<float>& p, const Part& part, int64_t width, float* out) {
  pack_rows(p.taps, p.blocking, p.x, p.relu_of, part.r0, part.r1, part.q0, width, out);
}
inline void pack(const ConvBlock<Bf16>& p, const Part& part, int64_t width, float* out) {
  if constexpr (kPairs)
    pack_pairs({p.C, p.taps.W, p.x, p.relu_of, p.taps.d, p.taps.S, 1}, p.taps, p.blocking, part.r0,
               part.r1, part.q0, width, out);
  else
    pack_rows(p.taps, p.blocking, p.x, p.relu_of, part.r0, part.r1, part.q0, width, out);
}

// The parts of a block: its inside, where rows are read in place, and its ends, or all of it.
template <class T>
void forward_rows(const ConvBlock<T>& p, const Part& block, const Sums& sums, const float* w,
                  float* workspace) {
  Inside in{block.q1, block.q1};
  if constexpr (kSame<T, float>)
    if (reads_in_place(p, block.r1 - block.r0))
      in = inside(p.taps, block.q0, block.q1, kOutputUnit);
  const int64_t cuts[] = {block.q0, in.begin, in.end, block.q1};
  for (int i = 0; i < 3; ++i) {
    const Part part{block.r0, block.r1, cuts[i], cuts[i + 1]};
    if (part.q0 == part.q1) continue;
    Source<float> from{workspace, p.blocking.row, p.blocking.tap_stride};
    if constexpr (kSame<T, float>)
      if (i == 1) from = in_place(p.taps, p.x, part.r0, part.q0);
    if (i != 1) pack(p, part, round_up(part.q1 - part.q0, kOutputUnit), workspace);
    filters(p, part, from, i != 1, sums, w);
  }
}

// Outputs [q0, q1) of every filter, q1 - q0 <= q_block.
template <class T>
void forward(const ConvBlock<T>& p, int64_t q0, int64_t q1, float* workspace) {
  const Split blocks(rows_of(p.C), p.blocking.c_block);
  const float* w = p.packed;
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const Part part{blocks.begin(block), blocks.begin(block + 1), q0, q1};
    const Sums sums = sums_of(p, q0, block > 0, block + 1 == blocks.parts, workspace);
    forward_rows(p, part, sums, w, workspace + sums.floats);
    w += p.K * (part.r1 - part.r0) * p.taps.S;
  }
}

#ifndef DILCONV_PAIRS
// 12 independent chains: enough for any FMA latency x throughput in use.
double multiply_adds(int64_t iterations) {
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

#endif

template <class T>
constexpr DirectKernels<T> kernels(double forward_cycles, double pack_cycles,
                                   double backward_cycles) {
  return {kLanes,          kPairs, kOutputUnit,     forward_cycles, pack_cycles,
          backward_cycles, layout, pack_weights<T>, forward<T>,     backward_weight<T>,
          pass_gradient<T>};
}

}  // namespace

// Cycles as measured on Zen 4 (plan.cpp weighs them against the spectral kernels').
#ifdef DILCONV_PAIRS
extern const DirectKernels<Bf16> direct_bf16 = kernels<Bf16>(1.06, 5, 0.6);
#else
extern const DirectKernels<float> direct = kernels<float>(0.52, 5, 0.55);
extern const DirectKernels<Bf16> direct_bf16 = kernels<Bf16>(0.52, 5, 0.55);
extern const Peak peak = multiply_adds;
#endif

}  // namespace DILCONV_ISA
}  // namespace dilconv
