// What the driver and the kernels of each instruction set share: plain structs and a table of
// functions per ISA. Nothing here is ISA-specific, and kernel files include nothing else but vec.h.
#ifndef DILCONV_KERNELS_H_
#define DILCONV_KERNELS_H_

#include <stdint.h>

namespace dilconv {

// A (channels, width) slice of one batch item, unit stride along the width.
struct Rows {
  const float* data;
  int64_t stride;  // channel to channel, in elements
};

// Cuts a dimension into equal-as-possible parts of at most `most`.
struct Split {
  int64_t parts, small, larger;  // `larger` parts have size small+1, the others small
  Split(int64_t total, int64_t most)
      : parts((total + most - 1) / most), small(total / parts), larger(total % parts) {}
  int64_t begin(int64_t part) const { return part * small + (part < larger ? part : larger); }
};

// How x (or g) is laid out in the packed buffer: one row a channel, tap s starting at s*tap_stride.
// tap_stride == d keeps the taps overlapped in one contiguous run; a dilation larger than the block
// is compacted to tap_stride = q_block, so that no gap between the taps is ever copied.
struct Blocking {
  int64_t q_block;     // outputs per block, a multiple of every register tile's width
  int64_t c_block;     // channels packed at a time
  int64_t tap_stride;  // floats from one tap to the next in a packed row
  int64_t row;         // floats from one channel's row to the next
};

// Output q of tap s reads position q + s*d - pad_left of a row that is zero outside [0, W).
struct Taps {
  int64_t W, S, d, pad_left;
};

// One convolution as the forward kernel sees it: forward itself, or backward-data posed as one
// (channels and filters swapped, taps flipped).
struct ConvBlock {
  int64_t C, K;
  Taps taps;
  Blocking blocking;
  Rows x, relu_of;      // relu_of.data: zero x where it is <= 0 (the ReLU mask of backward)
  const float* packed;  // weights, see pack_weights
  float* y;
  int64_t y_stride;
  const float* bias;
  Rows residual;
  bool relu;
};

// One (item, width block) of backward-weight; dw (K,C,S) and db (K) are added to.
struct WeightBlock {
  int64_t C, K;
  Taps taps;
  Blocking blocking;
  Rows x, g, relu_of;
  float* dw;
  float* db;
};

// Weights read as w[k*k_stride + c*c_stride + s*s_stride]; s_stride = -1 flips the taps.
struct WeightView {
  const float* data;
  int64_t k_stride, c_stride, s_stride;
};

struct DirectKernels {
  int32_t lanes;
  int64_t q_unit;        // every register tile's width divides it
  // Into [channel block][filter tile][channel or tap][tap or channel][filter], K*C*S floats.
  void (*pack_weights)(const ConvBlock&, const WeightView&, float* packed);
  void (*forward)(const ConvBlock&, int64_t q_begin, int64_t q_end, float* workspace);
  void (*backward_weight)(const WeightBlock&, int64_t q_begin, int64_t q_end, float* workspace);
  double (*peak)(int64_t iterations);
};

namespace generic {
extern const DirectKernels direct;
}
namespace avx2 {
extern const DirectKernels direct;
}

}  // namespace dilconv
#endif  // DILCONV_KERNELS_H_
