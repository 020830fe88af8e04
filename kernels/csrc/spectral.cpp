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
// Register budget of the products (16 registers): 10 accumulators + 2 inputs + 2 weights; with 32
// registers 16 + 2 + 2.
// Cache budget: one channel's tile in L1; X, Y and the weight spectra in L2 or L3.
#include "fft.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kFiltersMost = kLanes == 16 ? 8 : 5;

int64_t odd(int64_t n) {
  return n | 1;
}  // strides between points that spread over the cache sets
int64_t part_channels(const SpectralConv& p) {
  return p.C * p.tiling.parts;
}

// ------------------------------------------------------------------------- loading and storing

// The tiles of one unit: point t of tile m (pair m/2, part m%2) of phase i is at
// start + m*tile_step + t*d + i.
struct Lanes {
  int64_t start, tile_step, d, phases;
  int64_t last(int64_t count) const {
    return start + (2 * kLanes / phases - 1) * tile_step + (count - 1) * d + phases - 1;
  }
};

Lanes unit_lanes(const SpectralConv& p, int64_t unit, int64_t shift) {
  const Tiling& t = p.tiling;
  const int64_t tile_step = t.hop * p.taps.d, tiles = 2 * kLanes / t.phases;
  const int64_t start =
      unit % t.phase_groups * t.phases + unit / t.phase_groups * tiles * tile_step;
  return {start + shift, tile_step, p.taps.d, t.phases};
}

// One vector: pieces of `phases` neighbouring floats, `step` apart.
template <int kPhases>
DILCONV_INLINE Vec load_pieces(const float* x, int64_t step) {
  if constexpr (kPhases == kLanes) {
    return load(x);
  } else if constexpr (kPhases * 2 == kLanes) {
    typedef float Half __attribute__((vector_size(sizeof(Vec) / 2), aligned(4), may_alias));
    struct Halves {
      Half low, high;
    } halves{*reinterpret_cast<const Half*>(x), *reinterpret_cast<const Half*>(x + step)};
    Vec v;
    __builtin_memcpy(&v, &halves, sizeof v);
    return v;
  } else {
    Vec v{};
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) v[i] = x[i / kPhases * step + i % kPhases];
    return v;
  }
}

template <int kPhases>
DILCONV_INLINE void store_pieces(float* y, int64_t step, Vec v) {
  if constexpr (kPhases == kLanes) {
    store(y, v);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) y[i / kPhases * step + i % kPhases] = v[i];
  }
}

// Bits of everything loaded, lane by lane: 0 where a tile is all zero.
struct Loaded {
  IntVec re{}, im{};
  DILCONV_INLINE IntVec bits(Vec v) { return reinterpret_cast<IntVec>(v) & 0x7fffffff; }
  void add(const Complex& v) { re |= bits(v.re), im |= bits(v.im); }
};
DILCONV_INLINE Vec keep(Vec v, IntVec loaded) {
  return loaded != 0 ? v : Vec{};
}

// `next`: from this row to the one that will be loaded after it, for prefetching.
template <int kPhases>
void load_inside(const Lanes l, const float* x, const float* mask, int64_t next, int64_t count,
                 Complex* z, Loaded* loaded) {
  Loaded seen = *loaded;
  for (int64_t t = 0; t < count; ++t) {
    const int64_t at = l.start + t * l.d;
    if constexpr (kPhases == kLanes) {
      __builtin_prefetch(x + next + at);
      __builtin_prefetch(x + next + at + l.tile_step);
    }
    Complex v{load_pieces<kPhases>(x + at, 2 * l.tile_step),
              load_pieces<kPhases>(x + at + l.tile_step, 2 * l.tile_step)};
    if (mask) {
      v.re = relu_mask(v.re, load_pieces<kPhases>(mask + at, 2 * l.tile_step));
      v.im = relu_mask(v.im, load_pieces<kPhases>(mask + at + l.tile_step, 2 * l.tile_step));
    }
    seen.add(v);
    put(z + t, v);
  }
  *loaded = seen;
}

