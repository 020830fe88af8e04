// Spectral dilated convolution: overlap-save FFT tiles over the phases of the dilation.
//
//   for each unit (see Tiling in kernels.h)               the driver's parallel loop
//     for each channel, part: load the tiles into lanes, FFT            z in L1, X[point][channel]
//     for each frequency h and -h: Y[.][k] = sum_c S[h][k][c] X[.][c]   weights read once for both
//     for each filter: inverse FFT, store `hop` outputs of each tile with the epilogue
//
// Both tiles of a pair go through one complex FFT: the filter is real, so the real and imaginary
// parts never mix. Rounding (and Inf) spreads within a pair; a tile that is all zero is flagged
// and its outputs are exact zeros before the epilogue.
// Backward-data is the same with channels and filters swapped and the taps flipped, and its
// spectrum of g serves backward-weight too: with x cut to the `hop` positions that the tile's
// outputs own, sum_lanes conj(X) G is the spectrum of that tile's share of dw.
// Cache budget: one channel's tile in L1; X, Y and the weight spectra in L2 or L3.
#include "products.h"
#include "tiles.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

// ---------------------------------------------------------------------------- weight spectra

int64_t spectra_floats(const SpectralShape& p) {
  return 3 * p.table.height() * p.K * part_channels(p);
}

// Where filter k of channel c (of C*parts) lies in the spectra of one frequency, and how far its
// three values (see multiply_pair) are from each other.
struct SpectraIndex {
  int64_t first, step;
  SpectraIndex() = default;
  SpectraIndex(const SpectralShape& p, const Split& tiles, int64_t k, int64_t c) {
    const int64_t big = tiles.larger * (tiles.small + 1), channels = part_channels(p);
    const int64_t size = k < big ? tiles.small + 1 : tiles.small;
    const int64_t k0 = k < big ? k / size * size : big + (k - big) / size * size;
    first = 3 * k0 * channels + c * size + (k - k0);
    step = size * channels;
  }
};

// conj(FFT(w)) / length for filters [k0, k0 + 2*lanes) of one channel: the first `lanes` ride as
// real, the others as imaginary parts, and are separated by the symmetry of a real spectrum.
void filter_spectra(const SpectralShape& p, const WeightView& w, int64_t c, int64_t part,
                    int64_t k0, Complex* z, Complex* spectrum, float* spectra) {
  const int64_t length = p.table.length, s0 = part * p.tiling.part_taps;
  const int64_t taps = p.taps.S - s0 < p.tiling.part_taps ? p.taps.S - s0 : p.tiling.part_taps;
  const int64_t filters = p.K - k0 < 2 * kLanes ? p.K - k0 : 2 * kLanes;
  float lanes[2 * kLanes] = {};
  for (int64_t t = 0; t < taps; ++t) {
    const float* at = w.data + k0 * w.k_stride + c * w.c_stride + (s0 + t) * w.s_stride;
    for (int64_t i = 0; i < filters; ++i) {
      const float weight = at[i * w.k_stride];
      lanes[i] = w.to_bf16 ? rounded(weight) : weight;
    }
    put(z + t, {load(lanes), load(lanes + kLanes)});
  }
  InPlace source{z};
  fft_forward(p.table, &source, taps, z, spectrum, 1);
  const Split tiles(p.K, kFiltersMost);
  const float scale = 0.5f / static_cast<float>(length);
  SpectraIndex index[2 * kLanes];
  for (int64_t i = 0; i < filters; ++i)
    index[i] = SpectraIndex(p, tiles, k0 + i, c * p.tiling.parts + part);
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const Complex* pair = spectrum + p.table.first(h);
    const Complex a = get(pair), b = get(pair + p.table.count(h) - 1);
    float re[2 * kLanes], im[2 * kLanes];
    store(re, (a.re + b.re) * scale), store(re + kLanes, (a.im + b.im) * scale);
    store(im, (b.im - a.im) * scale), store(im + kLanes, (a.re - b.re) * scale);
    float* out = spectra + 3 * h * p.K * part_channels(p);
    for (int64_t i = 0; i < filters; ++i) {
      float* at = out + index[i].first;
      at[0] = re[i], at[index[i].step] = re[i] + im[i], at[2 * index[i].step] = im[i] - re[i];
    }
  }
}

