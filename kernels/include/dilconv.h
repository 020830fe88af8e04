// dilconv: the plain C ABI of the 1D dilated convolution kernels.
//
//   y[n,k,q] = act( b[k] + residual[n,k,q] + sum_{c,s} w[k,c,s] * x[n,c, q + s*d - pad_left] )
//
// x is zero outside [0, W): padding is virtual, no padded copy is needed. Q is the output width.
// x, y, the residual and their gradients are of the problem's dtype, with unit stride along the
// width; strides are counted in elements. Weights, bias and their gradients are always float32, as
// all sums are; with bfloat16 the weights are rounded to it. Weights, bias and the outputs y, dx,
// dw, db are dense. Between calls the library keeps constant FFT tables and the memory that calls
// work in (dilconv_release_memory); it never prints, exits or throws: every call returns a status
// code. Calls may run at the same time in several threads, and in a forked child on one thread.
// Results have the same bits whatever the number of threads; those of an item, in any batch.
#ifndef DILCONV_H_
#define DILCONV_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define DILCONV_ABI_VERSION 7

enum dilconv_status {
  DILCONV_OK = 0,
  DILCONV_BAD_ARGUMENT = 1,    // a size, stride or word outside its range, a pointer missing
  DILCONV_NO_MEMORY = 2,       // the workspace could not be allocated
  DILCONV_UNKNOWN_ISA = 3,     // no such instruction set in this build
  DILCONV_UNSUPPORTED_ISA = 4  // this CPU cannot run it
};

enum dilconv_dtype { DILCONV_FLOAT32 = 0, DILCONV_BFLOAT16 = 1 };

enum dilconv_algorithm {
  DILCONV_AUTO = 0,
  DILCONV_DIRECT = 1,
  DILCONV_SPECTRAL = 2,
  DILCONV_WINOGRAD = 3  // of 2 to 5 taps; others are direct
};

// Sizes of one convolution. Q = W + pad_left + pad_right - (S-1)*d; pad_right follows from Q.
typedef struct {
  int64_t N, C, K, W, S, d, pad_left, Q;
  int64_t x_batch, x_channel;  // strides of x: item to item, channel to channel
  int32_t relu;                // 1: y = max(y, 0), and the backward passes mask with y > 0
  int32_t threads;             // at most this many OpenMP threads
  int32_t algorithm;           // enum dilconv_algorithm
  int32_t fft_length;          // of spectral tiles: a power of two in [32, 4096]; 0: chosen
  int32_t dtype;               // enum dilconv_dtype
} dilconv_problem;

typedef struct {
  const void* data;        // null: absent
  int64_t batch, channel;  // strides
} dilconv_operand;

int32_t dilconv_abi_version(void);
const char* dilconv_status_text(int32_t status);

// ISAs by index, slowest first: "generic", then whatever the build holds. Null past the last.
const char* dilconv_isa_name(int32_t isa);
int32_t dilconv_isa_supported(int32_t isa);  // 1 if this CPU (and its OS) can run it
// The ISA to run on tensors of a dtype unless asked otherwise: the last that this CPU gains by.
int32_t dilconv_default_isa(int32_t dtype);
// Floats per vector of the ISA's kernels, 0 for an unknown one.
int32_t dilconv_isa_lanes(int32_t isa);

// y (N,K,Q) dense.
int32_t dilconv_forward(int32_t isa, const dilconv_problem* problem, const void* x, const float* w,
                        const float* bias, dilconv_operand residual, void* y);

// g (N,K,Q) strided; y (N,K,Q) dense, read only when problem->relu. dx (N,C,W), dw (K,C,S), db (K)
// and dr (N,K,Q), the residual's gradient, dense; each may be null where it is not wanted. x is
// read for dw, w for dx.
int32_t dilconv_backward(int32_t isa, const dilconv_problem* problem, dilconv_operand g,
                         const void* y, const void* x, const float* w, void* dx, float* dw,
                         float* db, void* dr);

// What the library would do for one call, without doing it.
typedef struct {
  int32_t algorithm;        // any but DILCONV_AUTO
  int32_t threads;          // that get work
  int64_t workspace_bytes;  // that the call works in, whatever N
  // The cost model's estimates; infinite: not possible.
  double direct_cycles, spectral_cycles, winograd_cycles;
  int64_t block;                           // direct: outputs per cache block
  int64_t channel_block;                   // direct: channels packed at a time
  int64_t fft_length, hop, parts, phases;  // spectral: see Tiling in csrc/kernels.h
  int64_t tile_outputs, unit_tiles;        // winograd: outputs of a tile, tiles of a unit
} dilconv_plan_report;

// pass: 0 forward, 1 backward-data alone, 2 backward-weight alone, 3 both.
int32_t dilconv_plan(int32_t isa, const dilconv_problem* problem, int32_t pass,
                     dilconv_plan_report* report);

// Gives the memory that is kept from call to call, and that no call is using, back to the operating
// system; its bytes. The next call allocates anew.
int64_t dilconv_release_memory(void);

// Cores that this process may run on; more threads would only wait for each other.
int32_t dilconv_cores(void);

// Threads that a parallel region takes now where it may take `most`: fewer for a while after
// regions whose threads had to wait for cores that other programs used, unless the environment's
// DILCONV_YIELD is 0. And counts a made-up region, for tests of this: nanoseconds that it took on
// `threads`, and those that all of its threads together computed.
int32_t dilconv_threads_now(int32_t most);
void dilconv_count_region(int32_t most, int32_t threads, int64_t elapsed, int64_t computed);

// Runs `iterations` rounds of independent multiply-adds of the ISA on one thread and returns the
// number of floating-point operations done: divided by the time taken, the machine's FMA peak.
double dilconv_peak_flops(int32_t isa, int64_t iterations);

#ifdef __cplusplus
}
#endif
#endif  // DILCONV_H_
