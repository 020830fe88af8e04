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
// With 32 registers: 8x3, 7x3, 6x4, 5x4, 4x6, 3x6, 2x12, 1x12.
// Cache budget: a packed block of x takes at most half of L2; one filter tile's weights
// (KR*C*S floats) stream from L1 or L2 at 4 bytes a cycle.
//
// Backward-weight sums over the width: a tile of KR filters x JR columns, a column being one
// (channel, tap) pair, so that a tile may straddle channels and dw needs no re-layout:
//   acc[k][j] += g[k][q] * x[c(j)][q + s(j)*d], lanes summed once per block.
#include "kernels.h"
#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers
constexpr int kFiltersMost = kManyRegisters ? 8 : 4;
constexpr int vectors_of(int filters) {
  if (kManyRegisters) return filters <= 2 ? 12 : filters <= 4 ? 6 : filters <= 6 ? 4 : 3;
  return 12 / filters;
}
// Every tile's number of vectors divides it.
constexpr int64_t kOutputUnit = 12 * kLanes;
constexpr int64_t kLine = 16;  // floats in a cache line

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// The longer of the two reduction loops is the inner one.
bool taps_inside(int64_t channels, int64_t taps) { return taps >= channels || taps >= 8; }

// ---------------------------------------------------------------------------------- packing

// out[i] = x[at + i] (masked) for i in [0, count), 0 outside [0, width).
void copy_padded(const float* x, const float* relu_of, int64_t width, int64_t at, int64_t count,
                 float* out) {
  int64_t first = at < 0 ? -at : 0;
  int64_t last = width - at < count ? width - at : count;
  if (first > count) first = count;
  if (last < first) last = first;
  for (int64_t i = 0; i < first; ++i) out[i] = 0;
  int64_t i = first;
  if (relu_of) {
    for (; i + kLanes <= last; i += kLanes)
      store(out + i, relu_mask(load(x + at + i), load(relu_of + at + i)));
    for (; i < last; ++i) out[i] = relu_mask(x[at + i], relu_of[at + i]);
  } else {
    for (; i + kLanes <= last; i += kLanes) store(out + i, load(x + at + i));
    for (; i < last; ++i) out[i] = x[at + i];
  }
  for (i = last; i < count; ++i) out[i] = 0;
}

// Channels [c0, c1) of what the taps of outputs [q0, q0 + width) read.
void pack_rows(const Taps& taps, const Blocking& b, Rows x, Rows relu_of, int64_t c0, int64_t c1,
               int64_t q0, int64_t width, float* out) {
  const bool overlapped = b.tap_stride == taps.d;
  const int64_t pieces = overlapped ? 1 : taps.S;
  const int64_t count = overlapped ? (taps.S - 1) * taps.d + width : width;
  for (int64_t c = c0; c < c1; ++c, out += b.row) {
    const float* mask = relu_of.data ? relu_of.data + c * relu_of.stride : nullptr;
    for (int64_t piece = 0; piece < pieces; ++piece)
      copy_padded(x.data + c * x.stride, mask, taps.W, q0 - taps.pad_left + piece * taps.d, count,
                  out + piece * b.tap_stride);
  }
}

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

// Outputs [begin, end) of a block, whole units, whose taps can be read from the tensor itself.
struct Inside {
  int64_t begin, end;
};

Inside inside(const Taps& taps, int64_t channels, Rows x, int64_t q0, int64_t q1) {
  constexpr int64_t kRows = 16;  // each in a page of its own: a quarter of the TLB
  if (channels > kRows || collide(channels, x.stride) || collide(taps.S, taps.d)) return {q1, q1};
  const int64_t begin = clamp(q0 + round_up(taps.pad_left - q0, kOutputUnit), q0, q1);
  const int64_t end = clamp(taps.W - (taps.S - 1) * taps.d + taps.pad_left, begin, q1);
  return {begin, begin + (end - begin) / kOutputUnit * kOutputUnit};
}

// ---------------------------------------------------------------------------------- forward

// The reduction of one tile: `outer` x `inner` steps through the packed rows.
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
  const float* residual;  // these two may be null, and are but in the last channel block
  const float* bias;
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

