// Minimal filtering (Winograd, Toom-Cook) for filters of 2 to 5 taps: `hop` = 7 - S outputs of one
// phase of the dilation from 6 of its inputs, with 6 products a channel where a direct sum takes
// hop*S. Products are of polynomials' values at the points 0, 1, -1, 2, -2 and infinity.
//
//   for each unit: a block of phases x tiles               (the driver's parallel loop)
//     transpose the rows that it reads: P[position][c]     lanes were positions, are channels now
//     for each tile: V[f][tile][c] = B P                   6 values of 6 inputs
//     for each of the 6 points f: M[f][tile][k] = sum_c V[f][tile][c] * U[f][c][k]
//     for each tile: P[position][k] = A M                  hop outputs of 6 values
//     transpose back, epilogue, store
// Each of these steps may be shared by threads, by channels, products or filters.
//
// With channels as lanes the dilation is only a distance between rows of P: any d costs the same.
// Backward-data is the same with channels and filters swapped and the taps flipped. Backward-weight
// is the transposed algorithm: D[f][k][c] = sum over tiles of (A' g)[f][tile][k] * V[f][tile][c],
// and dw = G' D at the end.
// Register budget of the products (16 registers): 6 x 2 accumulators, 2 loads, 1 broadcast, 1
// other; with 32 registers 12 x 2. Cache budget: U of 2 vectors of filters at one point stays in L1
// while V streams past; P, V and M fit half of L2.
#include "kernels.h"
#include "vec.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int kRows = kLanes == 16 ? 12 : 6;  // of a tile of products
constexpr int64_t kPair = 2 * kLanes;         // ... and its columns

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Channels and filters as P, V, M, U and D hold them: whole pairs of vectors.
int64_t padded(int64_t channels) { return round_up(channels, kPair); }

// One unit: tiles [t0, t0 + tiles) of the phases [r0, r0 + phases); tile number t * phases + r.
struct Block {
  int64_t r0, phases, t0, tiles;
  int64_t count;     // of its tiles, those that hold an output: the first so many
  int64_t position;  // output 0 of tile 0
  int64_t step;      // rows of P from one position of a phase to the next

  Block(const WinogradShape& p, int64_t unit) {
    const Split r(p.all_phases(), p.phases), t(p.all_tiles(), p.tiles);
    const int64_t i = unit % r.parts, j = unit / r.parts;
    r0 = r.begin(i), phases = r.begin(i + 1) - r0;
    t0 = t.begin(j), tiles = t.begin(j + 1) - t0;
    position = t0 * p.hop() * p.taps.d + r0;
    const int64_t left = p.outputs - position - (tiles - 1) * p.hop() * p.taps.d;
    count = (tiles - 1) * phases + most(0, least(left, phases));
    step = phases;
  }
};

// What P holds: `runs` of `length` neighbouring positions, `stride` apart in the tensor.
struct Runs {
  int64_t first, runs, length, stride;
  // `rows` positions of each phase of the block; all phases lie side by side as one run.
  Runs(const WinogradShape& p, const Block& b, int64_t rows, int64_t at)
      : first(at), runs(rows), length(b.phases), stride(p.taps.d) {
    if (b.phases == p.taps.d) length *= runs, runs = 1;
  }
};

// -------------------------------------------------------------------------------- transposing

// A tensor's channels as the panel takes them in: zero outside [0, width) and where masked.
template <class T>
struct Source {
  Rows<T> x, mask;
  int64_t channels, width;
};

template <class T>
DILCONV_INLINE void load_block(const Source<T>& from, int64_t c, int64_t at, int64_t row,
                               float* out) {
  Vec v[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    v[l] = load(from.x.row(c + l) + at);
    __builtin_prefetch(from.x.row(c + kLanes + l) + at);
    if (from.mask.data) v[l] = relu_mask(v[l], load(from.mask.row(c + l) + at));
  }
  transpose<kLanes / 2, 1>(v);
  for (int l = 0; l < kLanes; ++l) store(out + l * row, v[l]);
}

template <class T>
void load_column(const Source<T>& from, int64_t c, int64_t at, float* out) {
  for (int64_t l = c; l < c + kLanes; ++l) {
    const bool there = at >= 0 && at < from.width && l < from.channels;
    float value = there ? get(from.x.row(l) + at) : 0;
    if (there && from.mask.data) value = relu_mask(value, get(from.mask.row(l) + at));
    out[l - c] = value;
  }
}

