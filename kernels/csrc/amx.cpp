// Direct convolution of bf16 on AMX tiles: 16 rows of 64 bytes, multiplied 16 x 32 x 16 at a time.
//
//   forward (and backward-data), for each block of q_block outputs          the driver's loop
//     for each block of c_block rows of pairs: pack them                    pairs.h
//       for each tile of 16 filters, for each 4 tiles of 16 outputs         4 tiles of sums
//         for each 16 rows, step: sums[i] += weights (16 x 32) * rows (32 x 16)
//     the epilogue, from the float sums of all filters
//
//   backward-weight: pack x and g, turn g into [16 pairs of outputs][16 filters]
//     for each 4 tiles of 16 taps (or channels), for each tile of filters   4 tiles of sums
//       for each 32 outputs: sums[i] += x (16 x 32) * g (32 x 16)
//
// A filter of few channels would leave the 32-deep reduction half empty: neighbouring taps join it,
// as many as fit. Tile budget: 4 of sums, 3 in turn for what differs between them, 1 shared; 5
// loads of 8 cycles hide behind 4 products of 16. Tiles are configured for each block and released
// after it.
#include <immintrin.h>

#include "gradient.h"
#include "output.h"
#include "pairs.h"

namespace dilconv {
namespace DILCONV_ISA {
namespace {

constexpr int64_t kTile = 16;         // rows of a tile, and 32-bit columns
constexpr int64_t kOutputUnit = 192;  // as the other kernels: four tiles and whole vectors

struct __attribute__((aligned(64))) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes[16] = {};
  uint8_t rows[16] = {};
};

// The compiler does not know that tile instructions read memory: what they read must be there.
DILCONV_INLINE void settle_memory() { __asm__ volatile("" ::: "memory"); }

// Tiles 0 to 3 hold sums, 4 to 6 and 7 operands; `rows` of those (and of the sums) that a
// product's left operand has.
void configure(int64_t rows, bool shared_left) {
  TileConfig config;
  for (int i = 0; i < 8; ++i) {
    const bool left = i < 4 || (i == 7) == shared_left;
    config.bytes[i] = 64;
    config.rows[i] = static_cast<uint8_t>(left ? rows : kTile);
  }
  settle_memory();
  _tile_loadconfig(&config);
}

// ------------------------------------------------------------------------------------- forward

// How a filter's reduction is cut: `together` taps, `rows` of pairs, `full` steps and a last one
// with the taps that are left.
struct Steps {
  int64_t half, together, rows, full, total;
  Steps(int64_t C, const Taps& taps) {
    half = (C + 1) / 2;
    together = clamp(kTile / half, 1, taps.S);
    rows = round_up(together * half, kTile);
    full = taps.S / together;
    total = (taps.S + together - 1) / together;
  }
  Taps taps(const Taps& t) const { return {t.W, full, together * t.d, t.pad_left}; }
};

// Filters are cut into equal tiles.
struct Filters {
  int64_t tiles, rows;
  explicit Filters(int64_t K) : tiles((K + kTile - 1) / kTile), rows((K + tiles - 1) / tiles) {}
};

RowLayout layout(int64_t C, int64_t K, const Taps& taps) {
  const Steps s(C, taps);
  const Filters f(K);
  return {s.rows, kTile, s.taps(taps), f.tiles * f.rows * s.rows * s.total, f.tiles};
}

// [filter tile][16 rows][step][filter][row].
void pack_weights(const ConvBlock<Bf16>& p, const WeightView& w, Share share, float* packed) {
  const Steps steps(p.C, p.taps);
  const Filters f(p.K);
  const auto weight = [&](int64_t k, int64_t c, int64_t s) {
    const bool inside = k < p.K && c < p.C && s < p.taps.S;
    return inside ? bf16_of(w.data[k * w.k_stride + c * w.c_stride + s * w.s_stride]) : Bf16{};
  };
  const int64_t first = share.begin(f.tiles) * f.rows, last = share.end(f.tiles) * f.rows;
  packed += first * steps.rows * steps.total;
  for (int64_t k0 = first; k0 < last; k0 += f.rows)
    for (int64_t r0 = 0; r0 < steps.rows; r0 += kTile)
      for (int64_t step = 0; step < steps.total; ++step)
        for (int64_t k = k0; k < k0 + f.rows; ++k)
          for (int64_t r = r0; r < r0 + kTile; ++r) {
            const int64_t c = 2 * (r % steps.half), moved = r / steps.half;
            const int64_t s = moved < steps.together ? step * steps.together + moved : p.taps.S;
            *packed++ = pair_of(weight(k, c, s), weight(k, c + 1, s));
          }
}

// Tiles 0 to 3 += the weights of `count` steps * columns 0, 16, 32, 48 of the rows, whose steps are
// `apart` floats apart.
void add_steps(const float* weights, int64_t weight_floats, const float* rows, int64_t row,
               int64_t apart, int64_t count) {
  const int64_t stride = row * 4;
  for (int64_t i = 0; i < count; ++i, weights += weight_floats, rows += apart) {
    _tile_loadd(7, weights, 64);
    _tile_loadd(4, rows, stride);
    _tile_dpbf16ps(0, 7, 4);
    _tile_loadd(5, rows + kTile, stride);
    _tile_dpbf16ps(1, 7, 5);
    _tile_loadd(6, rows + 2 * kTile, stride);
    _tile_dpbf16ps(2, 7, 6);
    _tile_loadd(4, rows + 3 * kTile, stride);
    _tile_dpbf16ps(3, 7, 4);
  }
}

void start_sums(const float* sums, int64_t stride, bool add) {
  settle_memory();
  if (add) {
    _tile_loadd(0, sums, stride);
    _tile_loadd(1, sums + kTile, stride);
    _tile_loadd(2, sums + 2 * kTile, stride);
    _tile_loadd(3, sums + 3 * kTile, stride);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
}
void store_sums(float* sums, int64_t stride) {
  _tile_stored(0, sums, stride);
  _tile_stored(1, sums + kTile, stride);
  _tile_stored(2, sums + 2 * kTile, stride);
  _tile_stored(3, sums + 3 * kTile, stride);
}

// What one block works on, in its workspace.
struct Space {
  float *sums, *rest, *rows;  // [filter][output], [16 rows][output] of the last step, packed rows
  Space(const ConvBlock<Bf16>& p, float* workspace)
      : sums(workspace),
        rest(sums + round_up(p.K, kTile) * p.blocking.q_block),
        rows(rest + kTile * p.blocking.q_block) {}
};

// The rows of the last step where its taps are not all of the filter's.
void pack_rest(const Paired& paired, const Steps& steps, const Taps& taps, int64_t q_block,
               int64_t q0, int64_t width, const Space& space) {
  const int64_t tap = steps.full * steps.together;
  Bf16* copies = reinterpret_cast<Bf16*>(space.rows);
  for (int64_t r = 0; r < kTile; ++r)
    pack_pair_row(paired, r, tap, q0 - taps.pad_left + tap * taps.d, width, copies,
                  space.rest + r * q_block);
}

// Adds rows [r0, r1), packed, to the sums of all filters.
void add_rows(const ConvBlock<Bf16>& p, const Steps& steps, int64_t r0, int64_t r1, int64_t width,
              const Space& space) {
  const Blocking& b = p.blocking;
  const Filters f(p.K);
  const int64_t floats = f.rows * kTile, stride = b.q_block * 4;
  for (int64_t tile = 0; tile < f.tiles; ++tile)
    for (int64_t q = 0; q < width; q += 4 * kTile) {
      float* sums = space.sums + tile * f.rows * b.q_block + q;
      start_sums(sums, stride, r0 > 0);
      for (int64_t r = r0; r < r1; r += kTile) {
        const float* w = p.packed + (tile * steps.rows + r) / kTile * steps.total * floats;
        add_steps(w, floats, space.rows + (r - r0) * b.row + q, b.row, b.tap_stride, steps.full);
        if (steps.full < steps.total)
          add_steps(w + steps.full * floats, floats, space.rest + q, b.q_block, 0, 1);
      }
      store_sums(sums, stride);
    }
}

void finish(const ConvBlock<Bf16>& p, int64_t q0, int64_t columns, float* found) {
  constexpr int kVectors = 4;
  const Sums sums{found, q0, p.blocking.q_block, true, true, 0};
  for (int64_t k = 0; k < p.K; ++k) {
    const Output<Bf16> out = output_of(p, sums, k, q0);
    for (int64_t q = 0; q < columns; q += kVectors * kLanes) {
      Vec zero[kVectors] = {};
      write_row<kVectors>(out, 0, q, columns - q, zero);
    }
  }
}

void forward(const ConvBlock<Bf16>& p, int64_t q0, int64_t q1, float* workspace) {
  const Steps steps(p.C, p.taps);
  const Space space(p, workspace);
  const int64_t width = round_up(q1 - q0, kOutputUnit);
  const Paired paired{p.C, p.taps.W, p.x, p.relu_of, p.taps.d, p.taps.S, steps.together};
  configure(Filters(p.K).rows, true);
  if (steps.full < steps.total)
    pack_rest(paired, steps, p.taps, p.blocking.q_block, q0, width, space);
  for (int64_t r0 = 0; r0 < steps.rows; r0 += p.blocking.c_block) {
    const int64_t r1 = clamp(r0 + p.blocking.c_block, r0, steps.rows);
    pack_pairs(paired, steps.taps(p.taps), p.blocking, r0, r1, q0, width, space.rows);
    add_rows(p, steps, r0, r1, width, space);
  }
  _tile_release();
  finish(p, q0, q1 - q0, space.sums);
}

// ----------------------------------------------------------------------------- backward-weight

// A tile of x is 16 rows of 32 columns: taps of one channel, or channels at one tap. The last tile
// of a channel (or tap) starts early, so that it is whole; its sums are written from `fresh` on.
struct LeftTile {
  const Bf16* x;
  int64_t c, s, fresh;
};

struct LeftTiles {
  const WeightBlock<Bf16>& p;
  const Bf16* x;
  int64_t channels;
  bool taps;  // that the rows of a tile are

  int64_t wide() const { return taps ? p.taps.S : channels; }
  int64_t rows() const { return wide() < kTile ? wide() : kTile; }
  int64_t each() const { return (wide() + kTile - 1) / kTile; }
  int64_t count() const { return each() * (taps ? channels : p.taps.S); }
  int64_t stride() const { return (taps ? p.blocking.tap_stride : p.blocking.row) * 2; }
  LeftTile tile(int64_t i) const {
    const int64_t whole = i % each() * kTile, start = clamp(whole, 0, wide() - rows());
    const int64_t c = taps ? i / each() : start, s = taps ? start : i / each();
    return {x + c * p.blocking.row + s * p.blocking.tap_stride, c, s, whole - start};
  }
};

// g as [32 outputs][filter tile][16 pairs][16 filters], zero beyond the last filter.
void turn_gradient(const Bf16* g, int64_t row, int64_t K, int64_t width, float* turned) {
  for (int64_t q = 0; q < width; q += 2 * kTile)
    for (int64_t k0 = 0; k0 < K; k0 += kTile) {
      Vec v[kTile];
      for (int64_t k = 0; k < kTile; ++k)
        v[k] = k0 + k < K ? load_bits(g + (k0 + k) * row + q) : Vec{};
      transpose<kLanes / 2, 1>(v);
      for (int64_t i = 0; i < kTile; ++i, turned += kTile) store(turned, v[i]);
    }
}

// Sums of `kCount` tiles with one of filters, `chunks` products each.
template <int kCount>
void weight_products(const LeftTile* left, int64_t stride, const float* g, int64_t g_apart,
                     int64_t chunks, float* sums) {
  start_sums(nullptr, 0, false);
  for (int64_t i = 0; i < chunks; ++i, g += g_apart) {
    _tile_loadd(7, g, 64);
    _tile_loadd(4, left[0].x + i * 32, stride);
    _tile_dpbf16ps(0, 4, 7);
    if constexpr (kCount > 1) {
      _tile_loadd(5, left[1].x + i * 32, stride);
      _tile_dpbf16ps(1, 5, 7);
    }
    if constexpr (kCount > 2) {
      _tile_loadd(6, left[2].x + i * 32, stride);
      _tile_dpbf16ps(2, 6, 7);
    }
    if constexpr (kCount > 3) {
      _tile_loadd(4, left[3].x + i * 32, stride);
      _tile_dpbf16ps(3, 4, 7);
    }
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + kTile * kTile, 64);
  _tile_stored(2, sums + 2 * kTile * kTile, 64);
  _tile_stored(3, sums + 3 * kTile * kTile, 64);
}

// Adds one tile's sums [row][filter] to dw from filter k0 on.
void add_weights(const LeftTiles& tiles, const LeftTile& t, const float* sums, int64_t c0,
                 int64_t k0, float* dw) {
  const WeightBlock<Bf16>& p = tiles.p;
  for (int64_t i = t.fresh; i < tiles.rows(); ++i) {
    const int64_t c = c0 + t.c + (tiles.taps ? 0 : i), s = t.s + (tiles.taps ? i : 0);
    for (int64_t k = k0; k < p.K && k < k0 + kTile; ++k)
      dw[k * p.dw_filter + c * p.taps.S + s] += sums[i * kTile + k - k0];
  }
}

void add_gradient(const LeftTiles& tiles, int64_t c0, const float* turned, int64_t chunks) {
  const WeightBlock<Bf16>& p = tiles.p;
  const int64_t filter_tiles = (p.K + kTile - 1) / kTile, floats = kTile * kTile;
  __attribute__((aligned(64))) float sums[4 * kTile * kTile];
  for (int64_t i = 0; i < tiles.count(); i += 4) {
    LeftTile left[4];
    const int64_t count = clamp(tiles.count() - i, 1, 4);
    for (int64_t j = 0; j < count; ++j) left[j] = tiles.tile(i + j);
    for (int64_t k = 0; k < filter_tiles; ++k) {
      const auto products = count == 1   ? weight_products<1>
                            : count == 2 ? weight_products<2>
                            : count == 3 ? weight_products<3>
                                         : weight_products<4>;
      products(left, tiles.stride(), turned + k * floats, filter_tiles * floats, chunks, sums);
      for (int64_t j = 0; j < count; ++j)
        add_weights(tiles, left[j], sums + j * floats, c0, k * kTile, p.dw);
    }
  }
}

void backward_weight(const WeightBlock<Bf16>& p, int64_t q0, int64_t q1, float* workspace) {
  const Blocking& b = p.blocking;
  const int64_t width = round_up(q1 - q0, 2 * kTile),
                turned_floats = round_up(p.K, kTile) * b.q_block / 2;
  float* turned = workspace;
  Bf16* g = reinterpret_cast<Bf16*>(turned + turned_floats);
  Bf16* x = g + 2 * turned_floats;
  for (int64_t k = 0; k < p.K; ++k)
    copy_padded(p.g.row(k), p.relu_of.row(k), q1, q0, width, g + k * b.q_block);
  turn_gradient(g, b.q_block, p.K, width, turned);
  const Split blocks(p.C, b.c_block);
  for (int64_t block = 0; block < blocks.parts; ++block) {
    const int64_t c0 = blocks.begin(block), channels = blocks.begin(block + 1) - c0;
    pack_rows(p.taps, b, p.x, Rows<Bf16>{}, c0, c0 + channels, q0, width, x);
    const LeftTiles tiles{p, x, channels, p.taps.S >= channels};
    configure(tiles.rows(), false);
    add_gradient(tiles, c0, turned, width / (2 * kTile));
    _tile_release();
  }
}

}  // namespace

// Cycles as a product of 16 takes them.
extern const DirectKernels<Bf16> direct_bf16{kLanes,
                                             true,
                                             kOutputUnit,
                                             0.09,
                                             5,
                                             0.05,
                                             layout,
                                             pack_weights,
                                             forward,
                                             backward_weight,
                                             pass_gradient<Bf16>};

}  // namespace DILCONV_ISA
}  // namespace dilconv
