// Chooses cache blocks, FFT tiles and the algorithm from the sizes of the problem, the caches and a
// cost model in cycles of one core. The model counts vector operations at the rates that the
// kernels were measured to reach; only ratios between its estimates matter.
#include "plan.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
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

namespace {

constexpr double kRegion = 15e3;  // cycles to call the threads and to wait for the last of them
constexpr double kWorth = 30e3;   // of work that another thread is called for

double count_up(double value, double by) { return std::ceil(value / by); }

}  // namespace

int useful_threads(int threads, double cycles) {
  return static_cast<int>(std::clamp(cycles / kWorth, 1.0, static_cast<double>(threads)));
}

double shared_cycles(int threads, double cycles) {
  const int useful = useful_threads(threads, cycles);
  return std::min(cycles, cycles / useful + (useful > 1 ? kRegion : 0));
}

// As many as add little to the work, so that threads seldom have to share one: a power of two, as
// numbers of threads mostly are.
int summed_parts(int64_t items, double item_cycles, int64_t sums) {
  constexpr int kMost = 16;
  constexpr double kAdding = 0.45, kShare = 0.02;
  const double work = item_cycles * static_cast<double>(items);
  for (int parts = kMost; parts > 1; parts /= 2)
    if (parts <= items && parts * sums <= kSummedFloats &&
        (parts - 1) * kAdding * static_cast<double>(sums) <= kShare * work)
      return parts;
  return 1;
}

Spread spread(int64_t items, double item_cycles, int parts, int steps, int threads) {
  // What one thread leaves in its caches, another needs; and each step waits for the slowest.
  constexpr double kTogether = 1.15, kStep = 2 * kRegion;
  const double count = static_cast<double>(std::max<int64_t>(items, 1)), T = threads, P = parts;
  const Spread alone{1, false, count * item_cycles};
  if (threads == 1) return alone;
  // With parts: the most that one thread gets of them.
  const double turns =
      std::max(count_up(count, T), parts ? count_up(P, T) * std::floor(count / P) : 0.0);
  const double most = parts ? std::min(T, P) : std::min(T, count);
  Spread best{static_cast<int>(most), false, turns * item_cycles + kRegion};
  const double full = std::floor(count / T), rest = count / T - full;
  const double together =
      parts ? kTogether * count / T * item_cycles + (2 * count_up(count, T) + steps + 1) * kStep
            : (full + kTogether * rest) * item_cycles + steps * kStep + kRegion;
  if (together < best.cycles) best = {threads, true, together};
  return best.cycles < alone.cycles ? best : alone;
}

namespace {

constexpr int64_t kLine = 16;           // floats in a 64-byte cache line
constexpr int64_t kL1Bytes = 24 << 10;  // three quarters of the smallest L1 in use
constexpr int64_t kForwardBlock = 576;  // outputs: a packed row of AtacWorks' layer is 3.9 KB
constexpr int64_t kWeightBlock = 1152;  // long enough that summing the lanes costs under 5 %
constexpr int64_t kFloat = sizeof(float);

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }
int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Outputs per block: about `target`, blocks equal in size.
int64_t choose_q_block(int64_t outputs, int64_t target, int64_t unit) {
  return round_up(divide_up(outputs, divide_up(outputs, target)), unit);
}

