// Spectral dilated convolution: overlap-save FFT tiles over the phases of the dilation.
//
//   for each unit (see Tiling in kernels.h)               the driver's parallel loop
//     for each channel, part: load the tiles into lanes, FFT            z in L1, X[point][channel]
//     for each frequency h and -h: Y[.][k] = sum_c S[h][k][c] X[.][c]   weights read once for both
//     for each filter: inverse FFT, store `hop` outputs of each tile with the epilogue
// Each of these three loops may be shared by threads where there are more of them than units.
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
  return 3 * p.table.height() * p.K * part_channels(p) + p.K;
}
// By filter: not 0 where it holds Inf or NaN.
const float* broken_filters(const SpectralShape& p, const float* spectra) {
  return spectra + spectra_floats(p) - p.K;
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

// Filters [k0, k0 + count), at most two vectors of them, of one part of a channel.
struct FilterGroup {
  int64_t c, part, k0, count;
};

// The taps of a group into z: the first `lanes` filters ride as real, the others as imaginary
// parts. Those with Inf or NaN are left out, for they would reach their partners, and said in
// `broken`. Returns how many taps.
int64_t load_filters(const SpectralShape& p, const WeightView& w, const FilterGroup& group,
                     Complex* z, bool (&broken)[2 * kLanes]) {
  const int64_t s0 = group.part * p.tiling.part_taps;
  const int64_t taps = p.taps.S - s0 < p.tiling.part_taps ? p.taps.S - s0 : p.tiling.part_taps;
  const float* first = w.data + group.k0 * w.k_stride + group.c * w.c_stride + s0 * w.s_stride;
  const auto weight = [&](int64_t i, int64_t t) {
    const float v = first[i * w.k_stride + t * w.s_stride];
    return w.to_bf16 ? rounded(v) : v;
  };
  for (int64_t i = 0; i < group.count; ++i) {
    float zero = 0;
    for (int64_t t = 0; t < taps; ++t) zero += 0 * weight(i, t);
    broken[i] = !(zero == 0);
  }
  float lanes[2 * kLanes] = {};
  for (int64_t t = 0; t < taps; ++t) {
    for (int64_t i = 0; i < group.count; ++i) lanes[i] = broken[i] ? 0 : weight(i, t);
    put(z + t, {load(lanes), load(lanes + kLanes)});
  }
  return taps;
}

// conj(FFT(w)) / length of a group, told apart by the symmetry of a real spectrum; NaN for the
// broken ones.
void filter_spectra(const SpectralShape& p, const WeightView& w, const FilterGroup& group,
                    Complex* z, float* spectra) {
  Complex* spectrum = z + p.table.length;
  bool broken[2 * kLanes];
  const int64_t taps = load_filters(p, w, group, z, broken);
  InPlace source{z};
  fft_forward(p.table, &source, taps, z, spectrum, 1);
  const Split tiles(p.K, kFiltersMost);
  const float scale = 0.5f / static_cast<float>(p.table.length);
  float* flags = spectra + spectra_floats(p) - p.K;
  float scales[2 * kLanes] = {};
  SpectraIndex index[2 * kLanes];
  for (int64_t i = 0; i < group.count; ++i) {
    index[i] = SpectraIndex(p, tiles, group.k0 + i, group.c * p.tiling.parts + group.part);
    scales[i] = broken[i] ? __builtin_nanf("") : scale;
    if (broken[i])
      __atomic_store_n(reinterpret_cast<int32_t*>(flags + group.k0 + i), 1, __ATOMIC_RELAXED);
  }
  const Vec low = load(scales), high = load(scales + kLanes);
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const Complex* pair = spectrum + p.table.first(h);
    const Complex a = get(pair), b = get(pair + p.table.count(h) - 1);
    float re[2 * kLanes], im[2 * kLanes];
    store(re, (a.re + b.re) * low), store(re + kLanes, (a.im + b.im) * high);
    store(im, (b.im - a.im) * low), store(im + kLanes, (a.re - b.re) * high);
    float* out = spectra + 3 * h * p.K * part_channels(p);
    for (int64_t i = 0; i < group.count; ++i) {
      float* at = out + index[i].first;
      at[0] = re[i], at[index[i].step] = re[i] + im[i], at[2 * index[i].step] = im[i] - re[i];
    }
  }
}

