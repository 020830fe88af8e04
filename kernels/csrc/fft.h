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

// One radix-4 pass over blocks of `block` points. `twiddles`: 6 floats (w, w^2, w^3) for each
// j in [0, block/4).
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

template <bool kInverse>
DILCONV_INLINE void radix2_pass(Complex* z, int64_t length, const float* twiddles) {
  const int64_t half = length / 2;
  for (int64_t j = 0; j < half; ++j, twiddles += 2) {
    const Complex w = splat_complex(twiddles), a = get(z + j), b = get(z + j + half);
    if constexpr (kInverse) {
      const Complex c = times_conj(b, w);
      put(z + j, a + c), put(z + j + half, a - c);
    } else {
      put(z + j, a + b), put(z + j + half, times(a - b, w));
    }
  }
}

// Spectrum of z, which is overwritten; slot i goes to out[i * out_stride], outside z.
void fft_forward(const FftTable& table, Complex* z, Complex* out, int64_t out_stride) {
  const float* twiddles = table.twiddles;
  int64_t block = table.length;
  if (table.radix2) {
    radix2_pass<false>(z, block, twiddles);
    twiddles += block;
    block /= 2;
  }
  for (; block > 4; block /= 4) {
    radix4_pass<false>(z, table.length, block, twiddles);
    twiddles += block / 4 * 6;
  }
  for (int64_t p = 0; p < table.length; p += 4) {
    const Four y = split4({get(z + p), get(z + p + 1), get(z + p + 2), get(z + p + 3)});
    const int32_t* slot = table.slot + p;
    put(out + slot[0] * out_stride, y.a), put(out + slot[1] * out_stride, y.b);
    put(out + slot[2] * out_stride, y.c), put(out + slot[3] * out_stride, y.d);
  }
}

// The sequence (times its length) whose spectrum has slot i at in[i * in_stride].
void fft_inverse(const FftTable& table, const Complex* in, int64_t in_stride, Complex* z) {
  for (int64_t p = 0; p < table.length; p += 4) {
    const int32_t* slot = table.slot + p;
    const Four y = join4({get(in + slot[0] * in_stride), get(in + slot[1] * in_stride),
                          get(in + slot[2] * in_stride), get(in + slot[3] * in_stride)});
    put(z + p, y.a), put(z + p + 1, y.b), put(z + p + 2, y.c), put(z + p + 3, y.d);
  }
  const float* twiddles = table.twiddles + table.twiddle_count;
  const int64_t top = table.radix2 ? table.length / 2 : table.length;
  for (int64_t block = 16; block <= top; block *= 4) {
    twiddles -= block / 4 * 6;
    radix4_pass<true>(z, table.length, block, twiddles);
  }
  if (table.radix2) radix2_pass<true>(z, table.length, table.twiddles);
}

}  // namespace
}  // namespace DILCONV_ISA
}  // namespace dilconv
#endif  // DILCONV_FFT_H_