template <int kPhases>
void load_phases(const Lanes& l, const float* x, const float* mask, int64_t next, int64_t count,
                 Complex* z, Loaded* loaded) {
  if (l.phases == kPhases) return load_inside<kPhases>(l, x, mask, next, count, z, loaded);
  if constexpr (kPhases > 1) load_phases<kPhases / 2>(l, x, mask, next, count, z, loaded);
}

// The same where some positions lie outside [0, width): element by element.
void load_across_ends(const Lanes& l, const float* x, const float* mask, int64_t width,
                      int64_t count, Complex* z, Loaded* loaded) {
  float lanes[2][kLanes];
  for (int64_t t = 0; t < count; ++t) {
    for (int i = 0; i < kLanes; ++i)
      for (int part = 0; part < 2; ++part) {
        const int64_t tile = 2 * (i / l.phases) + part;
        const int64_t at = l.start + tile * l.tile_step + t * l.d + i % l.phases;
        const bool inside = at >= 0 && at < width;
        lanes[part][i] = !inside ? 0 : mask ? relu_mask(x[at], mask[at]) : x[at];
      }
    put(z + t, {load(lanes[0]), load(lanes[1])});
    loaded->add(z[t]);
  }
}

// Channel c of `rows`, masked: `count` points of every tile of the unit into z, zeros up to
// `length`.
void load_tiles(const Lanes& l, const Rows& rows, const Rows& relu_of, int64_t c, int64_t width,
                int64_t count, int64_t length, Complex* z, Loaded* loaded) {
  const float* x = rows.data + c * rows.stride;
  const float* mask = relu_of.data ? relu_of.data + c * relu_of.stride : nullptr;
  if (l.start < 0 || l.last(count) >= width)
    load_across_ends(l, x, mask, width, count, z, loaded);
  else
    load_phases<kLanes>(l, x, mask, rows.stride, count, z, loaded);
  for (int64_t t = count; t < length; ++t) put(z + t, {Vec{}, Vec{}});
}

struct Output {
  float* y;
  int64_t next;  // to the row that will be stored after this one
  const float* residual;
  float bias;
  bool relu;
};

template <int kPhases>
void store_inside(const Lanes l, const Output o, int64_t count, const Complex* z,
                  const Loaded loaded) {
  for (int64_t t = 0; t < count; ++t)
    for (int part = 0; part < 2; ++part) {
      const int64_t at = l.start + t * l.d + part * l.tile_step;
      if constexpr (kPhases == kLanes) __builtin_prefetch(o.y + o.next + at);
      Vec v = (part ? keep(z[t].im, loaded.im) : keep(z[t].re, loaded.re)) + o.bias;
      if (o.residual) v += load_pieces<kPhases>(o.residual + at, 2 * l.tile_step);
      store_pieces<kPhases>(o.y + at, 2 * l.tile_step, o.relu ? relu(v) : v);
    }
}

template <int kPhases>
void store_phases(const Lanes& l, const Output& o, int64_t count, const Complex* z,
                  const Loaded& loaded) {
  if (l.phases == kPhases) return store_inside<kPhases>(l, o, count, z, loaded);
  if constexpr (kPhases > 1) store_phases<kPhases / 2>(l, o, count, z, loaded);
}

void store_across_end(const Lanes& l, const Output& o, int64_t outputs, int64_t count,
                      const Complex* z, const Loaded& loaded) {
  for (int64_t t = 0; t < count; ++t)
    for (int part = 0; part < 2; ++part) {
      const Vec v = (part ? keep(z[t].im, loaded.im) : keep(z[t].re, loaded.re)) + o.bias;
      for (int i = 0; i < kLanes; ++i) {
        const int64_t at =
            l.start + (2 * (i / l.phases) + part) * l.tile_step + t * l.d + i % l.phases;
        if (at >= outputs) continue;
        const float sum = o.residual ? v[i] + o.residual[at] : v[i];
        o.y[at] = o.relu ? relu(sum) : sum;
      }
    }
}

