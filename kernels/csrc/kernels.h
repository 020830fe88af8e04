// What the driver and the kernels of each instruction set share: plain structs and a table of
// functions per ISA. Nothing here is ISA-specific, and kernel files include nothing else but vec.h.
#ifndef DILCONV_KERNELS_H_
#define DILCONV_KERNELS_H_

#include <stdint.h>

namespace dilconv {

// The upper half of a float32: what tensors hold instead of float where memory counts more.
struct Bf16 {
  uint16_t bits;
};

// A (channels, width) slice of one batch item of T = float or Bf16, unit stride along the width.
template <class T>
struct Rows {
  const T* data;   // null where there is no such tensor
  int64_t stride;  // channel to channel, in elements

  const T* row(int64_t c) const { return data ? data + c * stride : nullptr; }
};

// Cuts a dimension into equal-as-possible parts of at most `most`.
struct Split {
  int64_t parts, small, larger;  // `larger` parts have size small+1, the others small
  Split(int64_t total, int64_t most)
      : parts((total + most - 1) / most), small(total / parts), larger(total % parts) {}
  int64_t begin(int64_t part) const { return part * small + (part < larger ? part : larger); }
};

// One of `of` equal-as-possible shares of some work: a thread's, or all of it.
struct Share {
  int64_t number = 0, of = 1;
  int64_t begin(int64_t total) const { return total * number / of; }
  int64_t end(int64_t total) const { return total * (number + 1) / of; }
};

// How x (or g) is laid out in the packed buffer: one row a channel, tap s starting at s*tap_stride.
// tap_stride == d keeps the taps overlapped in one contiguous run; a dilation larger than the block
// is compacted to tap_stride = q_block, so that no gap between the taps is ever copied.
struct Blocking {
  int64_t q_block;     // outputs per block, a multiple of every register tile's width
  int64_t c_block;     // rows packed at a time: of channels, or as RowLayout has them
  int64_t tap_stride;  // floats from one tap to the next in a packed row
  int64_t row;         // floats from one channel's row to the next
};

// Output q of tap s reads position q + s*d - pad_left of a row that is zero outside [0, W).
struct Taps {
  int64_t W, S, d, pad_left;
};

// One convolution as the forward kernel sees it: forward itself, or backward-data posed as one
// (channels and filters swapped, taps flipped).
template <class T>
struct ConvBlock {
  int64_t C, K;
  Taps taps;
  Blocking blocking;
  Rows<T> x, relu_of;   // relu_of.data: zero x where it is <= 0 (the ReLU mask of backward)
  const float* packed;  // weights, see pack_weights
  T* y;
  int64_t y_stride;
  const float* bias;
  Rows<T> residual;
  bool relu;
};

// One (item, width block) of backward-weight; dw (K,C,S) is added to.
template <class T>
struct WeightBlock {
  int64_t C, K;  // some of the channels and filters, or all
  Taps taps;
  Blocking blocking;
  Rows<T> x, g, relu_of;
  float* dw;
  int64_t dw_filter;  // floats from one filter's to the next
};

// The gradient of one item on its way through ReLU, bias and residual: g masked by relu_of, to be
// summed row by row, and kept in `masked` unless that is null.
template <class T>
struct GradientPass {
  int64_t K;
  Rows<T> g, relu_of;
  T* masked;
  int64_t masked_stride;
};

// Weights read as w[k*k_stride + c*c_stride + s*s_stride]; s_stride = -1 flips the taps.
struct WeightView {
  const float* data;
  int64_t k_stride, c_stride, s_stride;
  bool to_bf16;  // rounded when they are read
};

// How a kernel lays out the rows that it multiplies: what the planner asks before it cuts blocks.
struct RowLayout {
  int64_t rows;    // of all channels, 4 bytes a column
  int64_t unit;    // they come in so many
  Taps taps;       // the steps in which a row is read
  int64_t floats;  // that the packed weights of all filters take
  int64_t tiles;   // of filters, in which these are packed
};

template <class T>
struct DirectKernels {
  int32_t lanes;
  bool pairs;              // multiplies bf16 as it is
  int64_t q_unit;          // every register tile's width divides it
  double forward_cycles;   // of one filter's step for a vector of outputs, and beside it ...
  double pack_cycles;      // ... of a vector's way from the tensor into the rows
  double backward_cycles;  // of backward-weight, as forward_cycles
  RowLayout (*layout)(int64_t C, int64_t K, const Taps&);
  void (*pack_weights)(const ConvBlock<T>&, const WeightView&, Share of_tiles, float* packed);
  void (*forward)(const ConvBlock<T>&, int64_t q_begin, int64_t q_end, float* workspace);
  void (*backward_weight)(const WeightBlock<T>&, int64_t q_begin, int64_t q_end, float* workspace);
  // Columns [begin, end): sums[k] = sum of row k.
  void (*pass_gradient)(const GradientPass<T>&, int64_t begin, int64_t end, double* sums);
};

// ------------------------------------------------------------------------------------ spectral

// Twiddles of one FFT length and the order in which a spectrum is stored: frequencies 0, 1, -1, 2,
// -2, ..., length/2, so that h and -h, which share the weights' spectrum, are neighbours.
struct FftTable {
  int64_t length;
  bool radix2;            // length = 2*4^n: a radix-2 pass comes first
  const float* twiddles;  // stage by stage, largest block first
  const int32_t* slot;    // where the point that comes out of the last pass p-th is stored

