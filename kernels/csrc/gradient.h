// The gradient on its way through ReLU, bias and residual: masked, summed row by row, and kept.
#ifndef DILCONV_GRADIENT_H_
#define DILCONV_GRADIENT_H_

#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

template <class T>
DILCONV_INLINE Vec masked_vec(const T* row, const T* mask, T* out) {
  Vec v = load(row);
  if (mask) v = relu_mask(v, load(mask));
  if (out) store(out, v);
  return v;
}

// Runs of kRun columns are summed in four chains a lane, then added up: short chains, small error.
template <class T>
void pass_gradient(const GradientPass<T>& p, int64_t begin, int64_t end, double* sums) {
  constexpr int64_t kRun = 64 * kLanes;
  for (int64_t k = 0; k < p.K; ++k) {
    const T *row = p.g.row(k), *mask = p.relu_of.row(k);
    T* out = p.masked ? p.masked + k * p.masked_stride : nullptr;
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
      const float v = mask ? relu_mask(get(row + q), get(mask + q)) : get(row + q);
      if (out) put(out + q, v);
      rest += v;
    }
    sums[k] = total + rest;
  }
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_GRADIENT_H_
