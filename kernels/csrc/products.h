// What happens between the FFTs, frequency by frequency: inputs times weights (forward and
// backward-data), and inputs times gradients, summed over the lanes (backward-weight).
// Register budget of the products (16 registers): 10 accumulators + 2 inputs + 2 weights; with 32
// registers 16 + 2 + 2.
#ifndef DILCONV_PRODUCTS_H_
#define DILCONV_PRODUCTS_H_

#include "fft.h"
#include "tiles.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kFiltersMost = kLanes == 16 ? 8 : 5;

// Channels from one slot of a spectrum to the next: odd, to spread over the cache sets.
int64_t odd(int64_t n) { return n | 1; }
int64_t part_channels(const SpectralConv& p) { return p.C * p.tiling.parts; }
// Vectors that n channels fill when they are the lanes.
int64_t operand_blocks(int64_t n) { return (n + kLanes - 1) / kLanes; }

// Three real products make a complex one (Gauss): with T = Sr*(Xr + Xi),
//   Re S*X = T - (Sr + Si)*Xi,   Im S*X = T + (Si - Sr)*Xr,
// so a tile of filters is three small matrix products over the channels, with weights Sr, Sr + Si
// and Si - Sr. The points of h and -h share them: S(-h) is the conjugate, so the second column is
// the conjugate of X(-h), and so is its result.

// acc[k][i] += w[c][k] * (column i at channel c).
template <int KR, class Columns>
DILCONV_INLINE void multiply_real(int64_t channels, const float* w, const Columns& columns,
                                  Complex (&acc)[KR]) {
#pragma GCC unroll 2
  for (int64_t c = 0; c < channels; ++c, w += KR) {
    const Complex x = columns(c);
#pragma GCC unroll 8
    for (int k = 0; k < KR; ++k) acc[k].re += w[k] * x.re, acc[k].im += w[k] * x.im;
  }
}

// One tile of filters at a point and its mirror.
template <int KR>
void multiply_pair(const Complex* x, const Complex* mirror, int64_t channels, const float* w,
                   Complex* y, Complex* y_mirror) {
  Complex acc[KR];
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) put(acc + k, {Vec{}, Vec{}});
  multiply_real<KR>(
      channels, w,
      [&](int64_t c) { return Complex{x[c].re + x[c].im, mirror[c].re - mirror[c].im}; }, acc);
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k)  // T waits where the imaginary parts will be
    y[k].im = acc[k].re, y_mirror[k].im = acc[k].im;
  w += KR * channels;
  multiply_real<KR>(channels, w, [&](int64_t c) { return Complex{-x[c].im, mirror[c].im}; }, acc);
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) {
    y[k].re = acc[k].re, acc[k].re = y[k].im;
    y_mirror[k].re = acc[k].im, acc[k].im = y_mirror[k].im;
  }
  w += KR * channels;
  multiply_real<KR>(channels, w, [&](int64_t c) { return Complex{x[c].re, mirror[c].re}; }, acc);
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) y[k].im = acc[k].re, y_mirror[k].im = -acc[k].im;
}

// The same where the weights' spectrum is real: at the frequencies 0 and length/2.
template <int KR>
void multiply_single(const Complex* x, int64_t channels, const float* w, Complex* y) {
  Complex acc[KR];
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) put(acc + k, {Vec{}, Vec{}});
  multiply_real<KR>(channels, w, [&](int64_t c) { return get(x + c); }, acc);
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) put(y + k, acc[k]);
}

template <int KR>
void run_multiply(int64_t filters, int64_t count, const Complex* x, int64_t x_stride,
                  int64_t channels, const float* w, Complex* y, int64_t y_stride) {
  if (filters == KR)
    return count == 2 ? multiply_pair<KR>(x, x + x_stride, channels, w, y, y + y_stride)
                      : multiply_single<KR>(x, channels, w, y);
  if constexpr (KR > 1) run_multiply<KR - 1>(filters, count, x, x_stride, channels, w, y, y_stride);
}

void multiply_spectra(const SpectralConv& p, const Complex* x, Complex* y) {
  const int64_t channels = part_channels(p), x_stride = odd(channels), y_stride = odd(p.K);
  const Split tiles(p.K, kFiltersMost);
  const float* w = p.spectra;
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const int64_t slot = p.table.first(h);
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
      run_multiply<kFiltersMost>(filters, p.table.count(h), x + slot * x_stride, x_stride, channels,
                                 w, y + slot * y_stride + k0, y_stride);
      w += 3 * filters * channels;
    }
  }
}