template <int VR>
DILCONV_INLINE void write_row(const Output& out, const float* residual, int64_t columns, float* y,
                              Vec (&sum)[VR]) {
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
      for (int v = 0; v < VR; ++v) acc[k][v] = out.bias ? splat(out.bias[k]) : Vec{};
    multiply<KR, VR>(r, x + q, w, acc);
#pragma GCC unroll 12
    for (int k = 0; k < KR; ++k)
      write_row<VR>(out, out.residual ? out.residual + k * out.residual_stride + q : nullptr,
                    columns - q, out.y + k * out.stride + q, acc[k]);
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

void filters(const ConvBlock& p, const Part& part, const float* x, int64_t row, int64_t tap,
             bool packed, const float* w) {
  const int64_t channels = part.c1 - part.c0, S = p.taps.S;
  const Reduction r = taps_inside(channels, S) ? Reduction{channels, S, row, tap}
                                               : Reduction{S, channels, tap, row};
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
    // Rows in place: the first filters fetch some tiles ahead, into L1. Packed: each tile of
    // filters fetches some rows of the next block.
    const int64_t end = part.q0 - p.taps.pad_left + (S - 1) * p.taps.d;
    Ahead ahead{x + (S - 1) * tap + 4 * kLine, tile == 0 ? channels : 0, row};
    if (packed) {
      const Split rows(channels, (channels + tiles.parts - 1) / tiles.parts);
      const bool some = tile < rows.parts;
      ahead = {p.x.data + (part.c0 + rows.begin(tile)) * p.x.stride + end + p.blocking.q_block,
               some ? rows.begin(tile + 1) - rows.begin(tile) : 0, p.x.stride};
    }
    run_filter_tile<kFiltersMost>(filters, r, out, ahead, x, w, part.q1 - part.q0);
    w += filters * channels * S;
  }
}

// Outputs [q0, q1) of every filter, q1 - q0 <= q_block.
void forward(const ConvBlock& p, int64_t q0, int64_t q1, float* workspace) {
  const Split channel_blocks(p.C, p.blocking.c_block);
  const Blocking& b = p.blocking;
  const float* w = p.packed;
  for (int64_t cb = 0; cb < channel_blocks.parts; ++cb) {
    const int64_t c0 = channel_blocks.begin(cb), c1 = channel_blocks.begin(cb + 1);
    const Inside in = p.relu_of.data ? Inside{q1, q1} : inside(p.taps, c1 - c0, p.x, q0, q1);
    const int64_t cuts[] = {q0, in.begin, in.end, q1};
    for (int i = 0; i < 3; ++i) {
      const Part part{c0, c1, cuts[i], cuts[i + 1]};
      if (part.q0 == part.q1) continue;
      if (i == 1) {
        const float* x = p.x.data + c0 * p.x.stride + part.q0 - p.taps.pad_left;
        filters(p, part, x, p.x.stride, p.taps.d, false, w);
      } else {
        pack_rows(p.taps, b, p.x, p.relu_of, c0, c1, part.q0,
                  round_up(part.q1 - part.q0, kOutputUnit), workspace);
        filters(p, part, workspace, b.row, b.tap_stride, true, w);
      }
    }
    w += p.K * (c1 - c0) * p.taps.S;
  }
}

// -------------------------------------------------------------------------- backward-weight

constexpr int kWeightFilters = kManyRegisters ? 4 : 3;
constexpr int columns_of(int filters) {
  if (kManyRegisters) return filters <= 2 ? 12 : filters == 3 ? 8 : 6;
  return filters == 1 ? 8 : filters == 2 ? 6 : 4;
}

struct Columns {
  const float* x[12];
};

template <int KR, int JR>
void weight_tile(const float* g, int64_t g_row, const Columns& columns, int64_t width, float* dw,
                 int64_t dw_stride) {
  constexpr int kGroups = (KR * JR + kLanes - 1) / kLanes;
  Vec acc[kGroups][kLanes];  // the (k, j) sum at [(k * JR + j) / kLanes][(k * JR + j) % kLanes]
#pragma GCC unroll 32
  for (int i = 0; i < kGroups * kLanes; ++i) acc[i / kLanes][i % kLanes] = Vec{};
  for (int64_t q = 0; q < width; q += kLanes) {
    Vec grad[KR];
    for (int k = 0; k < KR; ++k) grad[k] = load(g + k * g_row + q);
    for (int j = 0; j < JR; ++j) {
      const Vec in = load(columns.x[j] + q);
      for (int k = 0; k < KR; ++k)
        acc[(k * JR + j) / kLanes][(k * JR + j) % kLanes] += grad[k] * in;
    }
  }
  float sums[kGroups * kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < kGroups; ++i) store(sums + i * kLanes, lane_sums(acc[i]));
  for (int k = 0; k < KR; ++k)
    for (int j = 0; j < JR; ++j) dw[k * dw_stride + j] += sums[k * JR + j];
}

