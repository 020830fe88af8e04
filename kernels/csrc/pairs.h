// Rows of pairs: what bf16 instructions multiply, two neighbours of the reduction in 32 bits.
//
// A row holds two channels, column by column, the even one in the lower half. Where the channels of
// one tap are fewer than an instruction takes, `together` taps join it: row r is pair r % half of
// the channels, half = ceil(C/2), moved by r / half taps. What lies beyond the channels or taps is
// zero, never data: 0 * Inf would spread.
#ifndef DILCONV_PAIRS_H_
#define DILCONV_PAIRS_H_

#include "rows.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

DILCONV_INLINE float pair_of(Bf16 low, Bf16 high) {
  const uint32_t bits = low.bits | uint32_t{high.bits} << 16;
  float pair;
  __builtin_memcpy(&pair, &bits, sizeof bits);
  return pair;
}
DILCONV_INLINE Bf16 bf16_of(float v) {
  Bf16 half;
  put(&half, v);
  return half;
}

DILCONV_INLINE Vec pairs_of(const Bf16* low, const Bf16* high) {
  const HalfVec a = *reinterpret_cast<const UnalignedHalf*>(low),
                b = *reinterpret_cast<const UnalignedHalf*>(high);
  return reinterpret_cast<Vec>(__builtin_convertvector(a, UintVec) |
                               __builtin_convertvector(b, UintVec) << 16);
}

// One item's channels, and how its pairs stand in rows.
struct Paired {
  int64_t C, W;
  Rows<Bf16> x, relu_of;
  int64_t d, taps, together;  // of the filter, not of the layout
  int64_t half() const { return (C + 1) / 2; }
};

// Columns [at, at + count) of channel c: where they lie, or a padded copy of them.
const Bf16* columns_of(const Paired& p, int64_t c, int64_t at, int64_t count, Bf16* copy) {
  if (c < p.C && !p.relu_of.data && at >= 0 && at + count <= p.W) return p.x.row(c) + at;
  copy_padded(p.x.row(c < p.C ? c : 0), p.relu_of.row(c < p.C ? c : 0), c < p.C ? p.W : 0, at,
              count, copy);
  return copy;
}

// Pairs of columns [at, at + count) of row r, whose first tap is number `tap`.
void pack_pair_row(const Paired& p, int64_t r, int64_t tap, int64_t at, int64_t count, Bf16* copies,
                   float* out) {
  const int64_t c = 2 * (r % p.half()), moved = r / p.half();
  if (moved >= p.together || tap + moved >= p.taps) {
    for (int64_t i = 0; i < count; ++i) out[i] = 0;
    return;
  }
  const Bf16* low = columns_of(p, c, at + moved * p.d, count, copies);
  const Bf16* high = columns_of(p, c + 1, at + moved * p.d, count, copies + round_up(count, kLine));
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) store(out + i, pairs_of(low + i, high + i));
  for (; i < count; ++i) out[i] = pair_of(low[i], high[i]);
}

// Rows [r0, r1) of what the steps of outputs [q0, q0 + width) read.
void pack_pairs(const Paired& p, const Taps& steps, const Blocking& b, int64_t r0, int64_t r1,
                int64_t q0, int64_t width, float* out) {
  const Window window(steps, b, q0, width);
  Bf16* copies = reinterpret_cast<Bf16*>(out + (r1 - r0) * b.row);
  for (int64_t r = r0; r < r1; ++r, out += b.row)
    for (int64_t piece = 0; piece < window.pieces; ++piece)
      pack_pair_row(p, r, 0, window.first + piece * steps.d, window.count, copies,
                    out + piece * b.tap_stride);
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_PAIRS_H_
