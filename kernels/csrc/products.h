// What happens between the FFTs, frequency by frequency: inputs times weights (forward and
// backward-data), and inputs times gradients, summed over the lanes (backward-weight).
// Register budget of the products (16 registers): 12 accumulators + 2 inputs + 1 weight; with 32
// registers 16 + 2 + 2.
#ifndef DILCONV_PRODUCTS_H_
#define DILCONV_PRODUCTS_H_

#include "fft.h"
#include "tiles.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kFiltersMost = kLanes == 16 ? 8 : 6;

// Channels from one slot of a spectrum to the next: odd, to spread over the cache sets.
int64_t odd(int64_t n) { return n | 1; }
int64_t part_channels(const SpectralShape& p) { return p.C * p.tiling.parts; }
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

// A share of the frequencies.
void multiply_spectra(const SpectralShape& p, const float* spectra, Share share, const Complex* x,
                      Complex* y) {
  const int64_t channels = part_channels(p), x_stride = odd(channels), y_stride = odd(p.K);
  const int64_t first = share.begin(p.table.height()), last = share.end(p.table.height());
  const Split tiles(p.K, kFiltersMost);
  const float* w = spectra + 3 * first * p.K * channels;
  for (int64_t h = first; h < last; ++h) {
    const int64_t slot = p.table.first(h);
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
      run_multiply<kFiltersMost>(filters, p.table.count(h), x + slot * x_stride, x_stride, channels,
                                 w, y + slot * y_stride + k0, y_stride);
      w += 3 * filters * channels;
    }
  }
}

// The weight gradient needs sums over lanes. The channels of one operand, A, are made the lanes by
// transposing in registers; the other, B, is broadcast element by element:
//   D[h][block][b] (lanes: a) = sum_l A[l][a] * conj(B[b][l])  (h, and the conjugate of it at -h)
// Again three real products make a complex one, with T = Ar*(Br - Bi):
//   Re = T + Bi*(Ar + Ai),   Im = T + Br*(Ai - Ar).
// The conjugate at -h, with T = Ar*(Br + Bi):
//   Re = T + Bi*(Ai - Ar),   Im = T - Br*(Ar + Ai).
// A unit's sums start at zero and are added to those in memory: short chains round less.

// Which operand is transposed: the one that fills its lanes better.
bool transposes_x(const SpectralShape& p) {
  const int64_t x = p.K, g = part_channels(p);
  return operand_blocks(x) * g <= operand_blocks(g) * x;
}

// A at one point and block of channels, lane by lane of the tiles.
struct Transposed {
  Vec re[kLanes], sum[kLanes], difference[kLanes];  // Ar, Ar + Ai, Ai - Ar
};

// Lanes beyond the last spectrum take whatever follows; their sums are never read.
void transpose_block(const Complex* in, Transposed* out) {
  const float* floats = reinterpret_cast<const float*>(in);
  Vec re[kLanes], im[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) re[i] = load(floats + 2 * kLanes * i);
  transpose<kLanes / 2, 1>(re);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) out->re[i] = re[i];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) im[i] = load(floats + 2 * kLanes * i + kLanes);
  transpose<kLanes / 2, 1>(im);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    const Vec r = out->re[i];
    out->sum[i] = r + im[i], out->difference[i] = im[i] - r;
  }
}

// What one frequency correlates: both operands at h and -h (`points` of them).
struct Correlated {
  int64_t points, blocks;
  const Transposed* a;  // [point][block]
  const Complex* b;     // [point][b], b_stride apart from point to point
  int64_t b_stride;
  const Vec* b_sums;  // [point][b]: Br - Bi, at -h Br + Bi
  int64_t b_count;
};

// acc[k][n] +-= sum over lanes of a[n] * b[k]; `b` steps by kStep floats.
template <int kTile, int kBlocks, int kStep, bool kMinus = false>
DILCONV_INLINE void correlate_real(const Vec* a, const float* b, Vec (&acc)[kTile][kBlocks]) {
  constexpr int kApart = sizeof(Transposed) / sizeof(Vec);
#pragma GCC unroll 2
  for (int l = 0; l < kLanes; ++l)
#pragma GCC unroll 16
    for (int k = 0; k < kTile; ++k)
#pragma GCC unroll 2
      for (int n = 0; n < kBlocks; ++n) {
        const Vec product = b[k * kStep + l] * a[n * kApart + l];
        acc[k][n] = kMinus ? acc[k][n] - product : acc[k][n] + product;
      }
}