  int64_t height() const { return length / 2 + 1; }
  // First slot of the frequencies h and -h, and how many there are (1 for h = 0 and length/2).
  int64_t first(int64_t h) const { return h ? 2 * h - 1 : 0; }
  int64_t count(int64_t h) const { return h == 0 || 2 * h == length ? 1 : 2; }
};

// How a dilated convolution is cut into FFT tiles. Phase r of the dilation is the sequence of
// positions r, r+d, ...; a tile is `length` consecutive members of one phase and yields `hop` of
// its outputs. The lanes of a unit are `phases` neighbouring phases x lanes/phases pairs of
// consecutive tiles, one tile of a pair riding as the real, the other as the imaginary part.
// Filters longer than part_taps are cut into parts, each with its own shifted copy of the channel.
struct Tiling {
  int64_t hop, parts, part_taps;
  int64_t phases;                     // power of two, divides d and the lanes
  int64_t phase_groups, tile_groups;  // units of one batch item
  int64_t units() const { return phase_groups * tile_groups; }
};

// The sizes of one convolution posed as for ConvBlock, and its tiles.
struct SpectralShape {
  int64_t C, K, outputs;
  Taps taps;
  Tiling tiling;
  FftTable table;
};

// A convolution of one item. The gradients of both x and w take `conv` as backward-data poses it,
// as a convolution of g (C of it = filters); x joins for the weight gradient.
template <class T>
struct SpectralConv : SpectralShape {
  Rows<T> x, relu_of;
  const float* spectra;  // as weight_spectra leaves them
  T* y;                  // null: only the weight gradient is wanted
  int64_t y_stride;
  const float* bias;
  Rows<T> residual;
  bool relu;
  Rows<T> multiplied;  // x for the weight gradient: (channels = K, width = outputs), or null
};

// What the tensors' type does not change. `unit`: the spectra of a unit's inputs and outputs, which
// threads may share; `own`: a thread's workspace.
struct SpectraKernels {
  int64_t (*spectra_floats)(const SpectralShape&);
  int64_t (*dw_spectrum_floats)(const SpectralShape&);
  int64_t (*unit_floats)(const SpectralShape&);
  int64_t (*own_floats)(const SpectralShape&);
  // Spectra of a share of the weights; the last K floats are cleared before, and not 0 afterwards
  // where a filter holds Inf or NaN.
  void (*weight_spectra)(const SpectralShape&, const WeightView&, Share, float* spectra,
                         float* own);
  // A share of the frequencies: outputs = spectra of the weights * inputs.
  void (*multiply)(const SpectralShape&, const float* spectra, Share, float* unit);
  // A share of the frequencies: dw_spectrum += inputs * conj(what load_multiplied left).
  void (*correlate)(const SpectralShape&, const float* unit, Share, float* own, float* dw_spectrum);
  // A share of dw(c, k, s) of conv, written through the view of the weights.
  void (*weight_gradient)(const SpectralShape&, const float* dw_spectrum, const WeightView&, Share,
                          float* dw, float* own);
};

// The passes of a unit, in this order; a share is of the channels or filters.
template <class T>
struct SpectralKernels {
  void (*load)(const SpectralConv<T>&, int64_t number, Share, float* unit, float* own);
  void (*store)(const SpectralConv<T>&, int64_t number, Share, float* unit, float* own);
  void (*load_multiplied)(const SpectralConv<T>&, int64_t number, Share, float* unit, float* own);
};

// ------------------------------------------------------------------------------------ winograd

constexpr int kWinogradPoints = 6;  // products of a channel and filter for each tile

// A convolution of 2 to 5 taps posed as for ConvBlock, cut into units of phases x tiles. A tile is
// `hop` outputs of one phase of the dilation: t*hop*d + r and every d-th from there.
struct WinogradShape {
  int64_t C, K, outputs;
  Taps taps;
  int64_t phases, tiles;  // of a unit, at most

