// Twiddles and digit-reversal tables of the FFT in fft.h, computed in double precision.
#include "fft_tables.h"

#include <cmath>
#include <mutex>
#include <vector>

namespace dilconv {
namespace {

struct Storage {
  std::once_flag made;
  std::vector<float> twiddles;
  std::vector<int32_t> slot;
};

void append_twiddle(std::vector<float>* out, int64_t power, int64_t block) {
  const double angle = -2.0 * M_PI * static_cast<double>(power) / static_cast<double>(block);
  out->push_back(static_cast<float>(std::cos(angle)));
  out->push_back(static_cast<float>(std::sin(angle)));
}

// The frequency that decimation in frequency leaves at `point` of a block.
int64_t frequency_at(int64_t point, int64_t block, bool radix2) {
  if (block == 1) return 0;
  const int64_t radix = radix2 ? 2 : 4, part = block / radix;
  return point / part + radix * frequency_at(point % part, part, false);
}

void make(int log2_length, Storage* s) {
  const int64_t length = int64_t{1} << log2_length;
  const bool radix2 = log2_length % 2 == 1;
  int64_t block = length;
  if (radix2) {
    for (int64_t j = 0; j < length / 2; ++j) append_twiddle(&s->twiddles, j, length);
    block /= 2;
  }
  for (; block > 4; block /= 4)
    for (int64_t j = 0; j < block / 4; ++j)
      for (int64_t power = 1; power <= 3; ++power) append_twiddle(&s->twiddles, power * j, block);
  for (int64_t p = 0; p < length; ++p) {
    const int64_t f = frequency_at(p, length, radix2);
    s->slot.push_back(static_cast<int32_t>(f == 0            ? 0
                                           : 2 * f <= length ? 2 * f - 1
                                                             : 2 * (length - f)));
  }
}

}  // namespace

FftTable fft_table(int log2_length) {
  static Storage tables[kFftLongest + 1];
  Storage& s = tables[log2_length];
  std::call_once(s.made, make, log2_length, &s);
  return {int64_t{1} << log2_length, log2_length % 2 == 1, s.twiddles.data(), s.slot.data()};
}

}  // namespace dilconv
