// The tiles of one unit (Tiling in kernels.h) between rows in memory and spectra in SIMD lanes:
// forward with virtual padding and the ReLU mask of backward, back with the epilogue of forward.
//
// Three ways to the lanes, by the layout: a whole vector of neighbouring phases is loaded by the
// first pass of the FFT itself (and stored by the last one); where all phases of a narrower
// dilation are in the lanes, blocks of points are transposed in registers; else piece by piece.
#ifndef DILCONV_TILES_H_
#define DILCONV_TILES_H_

#include "fft.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

// The tiles of one unit: point t of tile m (pair m/2, part m%2) of phase i is at
// start + m*tile_step + t*d + i.
struct Lanes {
  int64_t start, tile_step, d, phases;
  int64_t offset(int64_t t, int64_t part) const { return part * tile_step + t * d; }
  int64_t at(int64_t t, int64_t part) const { return start + offset(t, part); }
  int64_t last(int64_t count) const {
    return start + (2 * kLanes / phases - 1) * tile_step + (count - 1) * d + phases - 1;
  }
};

Lanes unit_lanes(const SpectralShape& p, int64_t unit, int64_t shift) {
  const Tiling& t = p.tiling;
  const int64_t tile_step = t.hop * p.taps.d, tiles = 2 * kLanes / t.phases;
  const int64_t start =
      unit % t.phase_groups * t.phases + unit / t.phase_groups * tiles * tile_step;
  return {start + shift, tile_step, p.taps.d, t.phases};
}

DILCONV_INLINE IntVec bits(Vec v) { return reinterpret_cast<IntVec>(v); }

// Bits of everything loaded, lane by lane: those of a zero where a tile is all zero.
struct Loaded {
  IntVec re{}, im{};
  void add(const Complex& v) { re |= bits(v.re), im |= bits(v.im); }
  void add(const Loaded& other) { re |= other.re, im |= other.im; }
};

// All ones where something was loaded: makes exact zeros of the rest. Of a filter that holds Inf or
// NaN all is kept: 0 times it is NaN.
struct Keep {
  IntVec re, im;
  Keep(const Loaded& l, bool all)
      : re(((l.re & 0x7fffffff) != 0) | -int32_t{all}),
        im(((l.im & 0x7fffffff) != 0) | -int32_t{all}) {}
  DILCONV_INLINE Vec only(Vec v, IntVec mask) { return reinterpret_cast<Vec>(bits(v) & mask); }
};

// One row, zero outside [0, width) and where its mask is not positive.
template <class T>
struct MaskedRow {
  const T *x, *mask;
  int64_t width;

  float element(int64_t at) const {
    if (at < 0 || at >= width) return 0;
    return mask ? relu_mask(get(x + at), get(mask + at)) : get(x + at);
  }
  // Rare and long: out of line; by value, for a row whose address is known is read again and again.
  __attribute__((noinline)) static Vec across_end(const MaskedRow r, int64_t at) {
    if (at + kLanes <= 0 || at >= r.width) return Vec{};
    float lanes[kLanes];
    for (int i = 0; i < kLanes; ++i) lanes[i] = r.element(at + i);
    return DILCONV_ISA::load(lanes);
  }
  template <bool kMasked, bool kInside>
  DILCONV_INLINE Vec vector(const MaskedRow& r, int64_t at) {
    if (!kInside && (at < 0 || at + kLanes > r.width)) return across_end(r, at);
    return kMasked ? relu_mask(DILCONV_ISA::load(r.x + at), DILCONV_ISA::load(r.mask + at))
                   : DILCONV_ISA::load(r.x + at);
  }
};

// The row that becomes one filter's output: y = act(v + bias + residual) below `width`.
template <class T>
struct OutputRow {
  T* y;
  const T* residual;
  int64_t width;
  float bias;
  float least;  // of y: 0 with ReLU, else -Inf