  int64_t hop() const { return kWinogradPoints + 1 - taps.S; }
  int64_t all_phases() const { return taps.d < outputs ? taps.d : outputs; }
  int64_t all_tiles() const { return Split(outputs, hop() * taps.d).parts; }
  int64_t units() const {
    return Split(all_phases(), phases).parts * Split(all_tiles(), tiles).parts;
  }
};

// Forward of one item, or its weight gradient: x and g are multiplied then.
template <class T>
struct WinogradConv : WinogradShape {
  Rows<T> x, relu_of;    // relu_of: of g, in the weight gradient
  const float* weights;  // as transform_weights leaves them
  T* y;
  int64_t y_stride;
  const float* bias;
  Rows<T> residual;
  bool relu;
  Rows<T> g;
};

// What the tensors' type does not change. `space`: the values of a unit's inputs and outputs, which
// threads may share.
struct WinogradWeights {
  int64_t (*weights_floats)(const WinogradShape&);
  int64_t (*sums_floats)(const WinogradShape&);
  int64_t (*unit_floats)(const WinogradShape&);
  void (*transform_weights)(const WinogradShape&, const WeightView&, Share, float* out);
  // A share of the products: outputs = weights * inputs.
  void (*multiply)(const WinogradShape&, int64_t number, const float* weights, Share, float* space);
  // A share of the sums += gradients * inputs.
  void (*correlate)(const WinogradShape&, int64_t number, const float* space, Share, float* sums);
  void (*weight_gradient)(const WinogradShape&, const float* sums, Share of_filters,
                          float* dw);  // (K,C,S)
};

// The passes of a unit; a share is of the channels or filters.
template <class T>
struct WinogradKernels {
  void (*load)(const WinogradConv<T>&, int64_t number, Share, float* space);
  void (*store)(const WinogradConv<T>&, int64_t number, Share, float* space);
  void (*load_gradient)(const WinogradConv<T>&, int64_t number, Share, float* space);
};

// Runs `iterations` rounds of independent multiply-adds; the operations done.
typedef double (*Peak)(int64_t iterations);

#define DILCONV_DECLARE(isa)                        \
  namespace isa {                                   \
  extern const DirectKernels<float> direct;         \
  extern const DirectKernels<Bf16> direct_bf16;     \
  extern const SpectraKernels spectra;              \
  extern const SpectralKernels<float> spectral;     \
  extern const SpectralKernels<Bf16> spectral_bf16; \
  extern const WinogradWeights winograd_weights;    \
  extern const WinogradKernels<float> winograd;     \
  extern const WinogradKernels<Bf16> winograd_bf16; \
  extern const Peak peak;                           \
  }
DILCONV_DECLARE(generic)
DILCONV_DECLARE(avx2)
DILCONV_DECLARE(avx512)
#undef DILCONV_DECLARE
namespace avx512bf16 {
extern const DirectKernels<Bf16> direct_bf16;
}
namespace amx {
extern const DirectKernels<Bf16> direct_bf16;
}

}  // namespace dilconv
#endif  // DILCONV_KERNELS_H_
