// Cuts a convolution of few taps into units of minimal filtering, and estimates its cycles.
#include <algorithm>
#include <limits>

#include "plan.h"

namespace dilconv {
namespace {

constexpr int64_t kShortest = 2, kLongest = 5;  // taps; beyond, spectral needs fewer products
constexpr int64_t kRun = 64;                    // phases side by side, where there are more
constexpr int64_t kMostTiles = 192;             // of a unit: more only leave fewer units

int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }
int64_t padded(int64_t channels, int64_t lanes) {
  return divide_up(channels, 2 * lanes) * 2 * lanes;
}

// Units whose panel and values take half of L2, and four an item where these are not too small.
void cut_units(WinogradShape* p, int64_t lanes) {
  constexpr int64_t kUnits = 4, kFewTiles = 24;
  const int64_t C = padded(p->C, lanes), K = padded(p->K, lanes);
  const int64_t floats = (p->hop() + p->taps.S + kWinogradPoints) * C + kWinogradPoints * K;
  const int64_t tiles = std::clamp<int64_t>(
      l2_bytes() / 2 / static_cast<int64_t>(sizeof(float)) / floats, lanes, kMostTiles);
  p->phases = std::min({p->all_phases(), kRun, tiles});
  const int64_t across = Split(p->all_phases(), p->phases).parts;
  const int64_t fewest = divide_up(kFewTiles, p->phases);
  const int64_t even = divide_up(p->all_tiles(), divide_up(kUnits, across));
  p->tiles = std::max<int64_t>(std::min(tiles / p->phases, std::max(even, fewest)), 1);
  p->tiles = std::min(p->tiles, p->all_tiles());
}

// Cycles of one tile: products at half a cycle a vector multiply-add, and a vector's way from the
// tensor to its values or back.
double tile_cycles(const WinogradShape& p, bool weights, int64_t lanes) {
  constexpr double kProduct = 0.52, kIn = 55, kOut = 60;
  const double C = static_cast<double>(padded(p.C, lanes)) / static_cast<double>(lanes);
  const double K = static_cast<double>(padded(p.K, lanes)) / static_cast<double>(lanes);
  const double products = weights ? static_cast<double>(p.K) * C : static_cast<double>(p.C) * K;
  return kWinogradPoints * kProduct * products + kIn * C + kOut * K;
}

}  // namespace

WinogradPlan plan_winograd(const IsaKernels& isa, const dilconv_problem& p, Pass pass) {
  const Posed posed = pose(p, pass);
  const bool weights = pass == kBackwardWeight;
  WinogradPlan plan{};
  plan.cost.once = plan.cycles = std::numeric_limits<double>::infinity();
  if (posed.taps.S < kShortest || posed.taps.S > kLongest) return plan;
  const WinogradWeights& kernels = *isa.winograd_weights;
  WinogradShape& conv = plan.conv;
  conv.C = posed.C, conv.K = posed.K, conv.outputs = posed.outputs, conv.taps = posed.taps;
  cut_units(&conv, isa.direct->lanes);
  plan.batch = p.N;
  plan.need_dx = !weights, plan.need_dw = weights;
  plan.unit = kernels.unit_floats(conv);
  if (weights)
    plan.sums = kernels.sums_floats(conv);
  else
    plan.weights = kernels.weights_floats(conv);
  const auto bytes = [](int64_t floats) { return floats * static_cast<int64_t>(sizeof(float)); };
  if (bytes(plan.unit) > kOwnBytes ||
      bytes(plan.weights + std::max(plan.sums, kSummedFloats)) > kSharedBytes)
    return plan;
  const int64_t whole = conv.all_tiles() - 1;  // a phase; then those that hold an output
  const int64_t ends = std::min(conv.outputs - whole * conv.hop() * posed.taps.d, posed.taps.d);
  const double tiles = static_cast<double>(whole * posed.taps.d + ends);
  (weights ? plan.back : plan.transform) = 2.5 * static_cast<double>(p.C * p.K * p.S);
  plan.cost = {plan.transform + plan.back, tiles * tile_cycles(conv, weights, isa.direct->lanes)};
  const double unit = plan.cost.item / static_cast<double>(plan.units());
  if (weights) plan.parts = summed_parts(plan.items(), unit, plan.sums);
  plan.take(spread(plan.items(), unit, plan.parts, weights ? 2 : 3, p.threads), p.threads);
  return plan;
}

}  // namespace dilconv