  void element(int64_t at, float v) const {
    if (at >= width) return;
    put(y + at, at_least(residual ? v + bias + get(residual + at) : v + bias, least));
  }
  __attribute__((noinline)) static void across_end(const OutputRow o, int64_t at, Vec v,
                                                   int count) {
    if (at >= o.width) return;
    for (int i = 0; i < count; ++i) o.element(at + i, v[i]);
  }
  template <bool kResidual, bool kInside>
  DILCONV_INLINE void vector(const OutputRow& o, int64_t at, Vec v) {
    if (!kInside && at + kLanes > o.width) return across_end(o, at, v, kLanes);
    v += o.bias;
    if (kResidual) v += DILCONV_ISA::load(o.residual + at);
    DILCONV_ISA::store(o.y + at, at_least(v, o.least));
  }
};

// ---------------------------------------------------------------- vectors of neighbouring phases

// The rows that are touched after the one at work, each where its tiles of the unit start: the
// tensor itself, and its mask or residual. Prefetching them may lead past the end: it never faults.
template <class T>
struct Ahead {
  const T *row, *beside;
};

// Into L2, for L1 is full of the tile at work: a vector of each tile, at the block of points that
// starts at t. Where one cache line holds two vectors: the line of one tile of each pair, by turns.
template <int kPhases, class T>
DILCONV_INLINE void prefetch(const T* row, const Lanes& l, int64_t t) {
  constexpr int kBlock = kLanes / kPhases;
#pragma GCC unroll 16
  for (int m = 0; m < kBlock; ++m) {
    const T* pair = row + 2 * m * l.tile_step;
    if constexpr (kLanes * sizeof(T) < 64) {
      __builtin_prefetch(pair + l.offset(t, t / kBlock & 1), 0, 2);
    } else {
      __builtin_prefetch(pair + l.offset(t, 0), 0, 2);
      __builtin_prefetch(pair + l.offset(t, 1), 0, 2);
    }
  }
}

template <class T, bool kMasked, bool kInside>
struct RowSource {
  Lanes l;
  MaskedRow<T> row;
  Ahead<T> ahead;
  Loaded seen;

  DILCONV_INLINE Complex load(RowSource& s, int64_t t) {
    const int64_t at = s.l.at(t, 0), partner = at + s.l.tile_step;
    prefetch<kLanes>(s.ahead.row, s.l, t);
    if (kMasked) prefetch<kLanes>(s.ahead.beside, s.l, t);
    const Complex v{s.row.template vector<kMasked, kInside>(s.row, at),
                    s.row.template vector<kMasked, kInside>(s.row, partner)};
    s.seen.add(v);
    return v;
  }
};

template <class T, bool kResidual, bool kInside>
struct RowSink {
  Lanes l;
  OutputRow<T> row;
  Ahead<T> ahead;
  Keep keep;

  DILCONV_INLINE void store(const RowSink& s, int64_t t, const Complex& v) {
    const int64_t at = s.l.at(t, 0), partner = at + s.l.tile_step;
    prefetch<kLanes>(s.ahead.row, s.l, t);
    if (kResidual) prefetch<kLanes>(s.ahead.beside, s.l, t);
    s.row.template vector<kResidual, kInside>(s.row, at, Keep::only(v.re, s.keep.re));
    s.row.template vector<kResidual, kInside>(s.row, partner, Keep::only(v.im, s.keep.im));
  }
};

// ---------------------------------------------------------- all phases in the lanes: transposed

// Points [0, count) of the unit into z, in blocks: those behind the last one may be written too.
template <int kPhases, class T>
void load_blocks(const Lanes l, const MaskedRow<T> row, const Ahead<T> ahead, int64_t count,
                 Complex* z, Loaded* loaded) {
  constexpr int kBlock = kLanes / kPhases;
  Loaded seen = *loaded;
  for (int64_t t = 0; t < count; t += kBlock) {
    prefetch<kPhases>(ahead.row, l, t);
    if (row.mask) prefetch<kPhases>(ahead.beside, l, t);
    Vec re[kBlock], im[kBlock];
#pragma GCC unroll 16
    for (int m = 0; m < kBlock; ++m) {
      const int64_t at = l.at(t, 0) + 2 * m * l.tile_step;
      re[m] = row.mask ? row.template vector<true, false>(row, at)
                       : row.template vector<false, false>(row, at);
      im[m] = row.mask ? row.template vector<true, false>(row, at + l.tile_step)
                       : row.template vector<false, false>(row, at + l.tile_step);
    }
    transpose<kLanes / 2, kPhases>(re);
    transpose<kLanes / 2, kPhases>(im);
#pragma GCC unroll 16
    for (int i = 0; i < kBlock; ++i) {
      put(z + t + i, {re[i], im[i]});
      seen.add({re[i], im[i]});
    }
  }
  *loaded = seen;
}

