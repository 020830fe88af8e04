// A complex FFT whose SIMD lanes are independent sequences: straight-line code, no shuffles.
//
// z holds `length` points of two vectors each (real lanes, imaginary lanes); length = 4^n or 2*4^n.
// Forward is decimation in frequency; its last pass stores every point at the slot of its
// frequency. Inverse is decimation in time; its first pass reads from there, and it is unscaled. So
// nothing is permuted by itself. A length of 256 in 8 lanes is 16 KB and stays in L1. Register
// budget of a radix-4 butterfly (16 registers): 8 data, 6 twiddles, 2 temporaries.
#ifndef DILCONV_FFT_H_
#define DILCONV_FFT_H_

#include "kernels.h"
#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

struct Complex {
  Vec re, im;
};

// Member by member: GCC copies the struct as a whole through integer registers.
DILCONV_INLINE Complex get(const Complex* p) { return {p->re, p->im}; }
DILCONV_INLINE void put(Complex* p, const Complex& v) { p->re = v.re, p->im = v.im; }

DILCONV_INLINE Complex operator+(Complex a, Complex b) { return {a.re + b.re, a.im + b.im}; }
DILCONV_INLINE Complex operator-(Complex a, Complex b) { return {a.re - b.re, a.im - b.im}; }
DILCONV_INLINE Complex times_i(Complex a) { return {-a.im, a.re}; }
DILCONV_INLINE Complex times(Complex a, Complex w) {
  return {a.re * w.re - a.im * w.im, a.re * w.im + a.im * w.re};
}
DILCONV_INLINE Complex times_conj(Complex a, Complex w) {
  return {a.re * w.re + a.im * w.im, a.im * w.re - a.re * w.im};
}
DILCONV_INLINE Complex splat_complex(const float* w) { return {splat(w[0]), splat(w[1])}; }

struct Four {
  Complex a, b, c, d;
};

// Points j, j+n/4, j+n/2, j+3n/4 -> the four frequency classes mod 4.
DILCONV_INLINE Four split4(const Four& x) {
  const Complex s = x.a + x.c, t = x.a - x.c, u = x.b + x.d, v = times_i(x.d - x.b);
  return {s + u, t + v, s - u, t - v};
}
DILCONV_INLINE Four join4(const Four& x) {
  const Complex s = x.a + x.c, u = x.a - x.c, t = x.b + x.d, v = times_i(x.b - x.d);
  return {s + t, u + v, s - t, u - v};
}

// One radix-4 pass over the blocks of `block` points in z. `twiddles`: 6 floats (w, w^2, w^3) for
// each j in [0, block/4).
template <bool kInverse>
DILCONV_INLINE void radix4_pass(Complex* z, int64_t length, int64_t block, const float* twiddles) {
  const int64_t quarter = block / 4;
  for (int64_t j = 0; j < quarter; ++j, twiddles += 6) {
    const Complex w1 = splat_complex(twiddles), w2 = splat_complex(twiddles + 2),
                  w3 = splat_complex(twiddles + 4);
    for (Complex* p = z + j; p < z + length; p += block) {
      Complex *p1 = p + quarter, *p2 = p1 + quarter, *p3 = p2 + quarter;
      if constexpr (kInverse) {
        const Four y = join4(
            {get(p), times_conj(get(p1), w1), times_conj(get(p2), w2), times_conj(get(p3), w3)});
        put(p, y.a), put(p1, y.b), put(p2, y.c), put(p3, y.d);
      } else {
        const Four y = split4({get(p), get(p1), get(p2), get(p3)});
        put(p, y.a), put(p1, times(y.b, w1)), put(p2, times(y.c, w2)), put(p3, times(y.d, w3));
      }
    }
  }
}

// All passes over the `length` points at z, from blocks of `block` down to 16 (or back up);
// `twiddles` of the largest. What is beyond L1 is finished block by block.
template <bool kInverse>
void middle_passes(Complex* z, int64_t length, int64_t block, const float* twiddles) {
  constexpr int64_t kInL1 = (16 << 10) / sizeof(Complex);
  if (block <= 4) return;
  const float* smaller = twiddles + block / 4 * 6;
  if (length > block && length > kInL1) {
    for (int64_t at = 0; at < length; at += block)
      middle_passes<kInverse>(z + at, block, block, twiddles);
    return;
  }
  if constexpr (!kInverse) radix4_pass<false>(z, length, block, twiddles);
  middle_passes<kInverse>(z, length, block / 4, smaller);
  if constexpr (kInverse) radix4_pass<true>(z, length, block, twiddles);
}

// A sequence in the work array z: where a transform finds its points, or leaves them.
struct InPlace {
  Complex* z;
  DILCONV_INLINE Complex load(const InPlace& p, int64_t t) { return get(p.z + t); }
  DILCONV_INLINE void store(const InPlace& p, int64_t t, const Complex& v) { put(p.z + t, v); }
};

// The first pass of a forward transform, for j in [j0, j1): of the points j, j + part, ... only the
// first kFilled come from the source, the others are zero.
template <int kRadix, int kFilled, class Source>
void first_pass(const FftTable& table, Source* from, int64_t j0, int64_t j1, Complex* z) {
  const int64_t part = table.length / kRadix;
  Source source = *from;  // in registers
  const float* twiddles = table.twiddles + j0 * 2 * (kRadix - 1);
  for (int64_t j = j0; j < j1; ++j, twiddles += 2 * (kRadix - 1)) {
    Complex x[kRadix];
#pragma GCC unroll 4
    for (int m = 0; m < kRadix; ++m)
      put(x + m, m < kFilled ? Source::load(source, j + m * part) : Complex{Vec{}, Vec{}});
    if constexpr (kRadix == 2) {
      put(z + j, x[0] + x[1]), put(z + j + part, times(x[0] - x[1], splat_complex(twiddles)));
    } else {
      const Four y = split4({x[0], x[1], x[2], x[3]});
      put(z + j, y.a), put(z + j + part, times(y.b, splat_complex(twiddles)));
      put(z + j + 2 * part, times(y.c, splat_complex(twiddles + 2)));
      put(z + j + 3 * part, times(y.d, splat_complex(twiddles + 4)));
    }
  }
  *from = source;
}