// kTile channels of B, from b0, with kBlocks blocks of A; `sums` of the first, the blocks
// b_count apart.
template <int kTile, int kBlocks>
void correlate_tile(const Correlated& c, int64_t block, int64_t b0, Complex* sums) {
  constexpr int kStep = 2 * kLanes;  // floats of a Complex
  const Transposed *a = c.a + block, *a_mirror = a + c.blocks;
  const float* b = reinterpret_cast<const float*>(c.b + b0);
  const float* b_mirror = b + c.b_stride * kStep;
  const float* b_sum = reinterpret_cast<const float*>(c.b_sums + b0);
  const bool mirrored = c.points == 2;
  Vec t[kTile][kBlocks], acc[kTile][kBlocks];
#pragma GCC unroll 16
  for (int k = 0; k < kTile; ++k)
    for (int n = 0; n < kBlocks; ++n) acc[k][n] = Vec{};
  correlate_real<kTile, kBlocks, kLanes>(a->re, b_sum, acc);
  if (mirrored)
    correlate_real<kTile, kBlocks, kLanes>(a_mirror->re, b_sum + c.b_count * kLanes, acc);
#pragma GCC unroll 16
  for (int k = 0; k < kTile; ++k)
    for (int n = 0; n < kBlocks; ++n) t[k][n] = acc[k][n];
  correlate_real<kTile, kBlocks, kStep>(a->sum, b + kLanes, acc);
  if (mirrored) correlate_real<kTile, kBlocks, kStep>(a_mirror->difference, b_mirror + kLanes, acc);
#pragma GCC unroll 16
  for (int k = 0; k < kTile; ++k)
    for (int n = 0; n < kBlocks; ++n) sums[n * c.b_count + k].re += acc[k][n], acc[k][n] = t[k][n];
  correlate_real<kTile, kBlocks, kStep>(a->difference, b, acc);
  if (mirrored) correlate_real<kTile, kBlocks, kStep, true>(a_mirror->sum, b_mirror, acc);
#pragma GCC unroll 16
  for (int k = 0; k < kTile; ++k)
    for (int n = 0; n < kBlocks; ++n) sums[n * c.b_count + k].im += acc[k][n];
}

template <int kTile, int kBlocks>
void run_correlate(int64_t tile, const Correlated& c, int64_t block, int64_t b0, Complex* sums) {
  if (tile == kTile) return correlate_tile<kTile, kBlocks>(c, block, b0, sums);
  if constexpr (kTile > 1) run_correlate<kTile - 1, kBlocks>(tile, c, block, b0, sums);
}

int64_t dw_spectrum_floats(const SpectralShape& p) {
  const bool tx = transposes_x(p);
  const int64_t a = tx ? p.K : part_channels(p), b = tx ? part_channels(p) : p.K;
  return p.table.height() * operand_blocks(a) * b * 2 * kLanes;
}

// Room for both operands at h and -h as correlate_spectra keeps them.
int64_t operand_floats(const SpectralShape& p) {
  const int64_t x = p.K, g = part_channels(p);
  const int64_t blocks = operand_blocks(x > g ? x : g);
  return 2 * (blocks * static_cast<int64_t>(sizeof(Transposed) / sizeof(float)) +
              (x > g ? x : g) * kLanes);
}

// A share of the frequencies.
void correlate_spectra(const SpectralShape& p, const Complex* g, const Complex* x, Share share,
                       float* scratch, Complex* sums) {
  const bool tx = transposes_x(p);
  const int64_t na = tx ? p.K : part_channels(p), nb = tx ? part_channels(p) : p.K;
  const Complex *a = tx ? x : g, *b = tx ? g : x;
  const int64_t blocks = operand_blocks(na);
  Transposed* transposed = reinterpret_cast<Transposed*>(scratch);
  Vec* b_sums = reinterpret_cast<Vec*>(transposed + 2 * blocks);
  const Split pairs(nb, kFiltersMost), singles(nb, 2 * kFiltersMost);
  const int64_t first_h = share.begin(p.table.height()), last_h = share.end(p.table.height());
  sums += first_h * blocks * nb;
  for (int64_t h = first_h; h < last_h; ++h) {
    const int64_t slot = p.table.first(h), points = p.table.count(h);
    const Complex* b_h = b + slot * odd(nb);
    for (int64_t i = 0; i < points; ++i) {
      for (int64_t block = 0; block < blocks; ++block)
        transpose_block(a + (slot + i) * odd(na) + block * kLanes, transposed + i * blocks + block);
      const Complex* from = b_h + i * odd(nb);
      for (int64_t k = 0; k < nb; ++k)
        b_sums[i * nb + k] = i ? from[k].re + from[k].im : from[k].re - from[k].im;
    }
    const Correlated c{points, blocks, transposed, b_h, odd(nb), b_sums, nb};
    for (int64_t block = 0; block < blocks; block += 2) {
      const bool pair = block + 1 < blocks;
      const Split& tiles = pair ? pairs : singles;
      for (int64_t tile = 0; tile < tiles.parts; ++tile) {
        const int64_t b0 = tiles.begin(tile), size = tiles.begin(tile + 1) - b0;
        Complex* first = sums + block * nb + b0;
        if (pair)
          run_correlate<kFiltersMost, 2>(size, c, block, b0, first);
        else
          run_correlate<2 * kFiltersMost, 1>(size, c, block, b0, first);
      }
    }
    sums += blocks * nb;
  }
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_PRODUCTS_H_