// Packed rows, as many of them at a time as `budget` bytes hold.
Blocking choose_blocking(const RowLayout& layout, int64_t q_block, int64_t budget) {
  Blocking b;
  b.q_block = q_block;
  b.tap_stride = std::min(layout.taps.d, q_block);
  // An odd number of cache lines: rows spread over the cache sets.
  b.row = round_up((layout.taps.S - 1) * b.tap_stride + q_block, kLine);
  if (b.row / kLine % 2 == 0) b.row += kLine;
  b.c_block = budget / (b.row * kFloat);
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
  const int64_t fit = kL1Bytes / (touched * kFloat);
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

// The blocking that fits a thread's workspace.
template <class T>
void cut_blocks(DirectPlan* plan, const RowLayout& layout, const Posed& posed, bool weights) {
  const int64_t unit = plan->unit;
  int64_t target = weights ? kWeightBlock : kForwardBlock;
  if (weights)  // the packed gradients of all filters share L2 with x
    target = std::max(unit, std::min(target, l2_bytes() / 8 / posed.K / unit * unit));
  for (;; target = std::max(unit, target / 2 / unit * unit)) {
    plan->blocking =
        choose_blocking(layout, choose_q_block(posed.outputs, target, unit), l2_bytes() / 2);
    int64_t most = plan->blocking.c_block;
    if (!weights) most = std::min(most, channels_in_l1(layout.taps));
    plan->blocking.c_block = whole_rows(layout, most);
    plan->per_thread = round_up(scratch_floats<T>(*plan, posed.K, weights), kLine);
    if (plan->per_thread * kFloat <= kOwnBytes || target == unit) break;
  }
  plan->blocks = divide_up(posed.outputs, plan->blocking.q_block);
}

// On one thread: multiply-adds, then reading and storing; rows of many channels are packed first.
template <class T>
double direct_cycles(const DirectKernels<T>& kernels, const DirectPlan& plan, const Posed& posed,
                     int64_t floats, bool weights) {
  const double vectors = static_cast<double>(posed.outputs) / kernels.lanes;
  const double rows = static_cast<double>(posed.C + posed.K);
  const bool narrow = posed.K == 1 || (weights && posed.C == 1);  // one load a multiply-add
  const bool packed = sizeof(T) < sizeof(float) || plan.blocking.c_block > 16;
  const double step = weights ? kernels.backward_cycles : kernels.forward_cycles;
  return vectors * (static_cast<double>(floats) * step * (narrow ? 1.25 : 1) +
                    rows * (packed ? kernels.pack_cycles : 1.0));
}

// Filters come in groups of whole tiles of any kernel.
void cut_filters(DirectPlan* plan, int64_t K, int64_t groups) {
  constexpr int64_t kTiles = 16;
  plan->filters = std::min(K, round_up(divide_up(K, std::max<int64_t>(groups, 1)), kTiles));
  plan->groups = divide_up(K, plan->filters);
}

// Threads, and how fine the work has to be cut for them: `finest` pieces beside groups of filters.
void share_direct(DirectPlan* plan, int threads, int64_t tasks, int64_t finest, int64_t K) {
  cut_filters(plan, K, K);
  const double work = plan->cost.of(plan->batch);
  const int64_t most = std::max<int64_t>(tasks * finest * plan->groups, 1);
  plan->threads = useful_threads(static_cast<int>(std::min<int64_t>(threads, most)), work);
  plan->cycles = shared_cycles(plan->threads, work);
  const bool even = tasks % plan->threads == 0 || tasks >= 4 * plan->threads;
  const int64_t pieces = even ? 1 : divide_up(4 * plan->threads, tasks);
  plan->shares = std::clamp<int64_t>(pieces, 1, finest);
  cut_filters(plan, K, divide_up(pieces, plan->shares));
}

template <class T>
DirectPlan plan_direct_of(const DirectKernels<T>& kernels, const dilconv_problem& p, Pass pass) {
  const Posed posed = pose(p, pass);
  const bool weights = pass == kBackwardWeight;
  const int64_t count = p.K * p.C * p.S;
  DirectPlan plan{};
  plan.unit = kernels.q_unit, plan.batch = p.N, plan.outputs = posed.outputs;
  const RowLayout layout = weights ? RowLayout{posed.C, 1, posed.taps, count, 1}
                                   : kernels.layout(posed.C, posed.K, posed.taps);
  cut_blocks<T>(&plan, layout, posed, weights);
  plan.cost.item = direct_cycles(kernels, plan, posed, layout.floats, weights);
  if (weights) {
    const double block = plan.cost.item / static_cast<double>(plan.blocks);
    plan.parts = summed_parts(plan.items(), block, count);
    plan.sums = (plan.parts - 1) * round_up(count, kLine);  // the first part's are dw itself
    share_direct(&plan, p.threads, plan.parts, posed.C, posed.K);
    return plan;
  }
  share_direct(&plan, p.threads, std::max<int64_t>(plan.items(), 1),
               plan.blocking.q_block / plan.unit, posed.K);
  const int64_t least = divide_up(layout.floats * kFloat, kSharedBytes);
  if (plan.groups < least) cut_filters(&plan, posed.K, 2 * least);
  plan.group = round_up(kernels.layout(posed.C, plan.filters, posed.taps).floats, kLine);
  plan.at_once = std::clamp<int64_t>(kSharedBytes / kFloat / plan.group, 1, plan.groups);
  plan.shared = plan.at_once * plan.group;
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

// Cycles of a unit on one thread.
double unit_cycles(const SpectralPlan& plan, int64_t lanes) {
  constexpr double kRow = 120;  // to start on another row
  const SpectralShape& c = plan.conv;
  const int64_t point_bytes = 2 * lanes * kFloat;
  const double length = static_cast<double>(c.table.length);
  const double fft = kRow + length * (transform_cycles(c.table.length * point_bytes) +
                                      gather_cycles(c.tiling, c.taps.d, lanes));
  const int64_t channels = c.C * c.tiling.parts;
  const double inputs = static_cast<double>(channels), outputs = static_cast<double>(c.K);
  double unit = inputs * fft;
  if (plan.need_dx) unit += outputs * fft + length * forward_products(inputs, outputs);
  if (plan.need_dw) unit += outputs * fft + length * weight_products(channels, c.K, lanes);
  const double spectra_bytes = length * (inputs + outputs) * static_cast<double>(point_bytes);
  const double weight_bytes = 4.0 * static_cast<double>(plan.weights + 2 * plan.sums);
  const double beyond_l2 = spectra_bytes + weight_bytes - static_cast<double>(l2_bytes());
  unit += std::max(beyond_l2, 0.0) / 8;
  // Points of a spectrum that are pages apart miss the translation buffer.
  constexpr int64_t kPage = 4096;
  for (const int64_t rows : {channels, c.K})
    if (rows * point_bytes >= kPage) unit += 16 * length * static_cast<double>(rows);
  return unit;
}

// The plan of one length and number of parts; its cost is infinite where memory does not do.
SpectralPlan plan_tiles(const IsaKernels& isa, const dilconv_problem& p, Pass pass, int log2,
                        int64_t filter_parts) {
  const Posed posed = pose(p, pass == kForward ? kForward : kBackwardData);
  const SpectraKernels& kernels = *isa.spectra;
  const int64_t lanes = isa.direct->lanes;
  SpectralPlan plan{};
  SpectralShape& conv = plan.conv;
  conv.C = posed.C, conv.K = posed.K, conv.outputs = posed.outputs, conv.taps = posed.taps;
  conv.tiling = tile(posed, int64_t{1} << log2, filter_parts, lanes);
  conv.table = fft_table(log2);
  plan.need_dx = pass != kBackwardWeight;
  plan.need_dw = pass == kBackwardWeight || pass == kBackward;
  plan.batch = p.N;
  if (plan.need_dx) plan.weights = round_up(kernels.spectra_floats(conv), kLine);
  if (plan.need_dw) plan.sums = round_up(kernels.dw_spectrum_floats(conv), kLine);
  plan.unit = round_up(kernels.unit_floats(conv), kLine);
  plan.own = round_up(kernels.own_floats(conv), kLine);
  const bool fits = (plan.unit + plan.own) * kFloat <= kOwnBytes &&
                    (plan.weights + std::max(plan.sums, kSummedFloats)) * kFloat <= kSharedBytes;
  const double points =
      static_cast<double>(conv.C * conv.tiling.parts * conv.K * conv.table.length);
  plan.transform = plan.need_dx ? 2.5 * points : 0;
  plan.back = plan.need_dw ? 1.2 * points : 0;
  plan.cost = {fits ? plan.transform + plan.back : std::numeric_limits<double>::infinity(),
               unit_cycles(plan, lanes) * static_cast<double>(plan.units())};
  return plan;
}

}  // namespace

// The length that is fastest for one item.
SpectralPlan plan_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass) {
  SpectralPlan best{};
  best.cost.once = best.cycles = std::numeric_limits<double>::infinity();
  for (int log2 = kFftShortest; log2 <= kFftLongest; ++log2) {
    const int64_t length = int64_t{1} << log2;
    if (p.fft_length && p.fft_length != length) continue;
    for (int64_t quarters = 1; quarters <= 3; ++quarters) {
      // A part of the filter takes about this share of the tile.
      const int64_t parts = divide_up(p.S, length * quarters / 4);
      const SpectralPlan plan = plan_tiles(isa, p, pass, log2, parts);
      if (plan.cost.of(1) < best.cost.of(1)) best = plan;
    }
  }
  if (std::isinf(best.cost.once)) return best;
  const double unit = best.cost.item / static_cast<double>(best.units());
  if (best.need_dw) best.parts = summed_parts(best.items(), unit, best.sums);
  const int steps = 1 + 2 * best.need_dx + best.need_dw;
  best.take(spread(best.items(), unit, best.parts, steps, p.threads), p.threads);
  return best;
}

int32_t choose(const dilconv_problem& p, const Costs& costs) {
  if (p.algorithm == DILCONV_SPECTRAL && std::isfinite(costs.spectral.once)) return p.algorithm;
  if (p.algorithm == DILCONV_WINOGRAD && std::isfinite(costs.winograd.once)) return p.algorithm;
  if (p.algorithm != DILCONV_AUTO) return DILCONV_DIRECT;
  // Costs are linear in N: a ratio between two of them is extreme at the ends.
  constexpr int64_t kFew = 1, kMany = 64;
  const auto fastest = [&](int64_t N) {
    return std::min({costs.direct.of(N), costs.spectral.of(N), costs.winograd.of(N)});
  };
  const auto worst = [&](const Cost& cost) {
    return std::max(cost.of(kFew) / fastest(kFew), cost.of(kMany) / fastest(kMany));
  };
  const double direct = worst(costs.direct), winograd = worst(costs.winograd);
  if (worst(costs.spectral) < std::min(direct, winograd)) return DILCONV_SPECTRAL;
  return winograd < direct ? DILCONV_WINOGRAD : DILCONV_DIRECT;
}

}  // namespace dilconv