void store_tiles(const Lanes& l, const Output& o, int64_t outputs, int64_t count, const Complex* z,
                 const Loaded& loaded) {
  if (l.last(count) >= outputs)
    store_across_end(l, o, outputs, count, z, loaded);
  else
    store_phases<kLanes>(l, o, count, z, loaded);
}

// --------------------------------------------------------------------------------- products

template <int KR, bool kConj>
DILCONV_INLINE void multiply_point(const Complex* x, int64_t channels, const float* w, Complex* y) {
  Complex acc[KR];
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) put(acc + k, {Vec{}, Vec{}});
#pragma GCC unroll 2
  for (int64_t c = 0; c < channels; ++c, w += 2 * KR) {
    const Complex in = get(x + c);
#pragma GCC unroll 8
    for (int k = 0; k < KR; ++k) {
      acc[k].re += w[2 * k] * in.re;
      acc[k].im += w[2 * k] * in.im;
      if constexpr (kConj) {
        acc[k].re += w[2 * k + 1] * in.im;
        acc[k].im -= w[2 * k + 1] * in.re;
      } else {
        acc[k].re -= w[2 * k + 1] * in.im;
        acc[k].im += w[2 * k + 1] * in.re;
      }
    }
  }
#pragma GCC unroll 8
  for (int k = 0; k < KR; ++k) put(y + k, acc[k]);
}

// One spectrum of x or y: `stride` apart from slot to slot, `count` slots of frequencies h, -h.
struct Slots {
  int64_t x_stride, y_stride, count;
};

// Frequencies h and -h of one tile of filters.
template <int KR>
void multiply_pair(const Complex* x, int64_t channels, const float* w, const Slots& s, Complex* y) {
  multiply_point<KR, false>(x, channels, w, y);
  if (s.count == 2) multiply_point<KR, true>(x + s.x_stride, channels, w, y + s.y_stride);
}

template <int KR>
void run_multiply_pair(int64_t filters, const Complex* x, int64_t channels, const float* w,
                       const Slots& s, Complex* y) {
  if (filters == KR) return multiply_pair<KR>(x, channels, w, s, y);
  if constexpr (KR > 1) run_multiply_pair<KR - 1>(filters, x, channels, w, s, y);
}

void multiply_spectra(const SpectralConv& p, const Complex* x, Complex* y) {
  const int64_t channels = part_channels(p), x_stride = odd(channels), y_stride = odd(p.K);
  const Split tiles(p.K, kFiltersMost);
  const float* w = p.spectra;
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const int64_t slot = p.table.first(h);
    const Slots slots{x_stride, y_stride, p.table.count(h)};
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t k0 = tiles.begin(tile), filters = tiles.begin(tile + 1) - k0;
      run_multiply_pair<kFiltersMost>(filters, x + slot * x_stride, channels, w, slots,
                                      y + slot * y_stride + k0);
      w += 2 * filters * channels;
    }
  }
}

// ---------------------------------------------------------------------------- weight spectra

int64_t spectra_floats(const SpectralConv& p) {
  return 2 * p.table.height() * p.K * part_channels(p);
}

// Where filter k of channel c (of C*parts) lies in the spectra of one frequency.
int64_t spectra_index(const SpectralConv& p, const Split& tiles, int64_t k, int64_t c) {
  const int64_t big = tiles.larger * (tiles.small + 1);
  const int64_t size = k < big ? tiles.small + 1 : tiles.small;
  const int64_t k0 = k < big ? k / size * size : big + (k - big) / size * size;
  return 2 * (k0 * part_channels(p) + c * size + (k - k0));
}