template <int KR, int JR>
void run_weight_tile(int64_t filters, int64_t count, const float* g, int64_t g_row,
                     const Columns& columns, int64_t width, float* dw, int64_t dw_stride) {
  if constexpr (KR > 1)
    if (filters < KR)
      return run_weight_tile<KR - 1, columns_of(KR - 1)>(filters, count, g, g_row, columns, width,
                                                         dw, dw_stride);
  if (count == JR) return weight_tile<KR, JR>(g, g_row, columns, width, dw, dw_stride);
  if constexpr (JR > 1)
    run_weight_tile<KR, JR - 1>(filters, count, g, g_row, columns, width, dw, dw_stride);
}

// g masked into rows of q_block, zero beyond q1.
void pack_gradient(const WeightBlock& p, int64_t q0, int64_t q1, float* out) {
  const int64_t block = p.blocking.q_block;
  for (int64_t k = 0; k < p.K; ++k, out += block)
    copy_padded(p.g.data + k * p.g.stride,
                p.relu_of.data ? p.relu_of.data + k * p.relu_of.stride : nullptr, q1, q0, block,
                out);
}

// All filters x the columns (channel, tap) of channels [c0, c1).
void weight_block(const WeightBlock& p, int64_t c0, int64_t c1, const float* x, const float* g,
                  int64_t width) {
  const Blocking& b = p.blocking;
  const int64_t dw_stride = p.C * p.taps.S, total = (c1 - c0) * p.taps.S;
  const Split tiles(p.K, kWeightFilters);
  for (int64_t tile = 0; tile < tiles.parts; ++tile) {
    const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
    const Split groups(total, columns_of(filters));
    const float* channel = x;
    int64_t tap = 0;
    for (int64_t group = 0; group < groups.parts; ++group) {
      const int64_t j0 = groups.begin(group), count = groups.begin(group + 1) - j0;
      Columns columns;
      for (int64_t j = 0; j < count; ++j) {
        columns.x[j] = channel + tap * b.tap_stride;
        if (++tap == p.taps.S) tap = 0, channel += b.row;
      }
      run_weight_tile<kWeightFilters, columns_of(kWeightFilters)>(
          filters, count, g + k0 * b.q_block, b.q_block, columns, width,
          p.dw + k0 * dw_stride + c0 * p.taps.S + j0, dw_stride);
    }
  }
}

void backward_weight(const WeightBlock& p, int64_t q0, int64_t q1, float* workspace) {
  float* g = workspace;
  float* x = workspace + p.K * p.blocking.q_block;
  pack_gradient(p, q0, q1, g);
  const int64_t width = (q1 - q0 + kLanes - 1) / kLanes * kLanes;
  const Split channel_blocks(p.C, p.blocking.c_block);
  for (int64_t cb = 0; cb < channel_blocks.parts; ++cb) {
    const int64_t c0 = channel_blocks.begin(cb), c1 = channel_blocks.begin(cb + 1);
    pack_rows(p.taps, p.blocking, p.x, Rows{}, c0, c1, q0, p.blocking.q_block, x);
    weight_block(p, c0, c1, x, g, width);
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
void row_sums(Rows g, Rows relu_of, int64_t K, int64_t width, float* sums, float* masked) {
  constexpr int64_t kRun = 64 * kLanes;
  for (int64_t k = 0; k < K; ++k) {
    const float* row = g.data + k * g.stride;
    const float* mask = relu_of.data ? relu_of.data + k * relu_of.stride : nullptr;
    float* out = masked ? masked + k * width : nullptr;
    float total = 0;
    int64_t q = 0;
    for (; q + kRun <= width; q += kRun) {
      Vec chain[4] = {};
      for (int64_t i = q; i < q + kRun; i += 4 * kLanes)
        for (int j = 0; j < 4; ++j) {
          const int64_t at = i + j * kLanes;
          chain[j] += masked_vec(row + at, mask ? mask + at : nullptr, out ? out + at : nullptr);
        }
      total += lane_sum((chain[0] + chain[1]) + (chain[2] + chain[3]));
    }
    float rest = 0;
    for (; q < width; ++q) {
      const float v = mask ? relu_mask(row[q], mask[q]) : row[q];
      if (out) out[q] = v;
      rest += v;
    }
    sums[k] = total + rest;
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

extern const DirectKernels direct{kLanes,          kOutputUnit, pack_weights, forward,
                                  backward_weight, row_sums,    peak};

}  // namespace DILCONV_ISA
}  // namespace dilconv
