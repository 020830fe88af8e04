// Constant tables of the FFT lengths in use, made once each.
#ifndef DILCONV_FFT_TABLES_H_
#define DILCONV_FFT_TABLES_H_

#include "kernels.h"

namespace dilconv {

constexpr int kFftShortest = 5, kFftLongest = 12;  // log2 of the lengths

// length = 2^log2_length, kFftShortest <= log2_length <= kFftLongest. Thread-safe.
FftTable fft_table(int log2_length);

}  // namespace dilconv
#endif  // DILCONV_FFT_TABLES_H_