void weight_spectra(const SpectralShape& p, const WeightView& w, Share share, float* spectra,
                    float* own) {
  Complex* z = reinterpret_cast<Complex*>(own);
  const int64_t parts = p.tiling.parts, groups = (p.K + 2 * kLanes - 1) / (2 * kLanes);
  const int64_t total = groups * part_channels(p);
  for (int64_t i = share.begin(total); i < share.end(total); ++i) {
    const int64_t c = i / groups, k0 = i % groups * 2 * kLanes;
    const int64_t count = p.K - k0 < 2 * kLanes ? p.K - k0 : 2 * kLanes;
    filter_spectra(p, w, {c / parts, c % parts, k0, count}, z, spectra);
  }
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

// What a unit holds: the spectra of its inputs, X[point][channel], and of its outputs or of what
// they are multiplied by, Y[point][filter], and what was loaded, channel by channel.
struct Unit {
  Complex *in, *out;
  Loaded* loaded;
  Unit(const SpectralShape& p, float* floats)
      : in(reinterpret_cast<Complex*>(floats)),
        out(in + p.table.length * odd(part_channels(p))),
        loaded(reinterpret_cast<Loaded*>(out + p.table.length * odd(p.K))) {}
};

// Lanes beyond the last spectrum are read, see transpose_block.
int64_t unit_floats(const SpectralShape& p) {
  return 2 * kLanes *
         (p.table.length * (odd(part_channels(p)) + odd(p.K)) + part_channels(p) + kLanes);
}

// The transforms' work array, for a group of filters beside its spectrum; or the operands of
// correlate_spectra.
int64_t own_floats(const SpectralShape& p) {
  const int64_t transforms = 2 * kLanes * 2 * p.table.length, operands = operand_floats(p);
  return transforms > operands ? transforms : operands;
}

template <class T>
Ahead<T> multiplied_ahead(const SpectralConv<T>& p, int64_t number, int64_t c) {
  return {p.multiplied.row(c) + unit_lanes(p, number, 0).start, nullptr};
}

template <class T>
void load_inputs(const SpectralConv<T>& p, int64_t number, Share share, float* floats, float* own) {
  const Unit unit(p, floats);
  const int64_t channels = part_channels(p), parts = p.tiling.parts;
  for (int64_t i = share.begin(channels); i < share.end(channels); ++i) {
    const int64_t c = i / parts, part = i % parts, next = i + 1;
    const MaskedRow<T> row{p.x.row(c), p.relu_of.row(c), p.taps.W};
    const Ahead<T> ahead = next < channels ? input_ahead(p, number, next / parts, next % parts)
                           : p.y           ? output_ahead(p, number, 0)
                                           : multiplied_ahead(p, number, 0);
    Loaded loaded;
    transform_tiles(p.table, input_lanes(p, number, part), row, ahead, p.table.length,
                    reinterpret_cast<Complex*>(own), {unit.in + i, odd(channels)}, &loaded);
    unit.loaded[i] = loaded;
  }
}

void multiply(const SpectralShape& p, const float* spectra, Share share, float* floats) {
  const Unit unit(p, floats);
  multiply_spectra(p, spectra, share, unit.in, unit.out);
}

template <class T>
void store_outputs(const SpectralConv<T>& p, int64_t number, Share share, float* floats,
                   float* own) {
  const Unit unit(p, floats);
  const float least = p.relu ? 0 : -__builtin_inff();
  const float* broken = broken_filters(p, p.spectra);
  Loaded loaded;
  for (int64_t i = 0; i < part_channels(p); ++i) loaded.add(unit.loaded[i]);
  for (int64_t k = share.begin(p.K); k < share.end(p.K); ++k) {
    const OutputRow<T> row{p.y + k * p.y_stride, p.residual.row(k), p.outputs,
                           p.bias ? p.bias[k] : 0, least};
    const Ahead<T> ahead = k + 1 < p.K         ? output_ahead(p, number, k + 1)
                           : p.multiplied.data ? multiplied_ahead(p, number, 0)
                                               : input_ahead(p, number + 1, 0, 0);
    restore_tiles(p.table, {unit.out + k, odd(p.K)}, unit_lanes(p, number, 0), row, ahead,
                  p.tiling.hop, reinterpret_cast<Complex*>(own), Keep(loaded, broken[k] != 0));
  }
}

// --------------------------------------------------------------------------------- backward

// What the inputs are multiplied by, where the outputs' spectra were.
template <class T>
void load_multiplied(const SpectralConv<T>& p, int64_t number, Share share, float* floats,
                     float* own) {
  const Unit unit(p, floats);
  for (int64_t c = share.begin(p.K); c < share.end(p.K); ++c) {
    const MaskedRow<T> row{p.multiplied.row(c), nullptr, p.outputs};
    const Ahead<T> ahead =
        c + 1 < p.K ? multiplied_ahead(p, number, c + 1) : input_ahead(p, number + 1, 0, 0);
    Loaded unused;
    transform_tiles(p.table, unit_lanes(p, number, 0), row, ahead, p.tiling.hop,
                    reinterpret_cast<Complex*>(own), {unit.out + c, odd(p.K)}, &unused);
  }
}

void correlate(const SpectralShape& p, const float* floats, Share share, float* own,
               float* dw_spectrum) {
  const Unit unit(p, const_cast<float*>(floats));
  correlate_spectra(p, unit.in, unit.out, share, own, reinterpret_cast<Complex*>(dw_spectrum));
}

// All ones in the lanes of finite numbers.
DILCONV_INLINE IntVec finite(Complex v) { return (0 * v.re == 0) & (0 * v.im == 0); }

// The two real sequences whose spectra are u and v, through one inverse: Z = U + iV. Inf or NaN in
// one, then in all of its spectrum, makes NaN of that one alone.
void gradient_pair(const SpectralShape& p, const Complex* u, const Complex* v, int64_t stride,
                   float sign, Complex* z) {
  Complex* spectrum = z + p.table.length;
  const IntVec u_finite = finite(get(u)), v_finite = v ? finite(get(v)) : IntVec{};
  const auto part = [](const Complex* from, IntVec keep, float sign) {
    return Complex{Keep::only(from->re, keep), sign * Keep::only(from->im, keep)};
  };
  for (int64_t h = 0; h < p.table.height(); ++h, u += stride, v += v ? stride : 0) {
    const Complex a = part(u, u_finite, sign), b = part(v ? v : u, v_finite, sign);
    Complex* pair = spectrum + p.table.first(h);
    if (p.table.count(h) == 1) {
      put(pair, {2 * a.re, 2 * b.re});
    } else {
      put(pair, {a.re - b.im, a.im + b.re});
      put(pair + 1, {a.re + b.im, b.re - a.im});
    }
  }
  fft_inverse(p.table, spectrum, 1, z, p.tiling.part_taps, InPlace{z});
  for (int64_t t = 0; t < p.tiling.part_taps; ++t) {  // all ones are a NaN
    z[t].re = reinterpret_cast<Vec>(bits(z[t].re) | ~u_finite);
    z[t].im = reinterpret_cast<Vec>(bits(z[t].im) | ~v_finite);
  }
}

void weight_gradient(const SpectralShape& p, const float* dw_spectrum, const WeightView& view,
                     Share share, float* dw, float* own) {
  const Complex* sums = reinterpret_cast<const Complex*>(dw_spectrum);
  Complex* z = reinterpret_cast<Complex*>(own);
  const bool tx = transposes_x(p);
  const int64_t na = tx ? p.K : part_channels(p), nb = tx ? part_channels(p) : p.K;
  const int64_t blocks = operand_blocks(na), pairs = (nb + 1) / 2, total = blocks * pairs;
  const float scale = 0.5f / static_cast<float>(p.table.length);
  for (int64_t n = share.begin(total); n < share.end(total); ++n) {
    const int64_t block = n / pairs, b0 = n % pairs * 2;
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

extern const SpectraKernels spectra{spectra_floats, dw_spectrum_floats, unit_floats,
                                    own_floats,     weight_spectra,     multiply,
                                    correlate,      weight_gradient};
extern const SpectralKernels<float> spectral{load_inputs<float>, store_outputs<float>,
                                             load_multiplied<float>};
extern const SpectralKernels<Bf16> spectral_bf16{load_inputs<Bf16>, store_outputs<Bf16>,
                                                 load_multiplied<Bf16>};

}  // namespace DILCONV_ISA
}  // namespace dilconv