// conj(FFT(w)) / length for filters [k0, k0 + 2*lanes) of one channel: the first `lanes` ride as
// real, the others as imaginary parts, and are separated by the symmetry of a real spectrum.
void filter_spectra(const SpectralConv& p, const WeightView& w, int64_t c, int64_t part, int64_t k0,
                    Complex* z, Complex* spectrum, float* spectra) {
  const int64_t length = p.table.length, s0 = part * p.tiling.part_taps;
  const int64_t taps = p.taps.S - s0 < p.tiling.part_taps ? p.taps.S - s0 : p.tiling.part_taps;
  const int64_t filters = p.K - k0 < 2 * kLanes ? p.K - k0 : 2 * kLanes;
  float lanes[2 * kLanes] = {};
  for (int64_t t = 0; t < length; ++t) {
    if (t < taps) {
      const float* at = w.data + k0 * w.k_stride + c * w.c_stride + (s0 + t) * w.s_stride;
      for (int64_t i = 0; i < filters; ++i) lanes[i] = at[i * w.k_stride];
    }
    put(z + t, t < taps ? Complex{load(lanes), load(lanes + kLanes)} : Complex{Vec{}, Vec{}});
  }
  fft_forward(p.table, z, spectrum, 1);
  const Split tiles(p.K, kFiltersMost);
  const float scale = 0.5f / static_cast<float>(length);
  int64_t index[2 * kLanes];
  for (int64_t i = 0; i < filters; ++i)
    index[i] = spectra_index(p, tiles, k0 + i, c * p.tiling.parts + part);
  for (int64_t h = 0; h < p.table.height(); ++h) {
    const Complex* pair = spectrum + p.table.first(h);
    const Complex a = get(pair), b = get(pair + p.table.count(h) - 1);
    float re[2 * kLanes], im[2 * kLanes];
    store(re, (a.re + b.re) * scale), store(re + kLanes, (a.im + b.im) * scale);
    store(im, (b.im - a.im) * scale), store(im + kLanes, (a.re - b.re) * scale);
    float* out = spectra + 2 * h * p.K * part_channels(p);
    for (int64_t i = 0; i < filters; ++i) out[index[i]] = re[i], out[index[i] + 1] = im[i];
  }
}

void weight_spectra(const SpectralConv& p, const WeightView& w, int64_t c0, int64_t c1,
                    float* spectra, float* workspace) {
  Complex* z = reinterpret_cast<Complex*>(workspace);
  for (int64_t c = c0; c < c1; ++c)
    for (int64_t part = 0; part < p.tiling.parts; ++part)
      for (int64_t k = 0; k < p.K; k += 2 * kLanes)
        filter_spectra(p, w, c, part, k, z, z + p.table.length, spectra);
}

// ---------------------------------------------------------------------------------- forward

// Spectra of all channels and parts of a unit: X[point][channel].
void transform_input(const SpectralConv& p, int64_t unit, Complex* z, Complex* x, Loaded* loaded) {
  const int64_t channels = part_channels(p);
  for (int64_t c = 0; c < p.C; ++c)
    for (int64_t part = 0; part < p.tiling.parts; ++part) {
      const int64_t shift = part * p.tiling.part_taps * p.taps.d - p.taps.pad_left;
      load_tiles(unit_lanes(p, unit, shift), p.x, p.relu_of, c, p.taps.W, p.table.length,
                 p.table.length, z, loaded);
      fft_forward(p.table, z, x + c * p.tiling.parts + part, odd(channels));
    }
}

void finish_output(const SpectralConv& p, int64_t unit, const Complex* y, Complex* z,
                   const Loaded& loaded) {
  const Lanes lanes = unit_lanes(p, unit, 0);
  for (int64_t k = 0; k < p.K; ++k) {
    fft_inverse(p.table, y + k, odd(p.K), z);
    const Output output{p.y + k * p.y_stride, p.y_stride,
                        p.residual.data ? p.residual.data + k * p.residual.stride : nullptr,
                        p.bias ? p.bias[k] : 0, p.relu};
    store_tiles(lanes, output, p.outputs, p.tiling.hop, z, loaded);
  }
}

