// The vector type of one instruction set, in GCC/Clang vector extensions: DILCONV_VECTOR_BYTES wide.
// Everything has internal linkage, so objects of different ISAs never share an inline function.
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
// g where the activation was passed, 0 where y <= 0.
DILCONV_INLINE Vec relu_mask(Vec g, Vec y) { return y <= Vec{} ? Vec{} : g; }
DILCONV_INLINE float relu_mask(float g, float y) { return y <= 0 ? 0 : g; }

DILCONV_INLINE float lane_sum(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_VEC_H_