void weight_spectra(const SpectralShape& p, const WeightView& w, int64_t c0, int64_t c1,
                    float* spectra, float* workspace) {
  Complex* z = reinterpret_cast<Complex*>(workspace);
  for (int64_t c = c0; c < c1; ++c)
    for (int64_t part = 0; part < p.tiling.parts; ++part)
      for (int64_t k = 0; k < p.K; k += 2 * kLanes)
        filter_spectra(p, w, c, part, k, z, z + p.table.length, spectra);
}

// ---------------------------------------------------------------------------------- forward

// Where the tiles of channel c, part by part, and of filter k start.
Lanes input_lanes(const SpectralShape& p, int64_t unit, int64_t part) {
  return unit_lanes(p, unit, part * p.tiling.part_taps * p.taps.d - p.taps.pad_left);
}
template <class T>
Ahead<T> input_ahead(const SpectralConv<T>& p, int64_t unit, int64_t c, int64_t part) {
  const int64_t start = input_lanes(p, unit, part).start;
  return {p.x.row(c) + start, p.relu_of.row(c) + start};
}
template <class T>
Ahead<T> output_ahead(const SpectralConv<T>& p, int64_t unit, int64_t k) {
  const int64_t start = unit_lanes(p, unit, 0).start;
  return {p.y + k * p.y_stride + start, p.residual.row(k) + start};
}

// Spectra of all channels and parts of a unit: X[point][channel]. `after`: touched next.
template <class T>
void transform_input(const SpectralConv<T>& p, int64_t unit, const Ahead<T>& after, Complex* z,
                     Complex* x, Loaded* loaded) {
  const int64_t channels = part_channels(p), parts = p.tiling.parts;
  for (int64_t i = 0; i < channels; ++i) {
    const int64_t c = i / parts, part = i % parts, next = i + 1;
    const MaskedRow<T> row{p.x.row(c), p.relu_of.row(c), p.taps.W};
    const Ahead<T> ahead =
        next < channels ? input_ahead(p, unit, next / parts, next % parts) : after;
    transform_tiles(p.table, input_lanes(p, unit, part), row, ahead, p.table.length, z,
                    {x + i, odd(channels)}, loaded);
  }
}

template <class T>
void finish_output(const SpectralConv<T>& p, int64_t unit, const Ahead<T>& after, Complex* y,
                   Complex* z, const Loaded& loaded) {
  const float least = p.relu ? 0 : -__builtin_inff();
  for (int64_t k = 0; k < p.K; ++k) {
    const OutputRow<T> row{p.y + k * p.y_stride, p.residual.row(k), p.outputs,
                           p.bias ? p.bias[k] : 0, least};
    const Ahead<T> ahead = k + 1 < p.K ? output_ahead(p, unit, k + 1) : after;
    restore_tiles(p.table, {y + k, odd(p.K)}, unit_lanes(p, unit, 0), row, ahead, p.tiling.hop, z,
                  loaded);
  }
}

struct Workspace {
  Complex *z, *in, *out;
  float* operands;  // of correlate_spectra
};

Workspace divide(const SpectralShape& p, float* floats) {
  Complex* z = reinterpret_cast<Complex*>(floats);
  Complex* in = z + p.table.length;
  Complex* out = in + p.table.length * odd(part_channels(p));
  return {z, in, out, reinterpret_cast<float*>(out + p.table.length * odd(p.K))};
}

int64_t workspace_floats(const SpectralShape& p) {
  return 2 * kLanes * p.table.length * (1 + odd(part_channels(p)) + odd(p.K)) + operand_floats(p);
}

template <class T>
void forward(const SpectralConv<T>& p, int64_t unit, float* workspace) {
  const Workspace w = divide(p, workspace);
  Loaded loaded;
  transform_input(p, unit, output_ahead(p, unit, 0), w.z, w.in, &loaded);
  multiply_spectra(p, p.spectra, w.in, w.out);
  finish_output(p, unit, input_ahead(p, unit + 1, 0, 0), w.out, w.z, loaded);
}

// --------------------------------------------------------------------------------- backward

