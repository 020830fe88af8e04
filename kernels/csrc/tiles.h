// The tiles of one unit (Tiling in kernels.h) between memory and SIMD lanes: loading with virtual
// padding and the ReLU mask of backward, storing with the epilogue of forward.
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
DILCONV_INLINE Vec keep(Vec v, IntVec loaded) { return loaded != 0 ? v : Vec{}; }

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

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_TILES_H_