template <int kPhases, class T>
void store_blocks(const Lanes l, const OutputRow<T> row, const Ahead<T> ahead, int64_t count,
                  const Complex* z, const Keep keep) {
  constexpr int kBlock = kLanes / kPhases;
  const int64_t last = count < kBlock ? 0 : count - kBlock;
  for (int64_t block = 0; block < count; block += kBlock) {
    // The last one ends with the tile: what it shares with the one before is written twice.
    const int64_t t = block < last ? block : last;
    prefetch<kPhases>(ahead.row, l, block);
    if (row.residual) prefetch<kPhases>(ahead.beside, l, block);
    for (int part = 0; part < 2; ++part) {
      Vec v[kBlock];
#pragma GCC unroll 16
      for (int i = 0; i < kBlock; ++i)
        v[i] = part ? Keep::only(z[t + i].im, keep.im) : Keep::only(z[t + i].re, keep.re);
      transpose<kLanes / 2, kPhases>(v);
#pragma GCC unroll 16
      for (int m = 0; m < kBlock; ++m) {
        const int64_t at = l.at(t, part) + 2 * m * l.tile_step;
        if (count < kBlock)
          OutputRow<T>::across_end(row, at, v[m], static_cast<int>(count) * kPhases);
        else if (row.residual)
          row.template vector<true, false>(row, at, v[m]);
        else
          row.template vector<false, false>(row, at, v[m]);
      }
    }
  }
}

// -------------------------------------------------------------------------- pieces of the phases

// A vector of pieces of kPhases neighbouring floats, `step` apart.
template <int kPhases, class T>
DILCONV_INLINE Vec join_pieces(const T* x, int64_t step) {
  Vec v{};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) v[i] = get(x + i / kPhases * step + i % kPhases);
  return v;
}

template <int kPhases, class T>
void load_pieces(const Lanes l, const MaskedRow<T> row, int64_t count, Complex* z, Loaded* loaded) {
  const bool inside = l.start >= 0 && l.last(count) < row.width;
  const int64_t step = 2 * l.tile_step;
  float lanes[kLanes];
  for (int64_t t = 0; t < count; ++t) {
    Vec v[2];
    for (int part = 0; part < 2; ++part) {
      const int64_t at = l.at(t, part);
      if (inside) {
        v[part] = join_pieces<kPhases>(row.x + at, step);
        if (row.mask) v[part] = relu_mask(v[part], join_pieces<kPhases>(row.mask + at, step));
      } else {
        for (int i = 0; i < kLanes; ++i)
          lanes[i] = row.element(at + i / kPhases * step + i % kPhases);
        v[part] = load(lanes);
      }
    }
    put(z + t, {v[0], v[1]});
    loaded->add({v[0], v[1]});
  }
}

template <int kPhases, class T>
void store_pieces(const Lanes l, const OutputRow<T> row, int64_t count, const Complex* z,
                  const Keep keep) {
  const bool inside = l.last(count) < row.width;
  const int64_t step = 2 * l.tile_step;
  for (int64_t t = 0; t < count; ++t)
    for (int part = 0; part < 2; ++part) {
      const int64_t at = l.at(t, part);
      const Vec v = part ? Keep::only(z[t].im, keep.im) : Keep::only(z[t].re, keep.re);
      if (inside) {
        Vec sum = v + row.bias;
        if (row.residual) sum += join_pieces<kPhases>(row.residual + at, step);
        sum = at_least(sum, row.least);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes; ++i) put(row.y + at + i / kPhases * step + i % kPhases, sum[i]);
      } else {
        for (int i = 0; i < kLanes; ++i) row.element(at + i / kPhases * step + i % kPhases, v[i]);
      }
    }
}