// P[i][c] of one run, channels [c, c + lanes).
template <class T>
void load_run(const Source<T>& from, int64_t c, int64_t at, int64_t count, float* out) {
  const int64_t row = padded(from.channels);
  const bool whole = c + kLanes <= from.channels;
  for (int64_t i = 0; i < count;) {
    const int64_t first = at + i, last = at + i + kLanes;
    if (whole && first >= 0 && last <= from.width && i + kLanes <= count) {
      load_block(from, c, first, row, out + i * row);
      i += kLanes;
    } else if (first >= from.width || first < 0 || c >= from.channels) {
      store(out + i++ * row, Vec{});
    } else {
      load_column(from, c, first, out + i++ * row);
    }
  }
}

// Vectors of channels or filters [begin, end), counted in floats.
struct Lanes {
  int64_t begin, end;
  Lanes(Share share, int64_t channels)
      : begin(share.begin(padded(channels) / kLanes) * kLanes),
        end(share.end(padded(channels) / kLanes) * kLanes) {}
};

// Channel by channel: the runs of a few rows, not of all, fit the translation buffer.
template <class T>
void load_panel(const Source<T>& from, const Runs& runs, const Lanes& lanes, float* panel) {
  const int64_t row = padded(from.channels);
  for (int64_t c = lanes.begin; c < lanes.end; c += kLanes)
    for (int64_t i = 0; i < runs.runs; ++i)
      load_run(from, c, runs.first + i * runs.stride, runs.length,
               panel + i * runs.length * row + c);
}

// Outputs [at, at + count) of filters [k, k + lanes), through the epilogue; those beyond the last
// are dropped.
template <class T>
void store_run(const WinogradConv<T>& p, const float* panel, int64_t k, int64_t at, int64_t count) {
  const int64_t row = padded(p.K);
  const float bound = p.relu ? 0 : -__builtin_inff();
  count = least(count, p.outputs - at);
  int64_t i = 0;
  for (; k + kLanes <= p.K && i + kLanes <= count; i += kLanes) {
    Vec v[kLanes];
    for (int l = 0; l < kLanes; ++l) v[l] = load(panel + (i + l) * row);
    transpose<kLanes / 2, 1>(v);
    for (int l = 0; l < kLanes; ++l) {
      if (p.bias) v[l] += p.bias[k + l];
      if (p.residual.data) v[l] += load(p.residual.row(k + l) + at + i);
      store(p.y + (k + l) * p.y_stride + at + i, at_least(v[l], bound));
    }
  }
  for (; i < count; ++i)
    for (int64_t l = k; l < least(k + kLanes, p.K); ++l) {
      float value = panel[i * row + l - k] + (p.bias ? p.bias[l] : 0);
      if (p.residual.data) value += get(p.residual.row(l) + at + i);
      put(p.y + l * p.y_stride + at + i, at_least(value, bound));
    }
}

template <class T>
void store_panel(const WinogradConv<T>& p, const Runs& runs, const Lanes& lanes,
                 const float* panel) {
  const int64_t row = padded(p.K);
  for (int64_t k = lanes.begin; k < lanes.end; k += kLanes)
    for (int64_t i = 0; i < runs.runs; ++i)
      store_run(p, panel + i * runs.length * row + k, k, runs.first + i * runs.stride, runs.length);
}

// --------------------------------------------------------------------------------- transforms

// V = B P: what the inputs' polynomial is worth at the points, times what makes all numbers whole.
void input_values(const Block& b, int64_t hop, int64_t row, const Lanes& lanes, const float* panel,
                  float* v) {
  const int64_t step = b.step * row, plane = b.count * row;
  for (int64_t e = 0; e < b.count; ++e, v += row) {
    const float* at = panel + (e / b.phases * hop * b.phases + e % b.phases) * row;
    for (int64_t c = lanes.begin; c < lanes.end; c += kLanes) {
      Vec x[kWinogradPoints];
      for (int j = 0; j < kWinogradPoints; ++j) x[j] = load(at + j * step + c);
      const Vec a = x[4] - 4 * x[2], s = x[3] - 4 * x[1], t = x[4] - x[2], u = 2 * (x[3] - x[1]);
      store(v + c, 4 * (x[0] - x[2]) + t);
      store(v + plane + c, a + s);
      store(v + 2 * plane + c, a - s);
      store(v + 3 * plane + c, t + u);
      store(v + 4 * plane + c, t - u);
      store(v + 5 * plane + c, 4 * (x[1] - x[3]) + (x[5] - x[3]));
    }
  }
}