// The weight gradient needs sums over lanes. One operand is transposed in registers, so that its
// channels are the lanes; the other is broadcast element by element:
//   D[h][block][b] (lanes: a) = sum_{h, -h} sum_l A[l][a] * conj(B[b][l])
// summed into memory once per unit and frequency.

// Which operand is transposed: the one that fills its lanes better.
bool transposes_x(const SpectralConv& p) {
  const int64_t x = p.K, g = part_channels(p);
  return operand_blocks(x) * g <= operand_blocks(g) * x;
}

// One half (0 real, 1 imaginary) of `lanes` neighbouring spectra, transposed. Lanes beyond the last
// spectrum take whatever follows in the workspace; their sums are never read.
DILCONV_INLINE void transpose_half(const Complex* in, int half, Complex* out) {
  const float* from = reinterpret_cast<const float*>(in) + half * kLanes;
  float* to = reinterpret_cast<float*>(out) + half * kLanes;
  Vec v[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) v[i] = load(from + 2 * kLanes * i);
  transpose<kLanes / 2, 1>(v);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store(to + 2 * kLanes * i, v[i]);
}

// out[block][lane] of one point, for the n spectra at `in`.
void transpose_point(const Complex* in, int64_t n, Complex* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    transpose_half(in + i, 0, out + i);
    transpose_half(in + i, 1, out + i);
  }
}

// acc[b] += sum over lanes of A * conj(B) (its conjugate for frequency -h).
template <int BR, bool kConj>
DILCONV_INLINE void correlate_point(const Complex* a, const Complex* b, Complex (&acc)[BR]) {
  const float* floats = reinterpret_cast<const float*>(b);
  for (int l = 0; l < kLanes; ++l) {
    const Complex in = get(a + l);
#pragma GCC unroll 8
    for (int k = 0; k < BR; ++k) {
      const float re = floats[2 * kLanes * k + l], im = floats[2 * kLanes * k + kLanes + l];
      acc[k].re += re * in.re;
      acc[k].re += im * in.im;
      if constexpr (kConj) {
        acc[k].im -= re * in.im;
        acc[k].im += im * in.re;
      } else {
        acc[k].im += re * in.im;
        acc[k].im -= im * in.re;
      }
    }
  }
}

// Frequencies h and -h: the second of each operand lies a_stride and b_stride behind the first.
template <int BR>
void correlate_pair(const Complex* a, int64_t a_stride, const Complex* b, int64_t b_stride,
                    int64_t count, Complex* sums) {
  Complex acc[BR];
#pragma GCC unroll 8
  for (int k = 0; k < BR; ++k) put(acc + k, get(sums + k));
  correlate_point<BR, false>(a, b, acc);
  if (count == 2) correlate_point<BR, true>(a + a_stride, b + b_stride, acc);
#pragma GCC unroll 8
  for (int k = 0; k < BR; ++k) put(sums + k, acc[k]);
}

template <int BR>
void run_correlate_pair(int64_t size, const Complex* a, int64_t a_stride, const Complex* b,
                        int64_t b_stride, int64_t count, Complex* sums) {
  if (size == BR) return correlate_pair<BR>(a, a_stride, b, b_stride, count, sums);
  if constexpr (BR > 1) run_correlate_pair<BR - 1>(size, a, a_stride, b, b_stride, count, sums);
}

int64_t dw_spectrum_floats(const SpectralConv& p) {
  const bool tx = transposes_x(p);
  const int64_t a = tx ? p.K : part_channels(p), b = tx ? part_channels(p) : p.K;
  return p.table.height() * operand_blocks(a) * b * 2 * kLanes;
}

void correlate_spectra(const SpectralConv& p, const Complex* g, const Complex* x, Complex* scratch,
                       Complex* sums) {
  const bool tx = transposes_x(p);
  const int64_t na = tx ? p.K : part_channels(p), nb = tx ? part_channels(p) : p.K;
  const Complex *a = tx ? x : g, *b = tx ? g : x;
  const int64_t blocks = operand_blocks(na);
  const Split tiles(nb, kFiltersMost);
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const int64_t slot = p.table.first(h), count = p.table.count(h);
    for (int64_t i = 0; i < count; ++i)
      transpose_point(a + (slot + i) * odd(na), na, scratch + i * blocks * kLanes);
    for (int64_t block = 0; block < blocks; ++block)
      for (int64_t tile = 0; tile < tiles.parts; ++tile) {
        const int64_t b0 = tiles.begin(tile), size = tiles.begin(tile + 1) - b0;
        run_correlate_pair<kFiltersMost>(size, scratch + block * kLanes, blocks * kLanes,
                                         b + slot * odd(nb) + b0, odd(nb), count, sums);
        sums += size;
      }
  }
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_PRODUCTS_H_
