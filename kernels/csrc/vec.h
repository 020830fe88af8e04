// The vector type of one instruction set, in GCC/Clang vector extensions: DILCONV_VECTOR_BYTES
// wide. Everything has internal linkage, so objects of different ISAs never share an inline
// function.
#ifndef DILCONV_VEC_H_
#define DILCONV_VEC_H_

#include "kernels.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kLanes = DILCONV_VECTOR_BYTES / 4;

typedef float Vec __attribute__((vector_size(DILCONV_VECTOR_BYTES)));
typedef float UnalignedVec
    __attribute__((vector_size(DILCONV_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(DILCONV_VECTOR_BYTES)));
typedef uint32_t UintVec __attribute__((vector_size(DILCONV_VECTOR_BYTES)));
typedef uint16_t HalfVec __attribute__((vector_size(DILCONV_VECTOR_BYTES / 2)));
typedef uint16_t UnalignedHalf
    __attribute__((vector_size(DILCONV_VECTOR_BYTES / 2), aligned(2), may_alias));

#define DILCONV_INLINE static inline __attribute__((always_inline))

DILCONV_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
DILCONV_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
DILCONV_INLINE Vec splat(float s) { return s - Vec{}; }

// The bits of a float, which may be a pair of others.
DILCONV_INLINE Vec splat_bits(const float* s) {
  int32_t bits;
  __builtin_memcpy(&bits, s, sizeof bits);
  return reinterpret_cast<Vec>(bits - IntVec{});
}

// Bf16 is widened on its way in and rounded to nearest even on its way out; NaN stays NaN.
DILCONV_INLINE Vec load(const Bf16* p) {
  const HalfVec half = *reinterpret_cast<const UnalignedHalf*>(p);
  return reinterpret_cast<Vec>(__builtin_convertvector(half, UintVec) << 16);
}
DILCONV_INLINE void store(Bf16* p, Vec v) {
  const UintVec bits = reinterpret_cast<UintVec>(v);
  const UintVec nearest = bits + (0x7fff + (bits >> 16 & 1));
  const UintVec upper = (v == v ? nearest : bits | 0x400000) >> 16;
  *reinterpret_cast<UnalignedHalf*>(p) = __builtin_convertvector(upper, HalfVec);
}
DILCONV_INLINE float get(const float* p) { return *p; }
DILCONV_INLINE float get(const Bf16* p) {
  const uint32_t bits = uint32_t{p->bits} << 16;
  float v;
  __builtin_memcpy(&v, &bits, sizeof v);
  return v;
}
DILCONV_INLINE void put(float* p, float v) { *p = v; }
DILCONV_INLINE void put(Bf16* p, float v) {
  uint32_t bits;
  __builtin_memcpy(&bits, &v, sizeof v);
  bits = v == v ? bits + (0x7fff + (bits >> 16 & 1)) : bits | 0x400000;
  p->bits = static_cast<uint16_t>(bits >> 16);
}
DILCONV_INLINE float rounded(float v) {
  Bf16 half;
  put(&half, v);
  return get(&half);
}

// max(v, 0) that lets NaN through.
DILCONV_INLINE Vec relu(Vec v) { return v < Vec{} ? Vec{} : v; }
DILCONV_INLINE float relu(float v) { return v < 0 ? 0 : v; }
// max(v, least) that lets NaN through: one instruction.
DILCONV_INLINE Vec at_least(Vec v, float least) {
  const Vec bound = splat(least);
  return bound > v ? bound : v;
}
DILCONV_INLINE float at_least(float v, float least) { return least > v ? least : v; }
// g where the activation was passed, 0 where y <= 0.
DILCONV_INLINE Vec relu_mask(Vec g, Vec y) { return y <= Vec{} ? Vec{} : g; }
DILCONV_INLINE float relu_mask(float g, float y) { return y <= 0 ? 0 : g; }

// Lanes of the two vectors by number, b's after a's; a constant index is one instruction or two.
DILCONV_INLINE Vec pick(Vec a, Vec b, IntVec index) {
#ifdef __clang__
  Vec out{};
  for (int i = 0; i < kLanes; ++i)
    out[i] = index[i] < kLanes ? a[index[i] % kLanes] : b[index[i] % kLanes];
  return out;
#else
  return __builtin_shuffle(a, b, index);
#endif
}

// Units of kUnit lanes <-> vectors, by rounds of interleaving: 2x2 blocks of kHalf lanes change
// places.
template <int kHalf, int kUnit>
DILCONV_INLINE void transpose(Vec (&v)[kLanes / kUnit]) {
  constexpr int kStep = kHalf / kUnit;
  IntVec low{}, high{};
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) {
    low[j] = j & kHalf ? kLanes + j - kHalf : j;
    high[j] = j & kHalf ? kLanes + j : j + kHalf;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes / kUnit; ++i)
    if (!(i & kStep)) {
      const Vec a = v[i], b = v[i + kStep];
      v[i] = pick(a, b, low);
      v[i + kStep] = pick(a, b, high);
    }
  if constexpr (kHalf > kUnit) transpose<kHalf / 2, kUnit>(v);
}

// Every pair of half-blocks added: blocks of 2*kHalf lanes become kHalf sums of a, kHalf of b.
template <int kHalf>
DILCONV_INLINE Vec add_halves(Vec a, Vec b) {
  IntVec low{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    low[i] = i / (2 * kHalf) * (2 * kHalf) + i % kHalf + (i % (2 * kHalf) < kHalf ? 0 : kLanes);
  return pick(a, b, low) + pick(a, b, low + kHalf);
}

// Lane i = the sum of all lanes of v[i]. The recursion halves the vectors and doubles the sums that
// one holds; which pairs it adds makes the sums come out in order.
template <int kCount, int kStride>
DILCONV_INLINE Vec lane_sums_of(const Vec* v) {
  if constexpr (kCount == 1) {
    return *v;
  } else {
    return add_halves<kLanes / kCount>(lane_sums_of<kCount / 2, 2 * kStride>(v),
                                       lane_sums_of<kCount / 2, 2 * kStride>(v + kStride));
  }
}
DILCONV_INLINE Vec lane_sums(const Vec (&v)[kLanes]) { return lane_sums_of<kLanes, 1>(v); }

DILCONV_INLINE float lane_sum(Vec v) {
  float sums[kLanes];
  store(sums, v);
  for (int half = kLanes / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_VEC_H_
