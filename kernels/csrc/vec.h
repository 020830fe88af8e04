// The vector type of one instruction set, in GCC/Clang vector extensions: DILCONV_VECTOR_BYTES
// wide. Everything has internal linkage, so objects of different ISAs never share an inline
// function.
#ifndef DILCONV_VEC_H_
#define DILCONV_VEC_H_

#include <stdint.h>

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kLanes = DILCONV_VECTOR_BYTES / 4;

typedef float Vec __attribute__((vector_size(DILCONV_VECTOR_BYTES)));
typedef float UnalignedVec
    __attribute__((vector_size(DILCONV_VECTOR_BYTES), aligned(4), may_alias));
typedef int32_t IntVec __attribute__((vector_size(DILCONV_VECTOR_BYTES)));

#define DILCONV_INLINE static inline __attribute__((always_inline))

DILCONV_INLINE Vec load(const float* p) { return *reinterpret_cast<const UnalignedVec*>(p); }
DILCONV_INLINE void store(float* p, Vec v) { *reinterpret_cast<UnalignedVec*>(p) = v; }
DILCONV_INLINE Vec splat(float s) { return s - Vec{}; }
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