// A' g: what the polynomial of kHop gradients is worth at the points.
template <int kHop>
void gradient_values(const Block& b, int64_t row, const Lanes& lanes, const float* panel,
                     float* h) {
  const int64_t step = b.step * row, plane = b.count * row;
  for (int64_t e = 0; e < b.count; ++e, h += row) {
    const float* at = panel + (e / b.phases * kHop * b.phases + e % b.phases) * row;
    for (int64_t k = lanes.begin; k < lanes.end; k += kLanes) {
      Vec even{}, odd{}, even2{}, odd2{}, g{};
      const Vec first = load(at + k);
      for (int j = 0; j < kHop; ++j) {
        g = load(at + j * step + k);
        (j % 2 ? odd : even) += g;
        (j % 2 ? odd2 : even2) += static_cast<float>(1 << j) * g;
      }
      store(h + k, first);
      store(h + plane + k, even + odd);
      store(h + 2 * plane + k, even - odd);
      store(h + 3 * plane + k, even2 + odd2);
      store(h + 4 * plane + k, even2 - odd2);
      store(h + 5 * plane + k, g);
    }
  }
}

// P = A M: kHop outputs from the products' values.
template <int kHop>
void output_values(const Block& b, int64_t row, const Lanes& lanes, const float* m, float* panel) {
  const int64_t step = b.step * row, plane = b.count * row;
  for (int64_t e = 0; e < b.count; ++e, m += row) {
    float* at = panel + (e / b.phases * kHop * b.phases + e % b.phases) * row;
    for (int64_t k = lanes.begin; k < lanes.end; k += kLanes) {
      Vec v[kWinogradPoints];
      for (int f = 0; f < kWinogradPoints; ++f) v[f] = load(m + f * plane + k);
      const Vec sum = v[1] + v[2], difference = v[1] - v[2];
      const Vec sum2 = v[3] + v[4], difference2 = v[3] - v[4];
      for (int j = 0; j < kHop; ++j) {
        const auto power = static_cast<float>(1 << j);
        Vec y = j % 2 ? difference + power * difference2 : sum + power * sum2;
        if (j == 0) y += v[0];
        if (j == kHop - 1) y += v[5];
        store(at + j * step + k, y);
      }
    }
  }
}

template <int kHop, class Function>
void with_hop(int64_t hop, const Function& call) {
  if (hop == kHop) return call.template operator()<kHop>();
  if constexpr (kHop > 2) with_hop<kHop - 1>(hop, call);
}

struct GradientValues {
  const Block& b;
  int64_t row;
  const Lanes& lanes;
  const float* panel;
  float* h;
  template <int kHop>
  void operator()() const {
    gradient_values<kHop>(b, row, lanes, panel, h);
  }
};
struct OutputValues {
  const Block& b;
  int64_t row;
  const Lanes& lanes;
  const float* m;
  float* panel;
  template <int kHop>
  void operator()() const {
    output_values<kHop>(b, row, lanes, m, panel);
  }
};

// What each tap counts at each point.
struct TapValues {
  float g[kWinogradPoints][kWinogradPoints] = {};
  explicit TapValues(int64_t S) {
    constexpr float kPoint[] = {0, 1, -1, 2, -2};
    constexpr float kShare[] = {1.0f / 4, -1.0f / 6, -1.0f / 6, 1.0f / 24, 1.0f / 24};
    for (int f = 0; f + 1 < kWinogradPoints; ++f) {
      float value = kShare[f];
      for (int64_t s = 0; s < S; ++s, value *= kPoint[f]) g[f][s] = value;
    }
    g[kWinogradPoints - 1][S - 1] = 1;
  }
};

// ----------------------------------------------------------------------------------- products

// Rows of a, `row` apart, and of b: out[i][.] (+)= sum over n < steps of a[i][n] * b[n][.].
struct Product {
  int64_t steps;
  const float* a;
  int64_t a_row, a_step;
  const float* b;
  int64_t b_step;
  float* out;
  int64_t out_row;
};

