// Where the direct kernels read their rows: in place where the taps of a run of outputs lie in the
// tensor, else from packed copies that hold the zero padding and the ReLU mask.
#ifndef DILCONV_ROWS_H_
#define DILCONV_ROWS_H_

#include "kernels.h"
#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers
constexpr int64_t kLine = 16;                  // floats in a cache line

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

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
    for (int64_t piece = 0; piece < pieces; ++piece)
      copy_padded(x.row(c), relu_of.row(c), taps.W, q0 - taps.pad_left + piece * taps.d, count,
                  out + piece * b.tap_stride);
  }
}

// Where the taps of a run of outputs are read: row = channel to channel, tap = tap to tap.
struct Source {
  const float* x;
  int64_t row, tap;
};

Source in_place(const Taps& taps, Rows x, int64_t c0, int64_t q0) {
  return {x.data + c0 * x.stride + q0 - taps.pad_left, x.stride, taps.d};
}

// Outputs [begin, end) of a block, whole units, whose taps all lie in [0, W).
struct Inside {
  int64_t begin, end;
};

Inside inside(const Taps& taps, int64_t q0, int64_t q1, int64_t unit) {
  const int64_t begin = clamp(q0 + round_up(taps.pad_left - q0, unit), q0, q1);
  const int64_t end = clamp(taps.W - (taps.S - 1) * taps.d + taps.pad_left, begin, q1);
  return {begin, begin + (end - begin) / unit * unit};
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_ROWS_H_
