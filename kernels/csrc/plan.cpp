// Chooses cache blocks, FFT tiles and the algorithm from the sizes of the problem, the caches and a
// cost model in cycles of one core. The model counts vector operations at the rates that the
// kernels were measured to reach; only ratios between its estimates matter.
#include "plan.h"

#include <unistd.h>

#include <algorithm>
#include <limits>

#include "fft_tables.h"

namespace dilconv {

int64_t l2_bytes() {
  static const int64_t bytes = [] {
#ifdef _SC_LEVEL2_CACHE_SIZE
    const long found = sysconf(_SC_LEVEL2_CACHE_SIZE);
    if (found >= 128 << 10) return static_cast<int64_t>(found);
#endif
    return static_cast<int64_t>(512 << 10);
  }();
  return bytes;
}

double region_cycles(int threads) { return threads > 1 ? 15e3 : 0; }

int useful_threads(int64_t threads, int64_t items) {
  return static_cast<int>(std::max<int64_t>(1, std::min(threads, items)));
}

// Parts with sums of their own, added up at the end. As many as keep the threads evenly busy and
// the adding cheap; the number of threads enters only where they are more than that, so that
// results mostly do not depend on it.
int summed_parts(int64_t items, int threads, int64_t sums) {
  constexpr int64_t kItems = 8, kMost = 16, kFloats = 4 << 20;
  const int64_t affordable = std::min(kMost, kFloats / std::max<int64_t>(sums, 1));
  return static_cast<int>(std::max<int64_t>({std::min(items / kItems, affordable), threads, 1}));
}

namespace {

constexpr int64_t kLine = 16;                 // floats in a 64-byte cache line
constexpr int64_t kL1Bytes = 24 << 10;        // three quarters of the smallest L1 in use
constexpr int64_t kForwardBlock = 576;        // outputs: a packed row of AtacWorks' layer is 3.9 KB
constexpr int64_t kWeightBlock = 1152;        // long enough that summing the lanes costs under 5 %
constexpr int64_t kTilesBytes = 32 << 20;     // most that a spectral plan may take a thread
constexpr int64_t kSpectraBytes = 256 << 20;  // and for the spectra of the weights and their sums

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Outputs per block: about `target`, blocks equal in size, two a thread where there are enough.
int64_t choose_q_block(int64_t outputs, int64_t batch, int64_t target, int64_t unit, int threads) {
  int64_t blocks = divide_up(outputs, target);
  const int64_t wanted = divide_up(2 * threads, std::max<int64_t>(batch, 1));
  if (threads > 1 && blocks < wanted) blocks = std::min(wanted, divide_up(outputs, unit));
  return std::max(round_up(divide_up(outputs, std::max<int64_t>(blocks, 1)), unit), unit);
}

// Packed rows, as many of them at a time as `budget` bytes hold.
Blocking choose_blocking(const RowLayout& layout, int64_t q_block, int64_t budget) {
  Blocking b;
  b.q_block = q_block;
  b.tap_stride = std::min(layout.taps.d, q_block);
  // An odd number of cache lines: rows spread over the cache sets.
  b.row = round_up((layout.taps.S - 1) * b.tap_stride + q_block, kLine);
  if (b.row / kLine % 2 == 0) b.row += kLine;
  b.c_block = budget / (b.row * static_cast<int64_t>(sizeof(float)));
  return b;
}

// A whole number of units, at least one, at most all.
int64_t whole_rows(const RowLayout& layout, int64_t most) {
  return std::max(std::min(most, layout.rows) / layout.unit, int64_t{1}) * layout.unit;
}

// Channels whose taps under one register tile, and their weights, stay in L1 from tile to tile; but
// enough of them that adding to y once a channel block stays below a few per cent of the work.
int64_t channels_in_l1(const Taps& taps) {
  constexpr int64_t kTile = 16 + 6, kSteps = 256;
  const int64_t touched = (taps.S - 1) * std::min<int64_t>(taps.d, kLine) + kTile * taps.S;
  const int64_t fit = kL1Bytes / (touched * static_cast<int64_t>(sizeof(float)));
  return std::max({fit, divide_up(kSteps, taps.S), int64_t{1}});
}

}  // namespace

Posed pose(const dilconv_problem& p, Pass pass) {
  const bool bf16 = p.dtype == DILCONV_BFLOAT16;
  if (pass == kForward || pass == kBackwardWeight)
    return {p.C, p.K, p.Q, {p.W, p.S, p.d, p.pad_left}, {nullptr, p.C * p.S, p.S, 1, bf16}, 0};
  const int64_t pad = (p.S - 1) * p.d - p.pad_left;
  return {p.K, p.C, p.W, {p.Q, p.S, p.d, pad}, {nullptr, p.S, p.C * p.S, -1, bf16}, p.S - 1};
}

namespace {

// Floats a thread of the direct kernels' workspace.
template <class T>
int64_t scratch_floats(const DirectPlan& plan, int64_t K, bool weights) {
  const Blocking& b = plan.blocking;
  const int64_t rows = b.c_block * b.row, filters = round_up(K, kLine) * b.q_block;
  if (weights) return filters + rows;
  if (sizeof(T) == sizeof(float)) return round_up(rows, kLine);
  return rows + b.row + filters + kLine * b.q_block;  // see output.h, pairs.h and amx.cpp
}

template <class T>
DirectPlan plan_direct_of(const DirectKernels<T>& kernels, const dilconv_problem& p, Pass pass) {
  const Posed posed = pose(p, pass);
  const int64_t unit = kernels.q_unit;
  const bool weights = pass == kBackwardWeight;
  DirectPlan plan{};
  plan.batch = p.N;
  plan.outputs = posed.outputs;
  int64_t target = weights ? kWeightBlock : kForwardBlock;
  if (weights)  // the packed gradients of all filters share L2 with x
    target = std::max(unit, std::min(target, l2_bytes() / 8 / posed.K / unit * unit));
  const int64_t q_block =
      choose_q_block(posed.outputs, p.N, target, unit, static_cast<int>(p.threads));
  plan.blocks = divide_up(posed.outputs, q_block);
  plan.threads = useful_threads(p.threads, plan.items());
  const int64_t count = p.K * p.C * p.S;
  const RowLayout layout = weights ? RowLayout{posed.C, 1, posed.taps, count}
                                   : kernels.layout(posed.C, posed.K, posed.taps);
  plan.blocking = choose_blocking(layout, q_block, l2_bytes() / 2);
  int64_t most = plan.blocking.c_block;
  if (!weights) most = std::min(most, channels_in_l1(layout.taps));
  plan.blocking.c_block = whole_rows(layout, most);
  plan.per_thread = scratch_floats<T>(plan, posed.K, weights);
  if (weights) {
    plan.sums = round_up(count, kLine);
    plan.parts = summed_parts(plan.items(), plan.threads, plan.sums);
  } else {
    plan.shared = round_up(layout.floats, kLine);
  }
  // Per column: multiply-adds, then reading and storing; rows of many channels are packed first.
  const double columns = static_cast<double>(p.N) * static_cast<double>(posed.outputs);
  const double vectors = columns / kernels.lanes;
  const double rows = static_cast<double>(posed.C + posed.K);
  const bool narrow = posed.K == 1 || (weights && posed.C == 1);  // one load a multiply-add
  const bool packed = sizeof(T) < sizeof(float) || plan.blocking.c_block > 16;
  const double step = weights ? kernels.backward_cycles : kernels.forward_cycles;
  const double work = static_cast<double>(layout.floats) * step * (narrow ? 1.25 : 1) +
                      rows * (packed ? kernels.pack_cycles : 1.0);
  plan.cycles = vectors * work / plan.threads + region_cycles(plan.threads);
  return plan;
}

}  // namespace

DirectPlan plan_direct(const IsaKernels& isa, const dilconv_problem& p, Pass pass) {
  return p.dtype == DILCONV_BFLOAT16 ? plan_direct_of(*isa.direct_bf16, p, pass)
                                     : plan_direct_of(*isa.direct, p, pass);
}

namespace {

int64_t power_of_two_in(int64_t d, int64_t most) {
  int64_t phases = 1;
  while (phases < most && d % (2 * phases) == 0) phases *= 2;
  return phases;
}

Tiling tile(const Posed& posed, int64_t length, int64_t parts, int64_t lanes) {
  Tiling t;
  t.part_taps = divide_up(posed.taps.S, parts);
  t.parts = divide_up(posed.taps.S, t.part_taps);
  t.hop = length - t.part_taps + 1;
  t.phases = power_of_two_in(posed.taps.d, lanes);
  t.phase_groups = divide_up(std::min(posed.taps.d, posed.outputs), t.phases);
  const int64_t tiles = divide_up(divide_up(posed.outputs, posed.taps.d), t.hop);
  t.tile_groups = divide_up(tiles, 2 * lanes / t.phases);
  return t;
}

// Cycles a point of one transform, between memory and spectrum, by the bytes of its tile: the
// caches it still fits.
double transform_cycles(int64_t tile_bytes) {
  return tile_bytes <= 4 << 10     ? 12.5
         : tile_bytes <= 8 << 10   ? 14
         : tile_bytes <= 16 << 10  ? 15
         : tile_bytes <= 64 << 10  ? 21
         : tile_bytes <= 128 << 10 ? 25
                                   : 28;
}

// Cycles a point beyond that, where it is not one load: see tiles.h.
double gather_cycles(const Tiling& t, int64_t d, int64_t lanes) {
  if (t.phases == lanes) return d == lanes ? 0 : d < 64 ? 3.5 : 12;
  if (t.phases == d) return 8;
  return 10 + 5.0 * static_cast<double>(lanes) / static_cast<double>(t.phases);
}

// Cycles a point of what lies between the transforms: half a cycle a vector multiply-add, and what
// the tiles of sums and the transposing of an operand cost beside.
double forward_products(double inputs, double outputs) {
  return 1.5 * inputs * outputs + 2 * outputs + 12;
}
double weight_products(int64_t inputs, int64_t outputs, int64_t lanes) {
  constexpr int64_t kChains = 8;  // of multiply-adds that hide each other's latency
  const int64_t blocks = divide_up(std::max(inputs, outputs), lanes);
  const int64_t other = std::min(inputs, outputs);
  const auto sums = static_cast<double>(std::max(blocks * other, kChains) * lanes);
  return 1.5 * sums + 5 * static_cast<double>(blocks * lanes) + 3 * static_cast<double>(other) + 20;
}

// Cycles of `items` units on so many threads, and of what is done once.
double spectral_cycles(const SpectralPlan& plan, int64_t items, int threads, int64_t lanes) {
  constexpr double kRow = 120;  // to start on another row
  const SpectralShape& c = plan.conv;
  const int64_t point_bytes = 2 * lanes * static_cast<int64_t>(sizeof(float));
  const double length = static_cast<double>(c.table.length);
  const double fft = kRow + length * (transform_cycles(c.table.length * point_bytes) +
                                      gather_cycles(c.tiling, c.taps.d, lanes));
  const int64_t channels = c.C * c.tiling.parts;
  const double inputs = static_cast<double>(channels), outputs = static_cast<double>(c.K);
  double unit = inputs * fft;
  if (plan.need_dx) unit += outputs * fft + length * forward_products(inputs, outputs);
  if (plan.need_dw) unit += outputs * fft + length * weight_products(channels, c.K, lanes);
  const double spectra_bytes = length * (inputs + outputs) * static_cast<double>(point_bytes);
  const double weight_bytes = 4.0 * static_cast<double>(plan.spectra + 2 * plan.dw_spectrum);
  const double beyond_l2 = spectra_bytes + weight_bytes - static_cast<double>(l2_bytes());
  unit += std::max(beyond_l2, 0.0) / 8;
  // Points of a spectrum that are pages apart miss the translation buffer.
  constexpr int64_t kPage = 4096;
  for (const int64_t rows : {channels, c.K})
    if (rows * point_bytes >= kPage) unit += 16 * length * static_cast<double>(rows);
  const double turns = static_cast<double>(divide_up(items, threads));
  double once = 0;  // spectra of the weights, and back
  if (plan.need_dx) once += inputs * outputs * length * 2.5 / threads;
  if (plan.need_dw) once += inputs * outputs * length * 1.2;
  return turns * unit + once + (plan.need_dx ? 2 : 1) * region_cycles(threads);
}

}  // namespace

SpectralPlan plan_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass) {
  const Posed posed = pose(p, pass == kForward ? kForward : kBackwardData);
  const int64_t lanes = isa.direct->lanes;
  SpectralPlan best{};
  best.cycles = std::numeric_limits<double>::infinity();
  double least = best.cycles;
  for (int log2 = kFftShortest; log2 <= kFftLongest; ++log2) {
    const int64_t length = int64_t{1} << log2;
    if (p.fft_length && p.fft_length != length) continue;
    for (int64_t quarters = 1; quarters <= 3; ++quarters) {
      // A part of the filter takes about this share of the tile.
      const int64_t parts = divide_up(posed.taps.S, std::max<int64_t>(length * quarters / 4, 1));
      SpectralPlan plan{};
      plan.conv.C = posed.C, plan.conv.K = posed.K, plan.conv.outputs = posed.outputs;
      plan.conv.taps = posed.taps;
      plan.conv.tiling = tile(posed, length, parts, lanes);
      plan.conv.table = fft_table(log2);
      plan.need_dx = pass != kBackwardWeight;
      plan.need_dw = pass == kBackwardWeight || pass == kBackward;
      plan.batch = p.N;
      plan.threads = useful_threads(p.threads, plan.items());
      plan.spectra = plan.need_dx ? round_up(isa.spectra->spectra_floats(plan.conv), kLine) : 0;
      plan.dw_spectrum =
          plan.need_dw ? round_up(isa.spectra->dw_spectrum_floats(plan.conv), kLine) : 0;
      plan.parts = plan.need_dw ? summed_parts(plan.items(), plan.threads, plan.dw_spectrum) : 0;
      plan.scratch = round_up(isa.spectra->workspace_floats(plan.conv), kLine);
      constexpr int64_t kFloat = sizeof(float);
      if (plan.scratch * kFloat > kTilesBytes) continue;
      if ((plan.spectra + plan.parts * plan.dw_spectrum) * kFloat > kSpectraBytes) continue;
      // One item on one thread decides, so that results depend neither on the batch nor on threads.
      const double alone = spectral_cycles(plan, plan.conv.tiling.units(), 1, lanes);
      if (alone >= least) continue;
      least = alone;
      plan.cycles = spectral_cycles(plan, plan.items(), plan.threads, lanes);
      best = plan;
    }
  }
  return best;
}

int32_t choose(const dilconv_problem& p, const Estimates& cycles) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  if (p.algorithm == DILCONV_SPECTRAL && cycles.spectral < kNever) return DILCONV_SPECTRAL;
  if (p.algorithm == DILCONV_WINOGRAD && cycles.winograd < kNever) return DILCONV_WINOGRAD;
  if (p.algorithm != DILCONV_AUTO) return DILCONV_DIRECT;
  if (cycles.spectral < std::min(cycles.direct, cycles.winograd)) return DILCONV_SPECTRAL;
  return cycles.winograd < cycles.direct ? DILCONV_WINOGRAD : DILCONV_DIRECT;
}

}  // namespace dilconv