template <int KR, bool kAdd>
void multiply_tile(const Product p) {
  Vec acc[KR][2];
#pragma GCC unroll 12
  for (int i = 0; i < KR; ++i) acc[i][0] = Vec{}, acc[i][1] = Vec{};
  const float *a = p.a, *b = p.b;
#pragma GCC unroll 2
  for (int64_t n = 0; n < p.steps; ++n, a += p.a_step, b += p.b_step) {
    const Vec low = load(b), high = load(b + kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < KR; ++i) {
      const Vec value = splat_bits(a + i * p.a_row);
      acc[i][0] += value * low, acc[i][1] += value * high;
    }
  }
#pragma GCC unroll 12
  for (int i = 0; i < KR; ++i) {
    float* out = p.out + i * p.out_row;
    if (kAdd) acc[i][0] += load(out), acc[i][1] += load(out + kLanes);
    store(out, acc[i][0]), store(out + kLanes, acc[i][1]);
  }
}

template <int KR, bool kAdd>
void run_multiply(int64_t rows, const Product& p) {
  if (rows == KR) return multiply_tile<KR, kAdd>(p);
  if constexpr (KR > 1) run_multiply<KR - 1, kAdd>(rows, p);
}

// M[f] = V[f] U[f], the filters of a tile outermost.
void multiply_values(const WinogradShape& p, int64_t count, const float* v, const float* u,
                     Share share, float* m) {
  const int64_t C = padded(p.C), K = padded(p.K), pairs = K / kPair;
  const int64_t total = kWinogradPoints * pairs;
  const Split tiles(count, kRows);
  for (int64_t n = share.begin(total); n < share.end(total); ++n) {
    const int64_t f = n / pairs, k = n % pairs * kPair;
    const float *values = v + f * count * C, *weights = u + n * p.C * kPair;
    float* out = m + f * count * K + k;
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t e = tiles.begin(tile);
      run_multiply<kRows, false>(tiles.begin(tile + 1) - e,
                                 {p.C, values + e * C, C, 1, weights, kPair, out + e * K, K});
    }
  }
}

// D[f] += (A' g)[f]' V[f].
void correlate_values(const WinogradShape& p, int64_t count, const float* h, const float* v,
                      Share share, float* sums) {
  const int64_t C = padded(p.C), K = padded(p.K), pairs = C / kPair;
  const int64_t total = kWinogradPoints * pairs;
  const Split tiles(p.K, kRows);
  for (int64_t n = share.begin(total); n < share.end(total); ++n) {
    const int64_t f = n / pairs, c = n % pairs * kPair;
    const float *gradients = h + f * count * K, *values = v + f * count * C + c;
    float* out = sums + f * p.K * C + c;
    for (int64_t tile = 0; tile < tiles.parts; ++tile) {
      const int64_t k = tiles.begin(tile);
      run_multiply<kRows, true>(tiles.begin(tile + 1) - k,
                                {count, gradients + k, 1, K, values, C, out + k * C, C});
    }
  }
}

// -------------------------------------------------------------------------------- entry points

int64_t weights_floats(const WinogradShape& p) { return kWinogradPoints * p.C * padded(p.K); }
int64_t sums_floats(const WinogradShape& p) { return kWinogradPoints * p.K * padded(p.C); }

int64_t panel_floats(const WinogradShape& p) {
  const int64_t rows = p.tiles * p.hop(), halo = p.taps.S - 1;
  return p.phases * most((rows + halo) * padded(p.C), rows * padded(p.K));
}
int64_t unit_floats(const WinogradShape& p) {
  return panel_floats(p) + kWinogradPoints * p.phases * p.tiles * (padded(p.C) + padded(p.K));
}

// U[f][pair of vectors of filters][c][filter], zero beyond the last filter.
void transform_weights(const WinogradShape& p, const WeightView& w, Share share, float* out) {
  const int64_t S = p.taps.S, total = padded(p.K) / kPair * p.C, plane = total * kPair;
  const TapValues values(S);
  for (int64_t n = share.begin(total); n < share.end(total); ++n) {
    const int64_t k0 = n / p.C * kPair, filters = least(kPair, p.K - k0);
    const float* from = w.data + k0 * w.k_stride + n % p.C * w.c_stride;
    float taps[kWinogradPoints][kPair] = {};
    for (int64_t k = 0; k < filters; ++k, from += w.k_stride)
      for (int64_t s = 0; s < S; ++s)
        taps[s][k] = w.to_bf16 ? rounded(from[s * w.s_stride]) : from[s * w.s_stride];
    for (int64_t f = 0; f < kWinogradPoints; ++f)
      for (int64_t k = 0; k < kPair; k += kLanes) {
        Vec sum{};
        for (int64_t s = 0; s < S; ++s) sum += values.g[f][s] * load(taps[s] + k);
        store(out + f * plane + n * kPair + k, sum);
      }
  }
}