// The last pass of an inverse transform, of which only the first kWanted of the points j, j + part,
// ... are wanted.
template <int kRadix, int kWanted, class Sink>
void last_pass(const FftTable& table, const Complex* z, int64_t j0, int64_t j1, const Sink& to) {
  const int64_t part = table.length / kRadix;
  const Sink sink = to;
  const float* twiddles = table.twiddles + j0 * 2 * (kRadix - 1);
  for (int64_t j = j0; j < j1; ++j, twiddles += 2 * (kRadix - 1)) {
    const Complex a = get(z + j), b = times_conj(get(z + j + part), splat_complex(twiddles));
    if constexpr (kRadix == 2) {
      Sink::store(sink, j, a + b);
      if constexpr (kWanted > 1) Sink::store(sink, j + part, a - b);
    } else {
      const Four y = join4({a, b, times_conj(get(z + j + 2 * part), splat_complex(twiddles + 2)),
                            times_conj(get(z + j + 3 * part), splat_complex(twiddles + 4))});
      Sink::store(sink, j, y.a);
      if constexpr (kWanted > 1) Sink::store(sink, j + part, y.b);
      if constexpr (kWanted > 2) Sink::store(sink, j + 2 * part, y.c);
      if constexpr (kWanted > 3) Sink::store(sink, j + 3 * part, y.d);
    }
  }
}

// Cuts [0, part) where the number of the points j, j + part, ... below `count` changes, and runs
// the pass that is compiled for that number.
template <int kRadix, int kParts = kRadix, class Source>
void first_passes(const FftTable& table, Source* source, int64_t count, Complex* z) {
  const int64_t part = table.length / kRadix, whole = count / part, rest = count % part;
  if (whole == kParts) return first_pass<kRadix, kParts>(table, source, 0, part, z);
  if (whole == kParts - 1) {
    first_pass<kRadix, kParts>(table, source, 0, rest, z);
    return first_pass<kRadix, kParts - 1>(table, source, rest, part, z);
  }
  if constexpr (kParts > 1) first_passes<kRadix, kParts - 1>(table, source, count, z);
}

template <int kRadix, int kParts = kRadix, class Sink>
void last_passes(const FftTable& table, const Complex* z, int64_t count, const Sink& sink) {
  const int64_t part = table.length / kRadix, whole = count / part, rest = count % part;
  if (whole == kParts) return last_pass<kRadix, kParts>(table, z, 0, part, sink);
  if (whole == kParts - 1) {
    last_pass<kRadix, kParts>(table, z, 0, rest, sink);
    if constexpr (kParts > 1) last_pass<kRadix, kParts - 1>(table, z, rest, part, sink);
    return;
  }
  if constexpr (kParts > 1) last_passes<kRadix, kParts - 1>(table, z, count, sink);
}

// Spectrum of the `count` points of the source, and zeros up to the length; slot i goes to
// out[i * out_stride], outside the work array z.
template <class Source>
void fft_forward(const FftTable& table, Source* source, int64_t count, Complex* z, Complex* out,
                 int64_t out_stride) {
  int64_t block = table.length;
  const float* twiddles = table.twiddles;
  if (table.radix2) {
    first_passes<2>(table, source, count, z);
    twiddles += block, block /= 2;
  } else {
    first_passes<4>(table, source, count, z);
    twiddles += block / 4 * 6, block /= 4;
  }
  middle_passes<false>(z, table.length, block, twiddles);
  for (int64_t p = 0; p < table.length; p += 4) {
    const Four y = split4({get(z + p), get(z + p + 1), get(z + p + 2), get(z + p + 3)});
    const int32_t* slot = table.slot + p;
    put(out + slot[0] * out_stride, y.a), put(out + slot[1] * out_stride, y.b);
    put(out + slot[2] * out_stride, y.c), put(out + slot[3] * out_stride, y.d);
  }
}

// The first `count` points of the sequence (times its length) whose spectrum has slot i at
// in[i * in_stride], into the sink.
template <class Sink>
void fft_inverse(const FftTable& table, const Complex* in, int64_t in_stride, Complex* z,
                 int64_t count, const Sink& sink) {
  for (int64_t p = 0; p < table.length; p += 4) {
    const int32_t* slot = table.slot + p;
    const Four y = join4({get(in + slot[0] * in_stride), get(in + slot[1] * in_stride),
                          get(in + slot[2] * in_stride), get(in + slot[3] * in_stride)});
    put(z + p, y.a), put(z + p + 1, y.b), put(z + p + 2, y.c), put(z + p + 3, y.d);
  }
  const int64_t block = table.length / (table.radix2 ? 2 : 4);
  const float* twiddles = table.twiddles + (table.radix2 ? table.length : block * 6);
  middle_passes<true>(z, table.length, block, twiddles);
  if (table.radix2)
    last_passes<2>(table, z, count, sink);
  else
    last_passes<4>(table, z, count, sink);
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_FFT_H_