template <class T>
void backward(const SpectralBackward<T>& p, int64_t unit, float* workspace) {
  const SpectralConv<T>& conv = p.conv;
  const Workspace w = divide(conv, workspace);
  const Lanes lanes = unit_lanes(conv, unit, 0);
  const auto x_ahead = [&](int64_t c) { return Ahead<T>{p.x.row(c) + lanes.start, nullptr}; };
  const Ahead<T> next_unit = input_ahead(conv, unit + 1, 0, 0);
  Loaded loaded;
  transform_input(conv, unit, p.need_dx ? output_ahead(conv, unit, 0) : x_ahead(0), w.z, w.in,
                  &loaded);
  if (p.need_dx) {
    multiply_spectra(conv, conv.spectra, w.in, w.out);
    finish_output(conv, unit, p.need_dw ? x_ahead(0) : next_unit, w.out, w.z, loaded);
  }
  if (!p.need_dw) return;
  for (int64_t c = 0; c < conv.K; ++c) {
    const MaskedRow<T> row{p.x.row(c), nullptr, conv.outputs};
    Loaded unused;
    transform_tiles(conv.table, lanes, row, c + 1 < conv.K ? x_ahead(c + 1) : next_unit,
                    conv.tiling.hop, w.z, {w.out + c, odd(conv.K)}, &unused);
  }
  correlate_spectra(conv, w.in, w.out, w.operands, reinterpret_cast<Complex*>(p.dw_spectrum));
}

// The two real sequences whose spectra are u and v, through one inverse: Z = U + iV.
void gradient_pair(const SpectralShape& p, const Complex* u, const Complex* v, int64_t stride,
                   float sign, Complex* z) {
  Complex* spectrum = z + p.table.length;
  for (int64_t h = 0; h < p.table.height(); ++h, u += stride, v += v ? stride : 0) {
    Complex a = get(u), b = v ? get(v) : Complex{Vec{}, Vec{}};
    a.im *= sign, b.im *= sign;
    Complex* pair = spectrum + p.table.first(h);
    if (p.table.count(h) == 1) {
      put(pair, {2 * a.re, 2 * b.re});
    } else {
      put(pair, {a.re - b.im, a.im + b.re});
      put(pair + 1, {a.re + b.im, b.re - a.im});
    }
  }
  fft_inverse(p.table, spectrum, 1, z, p.tiling.part_taps, InPlace{z});
}

void weight_gradient(const SpectralShape& p, const float* dw_spectrum, const WeightView& view,
                     float* dw, float* workspace) {
  const Complex* sums = reinterpret_cast<const Complex*>(dw_spectrum);
  Complex* z = reinterpret_cast<Complex*>(workspace);
  const bool tx = transposes_x(p);
  const int64_t na = tx ? p.K : part_channels(p), nb = tx ? part_channels(p) : p.K;
  const int64_t blocks = operand_blocks(na);
  const float scale = 0.5f / static_cast<float>(p.table.length);
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t b0 = 0; b0 < nb; b0 += 2) {
      const Complex* u = sums + block * nb + b0;
      gradient_pair(p, u, b0 + 1 < nb ? u + 1 : nullptr, blocks * nb, tx ? -1.0f : 1.0f, z);
      for (int64_t b = b0; b < nb && b < b0 + 2; ++b)
        for (int64_t i = 0; i < kLanes && block * kLanes + i < na; ++i) {
          const int64_t k = tx ? block * kLanes + i : b, c_part = tx ? b : block * kLanes + i;
          const int64_t c = c_part / p.tiling.parts,
                        s0 = c_part % p.tiling.parts * p.tiling.part_taps;
          for (int64_t s = s0; s < p.taps.S && s < s0 + p.tiling.part_taps; ++s) {
            const Complex& value = z[s - s0];
            dw[k * view.k_stride + c * view.c_stride + s * view.s_stride] =
                scale * (b == b0 ? value.re[i] : value.im[i]);
          }
        }
    }
}

}  // namespace

extern const SpectraKernels spectra{spectra_floats, dw_spectrum_floats, workspace_floats,
                                    weight_spectra, weight_gradient};
extern const SpectralKernels<float> spectral{forward<float>, backward<float>};
extern const SpectralKernels<Bf16> spectral_bf16{forward<Bf16>, backward<Bf16>};

}  // namespace DILCONV_ISA
}  // namespace dilconv