void weight_gradient(const WinogradShape& p, const float* sums, Share share, float* dw) {
  const int64_t S = p.taps.S, C = padded(p.C), plane = p.K * C;
  const TapValues values(S);
  for (int64_t k = share.begin(p.K); k < share.end(p.K); ++k)
    for (int64_t c = 0; c < p.C; c += kLanes)
      for (int64_t s = 0; s < S; ++s) {
        Vec sum{};
        for (int64_t f = 0; f < kWinogradPoints; ++f)
          sum += values.g[f][s] * load(sums + f * plane + k * C + c);
        for (int64_t i = 0; i < least(kLanes, p.C - c); ++i) dw[(k * p.C + c + i) * S + s] = sum[i];
      }
}

// What a unit holds.
struct Space {
  float *panel, *inputs, *outputs;
  Space(const WinogradShape& p, const Block& b, float* floats)
      : panel(floats),
        inputs(panel + panel_floats(p)),
        outputs(inputs + kWinogradPoints * b.count * padded(p.C)) {}
};

// Values of the unit's inputs, by way of the panel.
template <class T>
void load_inputs(const WinogradConv<T>& p, int64_t number, Share share, float* floats) {
  const Block b(p, number);
  if (b.count == 0) return;
  const Space space(p, b, floats);
  const Lanes lanes(share, p.C);
  const Runs runs(p, b, b.tiles * p.hop() + p.taps.S - 1, b.position - p.taps.pad_left);
  const Rows<T> mask = p.g.data ? Rows<T>{} : p.relu_of;
  load_panel(Source<T>{p.x, mask, p.C, p.taps.W}, runs, lanes, space.panel);
  input_values(b, p.hop(), padded(p.C), lanes, space.panel, space.inputs);
}

void multiply(const WinogradShape& p, int64_t number, const float* weights, Share share,
              float* floats) {
  const Block b(p, number);
  const Space space(p, b, floats);
  if (b.count > 0) multiply_values(p, b.count, space.inputs, weights, share, space.outputs);
}

template <class T>
void store_outputs(const WinogradConv<T>& p, int64_t number, Share share, float* floats) {
  const Block b(p, number);
  if (b.count == 0) return;
  const Space space(p, b, floats);
  const Lanes lanes(share, p.K);
  with_hop<5>(p.hop(), OutputValues{b, padded(p.K), lanes, space.outputs, space.panel});
  store_panel(p, Runs(p, b, b.tiles * p.hop(), b.position), lanes, space.panel);
}

// Values of the unit's gradients, where the outputs' would be.
template <class T>
void load_gradient(const WinogradConv<T>& p, int64_t number, Share share, float* floats) {
  const Block b(p, number);
  if (b.count == 0) return;
  const Space space(p, b, floats);
  const Lanes lanes(share, p.K);
  const Runs runs(p, b, b.tiles * p.hop(), b.position);
  load_panel(Source<T>{p.g, p.relu_of, p.K, p.outputs}, runs, lanes, space.panel);
  with_hop<5>(p.hop(), GradientValues{b, padded(p.K), lanes, space.panel, space.outputs});
}

void correlate(const WinogradShape& p, int64_t number, const float* floats, Share share,
               float* sums) {
  const Block b(p, number);
  const Space space(p, b, const_cast<float*>(floats));
  if (b.count > 0) correlate_values(p, b.count, space.outputs, space.inputs, share, sums);
}

}  // namespace

extern const WinogradWeights winograd_weights{weights_floats,    sums_floats, unit_floats,
                                              transform_weights, multiply,    correlate,
                                              weight_gradient};
extern const WinogradKernels<float> winograd{load_inputs<float>, store_outputs<float>,
                                             load_gradient<float>};
extern const WinogradKernels<Bf16> winograd_bf16{load_inputs<Bf16>, store_outputs<Bf16>,
                                                 load_gradient<Bf16>};

}  // namespace DILCONV_ISA
}  // namespace dilconv
