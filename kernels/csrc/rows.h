// Where the direct kernels read their rows: in place where the taps of a run of outputs lie in the
// tensor, else from packed copies that hold the zero padding and the ReLU mask.
//
// Bf16 is multiplied in one of two ways. Without instructions of its own its rows are always
// packed, as float. With them (DILCONV_PAIRS) a lane multiplies two neighbours and adds both
// products: of two channels in forward, whose rows are packed interleaved; of two columns in
// backward-weight, whose rows stay as they are.
#ifndef DILCONV_ROWS_H_
#define DILCONV_ROWS_H_

#include "kernels.h"
#include "vec.h"
#ifdef DILCONV_PAIRS
#include <immintrin.h>
#endif

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr bool kManyRegisters = kLanes == 16;  // 32 vector registers
constexpr int64_t kLine = 16;                  // floats in a cache line

#ifdef DILCONV_PAIRS
constexpr bool kPairs = true;
DILCONV_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) {
  return reinterpret_cast<Vec>(_mm512_dpbf16_ps(
      reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b)));
}
template <class T>
struct PackedRow {
  typedef T Type;  // of backward-weight's rows
};
#else
constexpr bool kPairs = false;
DILCONV_INLINE Vec multiply_add(Vec a, Vec b, Vec sum) { return sum + a * b; }
template <class T>
struct PackedRow {
  typedef float Type;
};
#endif

template <class A, class B>
constexpr bool kSame = false;
template <class A>
constexpr bool kSame<A, A> = true;

// The bits of a vector of a row, as multiply_add takes them.
template <class Row>
DILCONV_INLINE Vec load_bits(const Row* p) {
  return load(reinterpret_cast<const float*>(p));
}

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t clamp(int64_t value, int64_t low, int64_t high) {
  return value < low ? low : value > high ? high : value;
}

// out[i] = x[at + i] (masked) for i in [0, count), 0 outside [0, width).
template <class T, class Row>
void copy_padded(const T* x, const T* relu_of, int64_t width, int64_t at, int64_t count, Row* out) {
  int64_t first = at < 0 ? -at : 0;
  int64_t last = width - at < count ? width - at : count;
  if (first > count) first = count;
  if (last < first) last = first;
  for (int64_t i = 0; i < first; ++i) put(out + i, 0);
  int64_t i = first;
  if (relu_of) {
    for (; i + kLanes <= last; i += kLanes)
      store(out + i, relu_mask(load(x + at + i), load(relu_of + at + i)));
    for (; i < last; ++i) put(out + i, relu_mask(get(x + at + i), get(relu_of + at + i)));
  } else {
    for (; i + kLanes <= last; i += kLanes) store(out + i, load(x + at + i));
    for (; i < last; ++i) put(out + i, get(x + at + i));
  }
  for (i = last; i < count; ++i) put(out + i, 0);
}

// What the taps of outputs [q0, q0 + width) read of a row: `pieces` of `count` columns.
struct Window {
  int64_t first, pieces, count;
  Window(const Taps& taps, const Blocking& b, int64_t q0, int64_t width)
      : first(q0 - taps.pad_left),
        pieces(b.tap_stride == taps.d ? 1 : taps.S),
        count(b.tap_stride == taps.d ? (taps.S - 1) * taps.d + width : width) {}
};

// Channels [c0, c1) of it.
template <class T, class Row>
void pack_rows(const Taps& taps, const Blocking& b, Rows<T> x, Rows<T> relu_of, int64_t c0,
               int64_t c1, int64_t q0, int64_t width, Row* out) {
  const Window window(taps, b, q0, width);
  for (int64_t c = c0; c < c1; ++c, out += b.row)
    for (int64_t piece = 0; piece < window.pieces; ++piece)
      copy_padded(x.row(c), relu_of.row(c), taps.W, window.first + piece * taps.d, window.count,
                  out + piece * b.tap_stride);
}

// Where the taps of a run of outputs are read: row = channel to channel, tap = tap to tap.
template <class Row>
struct Source {
  const Row* x;
  int64_t row, tap;
};

template <class T>
Source<T> in_place(const Taps& taps, Rows<T> x, int64_t c0, int64_t q0) {
  return {x.data + c0 * x.stride + q0 - taps.pad_left, x.stride, taps.d};
}

// Outputs [begin, end) of a block, whole units, whose taps all lie in [0, W).
struct Inside {
  int64_t begin, end;
};

inline Inside inside(const Taps& taps, int64_t q0, int64_t q1, int64_t unit) {
  const int64_t begin = clamp(q0 + round_up(taps.pad_left - q0, unit), q0, q1);
  const int64_t end = clamp(taps.W - (taps.S - 1) * taps.d + taps.pad_left, begin, q1);
  return {begin, begin + (end - begin) / unit * unit};
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_ROWS_H_
