// Backward-weight of the direct algorithm.
//
//   for each block of q_block outputs                 (the driver's parallel loop)
//     for each block of c_block channels
//       pack the rows at the ends of [0, W)
//       for each tile of KR filters                   its rows of g stay in L1
//         for each tile of JR columns                 KR*JR accumulators stay in registers
//           for each vector of outputs: acc[k][j] += g[k][q] * x[c(j)][q + s(j)*d]
//           sum the lanes, add to dw
//
// A column is one (channel, tap) pair, so that a tile may straddle channels and dw needs no
// re-layout. Tiles: 4x3, 3x4, 2x6, 1x8 (12 accumulators + 3 of the one + 1 of the other = 16
// registers, 7 loads for 12 FMAs); with 32 registers 4x6, 3x8, 2x12, 1x12. g and x are read
// in place wherever that is possible. Each tile fetches a row or so of the next block into L2.
#ifndef DILCONV_BACKWARD_WEIGHT_H_
#define DILCONV_BACKWARD_WEIGHT_H_

#include "rows.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kWeightFilters = 4;
constexpr int columns_of(int filters) {
  if (kManyRegisters) return filters <= 2 ? 12 : filters == 3 ? 8 : 6;
  return filters == 1 ? 8 : 12 / filters;
}

// Outputs that are summed from one place: whole vectors of g, zero beyond the last one.
template <class Row>
struct Run {
  Rows<Row> g;
  Source<Row> from;
  int64_t width;
};

// A block: its inside and its ends, summed into the same registers.
template <class Row>
struct Runs {
  Run<Row> run[3];
  int count;
};

// The channels and taps of a tile's columns, and the row that it fetches.
template <class T>
struct Columns {
  int64_t c[12], s[12];
  const T* ahead;
};

// Columns that one vector of a row holds.
template <class Row>
constexpr int64_t kWide = DILCONV_VECTOR_BYTES / sizeof(Row);

template <int KR, int JR, class Row, class T>
DILCONV_INLINE void add_products(const Row* g, int64_t g_row, const Row* const (&x)[JR],
                                 int64_t width, const T* ahead,
                                 Vec (&acc)[(KR * JR + kLanes - 1) / kLanes][kLanes]) {
  for (int64_t q = 0; q < width; q += kWide<Row>) {
    __builtin_prefetch(ahead + q, 0, 2);
    const auto product = [&](int k, int j, Vec grad, Vec in) __attribute__((always_inline)) {
      Vec& sum = acc[(k * JR + j) / kLanes][(k * JR + j) % kLanes];
      sum = multiply_add(grad, in, sum);
    };
    if constexpr (KR <= JR) {
      Vec grad[KR];
      for (int k = 0; k < KR; ++k) grad[k] = load_bits(g + k * g_row + q);
      for (int j = 0; j < JR; ++j) {
        const Vec in = load_bits(x[j] + q);
        for (int k = 0; k < KR; ++k) product(k, j, grad[k], in);
      }
    } else {
      Vec in[JR];
      for (int j = 0; j < JR; ++j) in[j] = load_bits(x[j] + q);
      for (int k = 0; k < KR; ++k) {
        const Vec grad = load_bits(g + k * g_row + q);
        for (int j = 0; j < JR; ++j) product(k, j, grad, in[j]);
      }
    }
  }
}

template <int KR, int JR, class Row, class T>
void weight_tile(const Runs<Row>& runs, int64_t k0, const Columns<T>& columns, float* dw,
                 int64_t dw_stride) {
  constexpr int kGroups = (KR * JR + kLanes - 1) / kLanes;
  Vec acc[kGroups][kLanes];  // the (k, j) sum at [(k * JR + j) / kLanes][(k * JR + j) % kLanes]
#pragma GCC unroll 32
  for (int i = 0; i < kGroups * kLanes; ++i) acc[i / kLanes][i % kLanes] = Vec{};
  for (int i = 0; i < runs.count; ++i) {
    const Run<Row>& run = runs.run[i];
    const Row* x[JR];
    for (int j = 0; j < JR; ++j)
      x[j] = run.from.x + columns.c[j] * run.from.row + columns.s[j] * run.from.tap;
    add_products<KR, JR>(run.g.row(k0), run.g.stride, x, run.width, columns.ahead, acc);
  }
  float sums[kGroups * kLanes];
#pragma GCC unroll 8
  for (int i = 0; i < kGroups; ++i) store(sums + i * kLanes, lane_sums(acc[i]));
  for (int k = 0; k < KR; ++k)
    for (int j = 0; j < JR; ++j) dw[k * dw_stride + j] += sums[k * JR + j];
}

