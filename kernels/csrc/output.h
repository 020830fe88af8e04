// Where the direct kernels leave their sums: in the tensor, through the epilogue; with bf16 between
// blocks of rows in float, for sums are rounded once.
#ifndef DILCONV_OUTPUT_H_
#define DILCONV_OUTPUT_H_

#include "rows.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

// The float sums of a block's outputs, all filters, from one block of rows to the next.
struct Sums {
  float* data;     // at the block's first output
  int64_t q0;      // ... which is this one
  int64_t stride;  // filter to filter
  bool add, last;  // to what the blocks of rows before left; the last one goes to the tensor
  int64_t floats;  // that they take of the workspace
};

// Of float tensors the output itself holds them.
inline Sums sums_of(const ConvBlock<float>& p, int64_t q0, bool add, bool last, float*) {
  return {p.y + q0, q0, p.y_stride, add, last, 0};
}
inline Sums sums_of(const ConvBlock<Bf16>& p, int64_t q0, bool add, bool last, float* workspace) {
  return {workspace, q0,   p.blocking.q_block,
          add,       last, add || !last ? p.K * p.blocking.q_block : 0};
}

// Where a tile of filters goes: pointers at its first filter and output. Passed by value: a vector
// store may alias anything that is not the function's own.
template <class T>
struct Output {
  T* y;
  int64_t y_stride;
  Sums sums;
  const float* bias;  // these two may be null, and are but in the last block of rows
  const T* residual;
  int64_t residual_stride;
  bool relu;
};

template <class T>
Output<T> output_of(const ConvBlock<T>& p, Sums sums, int64_t k0, int64_t q0) {
  sums.data += k0 * sums.stride + (q0 - sums.q0);
  Output<T> out{p.y + k0 * p.y_stride + q0, p.y_stride, sums, nullptr, nullptr, 0, p.relu};
  if (!sums.last) return out;
  if (p.bias) out.bias = p.bias + k0;
  if (p.residual.data) out.residual = p.residual.row(k0) + q0;
  out.residual_stride = p.residual.stride;
  return out;
}

// Columns [0, columns) of one row: the ragged end. Out of line, by value: see write_row.
template <class T>
__attribute__((noinline)) void write_columns(const Output<T> out, const float* found, float* sums,
                                             const T* residual, int64_t columns, T* y) {
  for (int64_t i = 0; i < columns; ++i) {
    float sum = found[i];
    if (out.sums.add) sum += sums[i];
    if (!out.sums.last) {
      sums[i] = sum;
      continue;
    }
    if (residual) sum += get(residual + i);
    put(y + i, out.relu ? relu(sum) : sum);
  }
}

// Row k of a tile at output q, `columns` of which are left.
template <int VR, class T>
DILCONV_INLINE void write_row(const Output<T>& out, int k, int64_t q, int64_t columns,
                              Vec (&sum)[VR]) {
  T* y = out.y + k * out.y_stride + q;
  float* sums = out.sums.data + k * out.sums.stride + q;
  const T* residual = out.residual ? out.residual + k * out.residual_stride + q : nullptr;
  if (out.bias)
    for (int v = 0; v < VR; ++v) sum[v] += out.bias[k];
  if (columns < VR * kLanes) {
    float found[VR * kLanes];
    for (int v = 0; v < VR; ++v) store(found + v * kLanes, sum[v]);
    return write_columns(out, found, sums, residual, columns, y);
  }
  if (out.sums.add)
    for (int v = 0; v < VR; ++v) sum[v] += load(sums + v * kLanes);
  if (!out.sums.last) {
    for (int v = 0; v < VR; ++v) store(sums + v * kLanes, sum[v]);
    return;
  }
  if (residual)
    for (int v = 0; v < VR; ++v) sum[v] += load(residual + v * kLanes);
  if (out.relu)
    for (int v = 0; v < VR; ++v) sum[v] = relu(sum[v]);
  for (int v = 0; v < VR; ++v) store(y + v * kLanes, sum[v]);
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_OUTPUT_H_