// ------------------------------------------------------------------------------------- the choice

template <int kPhases, class T>
void load_lanes(const Lanes& l, const MaskedRow<T>& row, const Ahead<T>& ahead, int64_t count,
                Complex* z, Loaded* loaded) {
  if (l.phases == kPhases)
    return l.d == kPhases ? load_blocks<kPhases>(l, row, ahead, count, z, loaded)
                          : load_pieces<kPhases>(l, row, count, z, loaded);
  if constexpr (kPhases > 1) load_lanes<kPhases / 2>(l, row, ahead, count, z, loaded);
}

template <int kPhases, class T>
void store_lanes(const Lanes& l, const OutputRow<T>& row, const Ahead<T>& ahead, int64_t count,
                 const Complex* z, const Keep& keep) {
  if (l.phases == kPhases)
    return l.d == kPhases ? store_blocks<kPhases>(l, row, ahead, count, z, keep)
                          : store_pieces<kPhases>(l, row, count, z, keep);
  if constexpr (kPhases > 1) store_lanes<kPhases / 2>(l, row, ahead, count, z, keep);
}

struct Spectrum {
  Complex* at;
  int64_t stride;
};

template <class T, bool kMasked, bool kInside>
void transform_row(const FftTable& table, const Lanes& l, const MaskedRow<T>& row,
                   const Ahead<T>& ahead, int64_t count, Complex* z, const Spectrum& out,
                   Loaded* loaded) {
  RowSource<T, kMasked, kInside> source{l, row, ahead, *loaded};
  fft_forward(table, &source, count, z, out.at, out.stride);
  *loaded = source.seen;
}

// Spectra of the row's tiles: of `count` points of every tile of the unit, then zeros.
template <class T>
void transform_tiles(const FftTable& table, const Lanes& l, const MaskedRow<T>& row,
                     const Ahead<T>& ahead, int64_t count, Complex* z, const Spectrum& out,
                     Loaded* loaded) {
  if (l.phases < kLanes) {
    load_lanes<kLanes / 2>(l, row, ahead, count, z, loaded);
    InPlace source{z};
    return fft_forward(table, &source, count, z, out.at, out.stride);
  }
  const bool inside = l.start >= 0 && l.last(count) < row.width;
  const auto transform =
      row.mask ? (inside ? transform_row<T, true, true> : transform_row<T, true, false>)
               : (inside ? transform_row<T, false, true> : transform_row<T, false, false>);
  transform(table, l, row, ahead, count, z, out, loaded);
}

template <class T, bool kResidual, bool kInside>
void restore_row(const FftTable& table, const Spectrum& in, const Lanes& l, const OutputRow<T>& row,
                 const Ahead<T>& ahead, int64_t count, Complex* z, const Keep& keep) {
  const RowSink<T, kResidual, kInside> sink{l, row, ahead, keep};
  fft_inverse(table, in.at, in.stride, z, count, sink);
}

// The first `count` points of every tile of the unit, from their spectra into the row, exact zeros
// (and the epilogue) where they are not kept.
template <class T>
void restore_tiles(const FftTable& table, const Spectrum& in, const Lanes& l,
                   const OutputRow<T>& row, const Ahead<T>& ahead, int64_t count, Complex* z,
                   const Keep& keep) {
  if (l.phases < kLanes) {
    fft_inverse(table, in.at, in.stride, z, count, InPlace{z});
    return store_lanes<kLanes / 2>(l, row, ahead, count, z, keep);
  }
  const bool inside = l.last(count) < row.width;
  const auto restore = row.residual
                           ? (inside ? restore_row<T, true, true> : restore_row<T, true, false>)
                           : (inside ? restore_row<T, false, true> : restore_row<T, false, false>);
  restore(table, in, l, row, ahead, count, z, keep);
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_TILES_H_