template <int KR, int JR, class Row, class T>
void run_weight_tile(int64_t filters, int64_t count, const Runs<Row>& runs, int64_t k0,
                     const Columns<T>& columns, float* dw, int64_t dw_stride) {
  if constexpr (KR > 1)
    if (filters < KR)
      return run_weight_tile<KR - 1, columns_of(KR - 1)>(filters, count, runs, k0, columns, dw,
                                                         dw_stride);
  if (count == JR) return weight_tile<KR, JR>(runs, k0, columns, dw, dw_stride);
  if constexpr (JR > 1)
    run_weight_tile<KR, JR - 1>(filters, count, runs, k0, columns, dw, dw_stride);
}

// Row `row` of what the block at q0 will read first: g's rows, then x's from channel c0.
template <class T>
const T* row_of(const WeightBlock<T>& p, int64_t c0, int64_t q0, int64_t row) {
  if (row < p.K) return p.g.data + row * p.g.stride + q0;
  return in_place(p.taps, p.x, c0 + row - p.K, q0).x + (p.taps.S - 1) * p.taps.d;
}

// All filters x the columns (channel, tap) of channels [c0, c1), for the block at q0.
template <class T, class Row>
void weight_block(const WeightBlock<T>& p, int64_t c0, int64_t c1, int64_t q0,
                  const Runs<Row>& runs) {
  const int64_t dw_stride = p.dw_filter, total = (c1 - c0) * p.taps.S;
  const Split tiles(p.K, kWeightFilters);
  for (int64_t tile = 0; tile < tiles.parts; ++tile) {
    const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
    const Split groups(total, columns_of(filters));
    const int64_t rows = p.K + c1 - c0;
    int64_t c = 0, s = 0;
    for (int64_t group = 0; group < groups.parts; ++group) {
      const int64_t j0 = groups.begin(group), count = groups.begin(group + 1) - j0;
      Columns<T> columns;
      for (int64_t j = 0; j < count; ++j) {
        columns.c[j] = c, columns.s[j] = s;
        if (++s == p.taps.S) s = 0, ++c;
      }
      columns.ahead = row_of(p, c0, q0 + p.blocking.q_block,
                             (tile * groups.parts + group) * rows / (tiles.parts * groups.parts));
      run_weight_tile<kWeightFilters, columns_of(kWeightFilters)>(
          filters, count, runs, k0, columns, p.dw + k0 * dw_stride + c0 * p.taps.S + j0, dw_stride);
    }
  }
}

// Outputs [a, b) of g: in place if they are whole vectors without a mask, else copied to `out`.
template <class T, class Row>
Rows<Row> gradient(const WeightBlock<T>& p, int64_t a, int64_t b, Row* out) {
  const int64_t width = round_up(b - a, kWide<Row>), row = p.blocking.q_block;
  if constexpr (kSame<T, Row>)
    if (!p.relu_of.data && width == b - a) return {p.g.data + a, p.g.stride};
  for (int64_t k = 0; k < p.K; ++k)
    copy_padded(p.g.row(k), p.relu_of.row(k), b, a, width, out + k * row);
  return {out, row};
}

template <class T>
void backward_weight(const WeightBlock<T>& p, int64_t q0, int64_t q1, float* floats) {
  typedef typename PackedRow<T>::Type Row;
  Row* workspace = reinterpret_cast<Row*>(floats);
  const Blocking& b = p.blocking;
  const Split channel_blocks(p.C, b.c_block);
  const int64_t halo = b.tap_stride == p.taps.d ? (p.taps.S - 1) * p.taps.d : 0;
  Inside in = kSame<T, Row> ? inside(p.taps, q0, q1, kWide<Row>) : Inside{q1, q1};
  if (in.end - in.begin <= halo) in = {q1, q1};  // both ends packed would take more than the whole
  const int64_t cuts[] = {q0, in.begin, in.end, q1};
  Runs<Row> runs{};
  for (int64_t cb = 0; cb < channel_blocks.parts; ++cb) {
    const int64_t c0 = channel_blocks.begin(cb), c1 = channel_blocks.begin(cb + 1);
    Row* packed = workspace + p.K * b.q_block;
    Run<Row>* run = runs.run;
    for (int i = 0; i < 3; ++i) {
      if (cuts[i] == cuts[i + 1]) continue;
      if (cb == 0) run->g = gradient(p, cuts[i], cuts[i + 1], workspace + (cuts[i] - q0));
      run->width = round_up(cuts[i + 1] - cuts[i], kWide<Row>);
      if constexpr (kSame<T, Row>) run->from = in_place(p.taps, p.x, c0, cuts[i]);
      if (i != 1) {
        pack_rows(p.taps, b, p.x, Rows<T>{}, c0, c1, cuts[i], run->width, packed);
        run->from = {packed, b.row, b.tap_stride};
        packed += run->width + halo;
      }
      ++run;
    }
    runs.count = static_cast<int>(run - runs.run);
    weight_block(p, c0, c1, q0, runs);
  }
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_BACKWARD_WEIGHT_H_