struct Workspace {
  Complex *z, *in, *out, *transposed;
};

Workspace divide(const SpectralConv& p, float* floats) {
  Complex* z = reinterpret_cast<Complex*>(floats);
  Complex* in = z + p.table.length;
  Complex* out = in + p.table.length * odd(part_channels(p));
  return {z, in, out, out + p.table.length * odd(p.K)};
}

int64_t operand_blocks(int64_t n) {
  return (n + kLanes - 1) / kLanes;
}

int64_t workspace_floats(const SpectralConv& p) {
  const int64_t widest = p.K > part_channels(p) ? p.K : part_channels(p);
  return 2 * kLanes *
         (p.table.length * (1 + odd(part_channels(p)) + odd(p.K)) +
          2 * kLanes * operand_blocks(widest));
}

void forward(const SpectralConv& p, int64_t unit, float* workspace) {
  const Workspace w = divide(p, workspace);
  Loaded loaded;
  transform_input(p, unit, w.z, w.in, &loaded);
  multiply_spectra(p, w.in, w.out);
  finish_output(p, unit, w.out, w.z, loaded);
}

// --------------------------------------------------------------------------------- backward
//
// The weight gradient needs sums over lanes. One operand is transposed in registers, so that its
// channels are the lanes; the other is broadcast element by element:
//   D[h][block][b] (lanes: a) = sum_{h, -h} sum_l A[l][a] * conj(B[b][l])
// summed into memory once per unit and frequency.

// Lanes <-> vectors by rounds of interleaving: 2x2 blocks of kHalf lanes change places.
template <int kHalf>
DILCONV_INLINE void transpose(Vec (&v)[kLanes]) {
  IntVec low{}, high{};
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j) {
    low[j] = j & kHalf ? kLanes + j - kHalf : j;
    high[j] = j & kHalf ? kLanes + j : j + kHalf;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (!(i & kHalf)) {
      const Vec a = v[i], b = v[i + kHalf];
      v[i] = __builtin_shuffle(a, b, low);
      v[i + kHalf] = __builtin_shuffle(a, b, high);
    }
  if constexpr (kHalf > 1) transpose<kHalf / 2>(v);
}

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
  transpose<kLanes / 2>(v);
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

void backward(const SpectralBackward& p, int64_t unit, float* workspace) {
  const SpectralConv& conv = p.conv;
  const Workspace w = divide(conv, workspace);
  Loaded loaded;
  transform_input(conv, unit, w.z, w.in, &loaded);
  if (p.need_dx) {
    multiply_spectra(conv, w.in, w.out);
    finish_output(conv, unit, w.out, w.z, loaded);
  }
  if (!p.need_dw) return;
  for (int64_t c = 0; c < conv.K; ++c) {
    Loaded unused;
    load_tiles(unit_lanes(conv, unit, 0), p.x, Rows{}, c, conv.outputs, conv.tiling.hop,
               conv.table.length, w.z, &unused);
    fft_forward(conv.table, w.z, w.out + c, odd(conv.K));
  }
  correlate_spectra(conv, w.in, w.out, w.transposed, reinterpret_cast<Complex*>(p.dw_spectrum));
}

// The two real sequences whose spectra are u and v, through one inverse: Z = U + iV.
void gradient_pair(const SpectralConv& p, const Complex* u, const Complex* v, int64_t stride,
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
  fft_inverse(p.table, spectrum, 1, z);
}

void weight_gradient(const SpectralConv& p, const float* dw_spectrum, const WeightView& view,
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

extern const SpectralKernels spectral{
    spectra_floats, dw_spectrum_floats, workspace_floats, weight_spectra,
    forward,        backward,           weight_gradient};

}  // namespace DILCONV_ISA
}  // namespace dilconv
