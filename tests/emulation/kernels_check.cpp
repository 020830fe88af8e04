// Checks every kernel of one instruction set against float64 sums: forward, backward-data,
// backward-weight and the gradients of bias and residual, by both algorithms, fused and not, in
// both types of tensors. One static program without threads or files, so that an emulated CPU can
// run it.
//
//   kernels_check               the ISAs of this build: name, 1 if this CPU runs it, else 0
//   kernels_check ISA TYPE      all checks of float32 or bfloat16 tensors; exit status 0: passed,
//                               1: failed, 3: this CPU lacks the ISA
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#include "dilconv.h"
#include "oracle.h"

namespace {

using Floats = std::vector<float>;

constexpr int64_t kGap = 5, kTail = 64;  // NaN between rows and behind every tensor

int32_t isa, failures, dtype;
int64_t multiply_adds;

// The upper half of a float32, to nearest.
struct Half {
  uint16_t bits;
  Half(double v) {
    const float single = static_cast<float>(v);
    uint32_t whole;
    std::memcpy(&whole, &single, sizeof whole);
    if (!std::isnan(v)) whole += 0x7fff + (whole >> 16 & 1);
    bits = static_cast<uint16_t>(whole >> 16);
  }
  operator double() const {
    const uint32_t whole = uint32_t{bits} << 16;
    float single;
    std::memcpy(&single, &whole, sizeof whole);
    return single;
  }
};

double of_dtype(double v) {
  if (dtype == DILCONV_BFLOAT16) return Half(v);
  return static_cast<float>(v);
}

void expect(bool ok, const char* what) {
  if (!ok) printf("FAIL %s\n", what), ++failures;
}

// Sums of four uniform numbers: nearly normal, variance 1/3.
Doubles random_numbers(int64_t count) {
  static uint64_t state = 1;
  return each(Doubles(count), [](double) {
    double sum = -2;
    for (int i = 0; i < 4; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      sum += static_cast<double>(state >> 40) * 0x1p-24;
    }
    return of_dtype(sum);
  });
}

// ---------------------------------------------------------------------------------- calling

// Rows of `width`, `stride` apart, NaN between and behind them.
template <class T>
std::vector<T> strided(const Doubles& v, int64_t width, int64_t stride) {
  const int64_t rows = static_cast<int64_t>(v.size()) / width;
  std::vector<T> out(rows * stride + kTail, T(NAN));
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(v.begin() + r * width, width, out.begin() + r * stride);
  return out;
}
template <class T>
std::vector<T> dense(const Doubles& v) {
  return strided<T>(v, static_cast<int64_t>(v.size()), static_cast<int64_t>(v.size()));
}

template <class T>
std::vector<T> empty_like(const Doubles& v) {
  return std::vector<T>(v.size() + kTail, T(NAN));
}
// What was written, after a check that nothing was written behind it.
template <class T>
Doubles written(const std::vector<T>& out) {
  const auto end = out.end() - kTail;
  expect(std::all_of(end, out.end(), [](double v) { return std::isnan(v); }), "overrun");
  return Doubles(out.begin(), end);
}

// One way of running a case.
struct Run {
  int32_t algorithm, threads;
  bool fused;    // with bias, residual and ReLU, and all gradients from one call
  Doubles mask;  // y of the backward passes, (N,K,Q)
};

dilconv_problem problem_of(const Case& c, const Run& run) {
  const int64_t row = c.W + kGap;
  return {c.N,       c.C, c.K,       c.W,         c.S,           c.d,          c.left, c.Q(),
          c.C * row, row, run.fused, run.threads, run.algorithm, c.fft_length, dtype};
}

// g as it is before the ReLU's mask.
template <class T>
Results run_kernels_on(const Case& c, const Run& run, const Values& v, const Doubles& g) {
  using Tensor = std::vector<T>;
  const dilconv_problem p = problem_of(c, run);
  const int64_t row = c.Q() + kGap;
  const Tensor x = strided<T>(v.x, c.W, p.x_channel), grad = strided<T>(g, c.Q(), row);
  const Tensor added = strided<T>(v.residual, c.Q(), row), mask = dense<T>(run.mask);
  const Floats w = dense<float>(v.w), b = dense<float>(v.b);
  Tensor y = empty_like<T>(g), dx = empty_like<T>(v.x), dr = empty_like<T>(g);
  Floats dw = empty_like<float>(v.w), db = empty_like<float>(v.b);
  const dilconv_operand residual{run.fused ? added.data() : nullptr, c.K * row, row};
  int32_t status = dilconv_forward(isa, &p, x.data(), w.data(), run.fused ? b.data() : nullptr,
                                   residual, y.data());
  const auto backward = [&](T* to_dx, float* to_dw, float* to_db, T* to_dr) {
    status |= dilconv_backward(isa, &p, {grad.data(), c.K * row, row}, mask.data(), x.data(),
                               w.data(), to_dx, to_dw, to_db, to_dr);
  };
  if (run.fused) {
    backward(dx.data(), dw.data(), db.data(), dr.data());
  } else {
    backward(dx.data(), nullptr, nullptr, nullptr);
    backward(nullptr, dw.data(), nullptr, nullptr);
    backward(nullptr, nullptr, db.data(), dr.data());
  }
  expect(status == DILCONV_OK, "a call was refused");
  return {written(y), written(dx), written(dw), written(db), written(dr)};
}

Results run_kernels(const Case& c, const Run& run, const Values& v, const Doubles& g) {
  return dtype == DILCONV_BFLOAT16 ? run_kernels_on<Half>(c, run, v, g)
                                   : run_kernels_on<float>(c, run, v, g);
}

// The plan of one pass (numbered as in dilconv.h), which must be what was asked for.
dilconv_plan_report plan_of(const Case& c, const Run& run, int32_t pass) {
  const dilconv_problem p = problem_of(c, run);
  dilconv_plan_report plan{};
  const int32_t status = dilconv_plan(isa, &p, pass, &plan);
  expect(status == DILCONV_OK && plan.algorithm == run.algorithm, "another algorithm is planned");
  return plan;
}

Chains chains_of(const Case& c, const Run& run) {
  const auto y = plan_of(c, run, 0), dx = plan_of(c, run, run.fused ? 3 : 1),
             dw = plan_of(c, run, run.fused ? 3 : 2);
  return {dilconv_isa_lanes(isa),
          run.threads,
          run.algorithm == DILCONV_SPECTRAL,
          run.algorithm == DILCONV_WINOGRAD,
          y.fft_length,
          dx.fft_length,
          dw.fft_length,
          y.parts,
          dx.parts,
          dw.parts};
}

// ---------------------------------------------------------------------------------- checking

// Prints the largest error in parts of its bound; more than 1 fails.
// rounding: of a result to its tensor's type, relative.
void compare(const char* name, const Doubles& found, const Doubles& exact, const Doubles& bound,
             double rounding) {
  double worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double error = std::fabs(found[i] - exact[i]);
    const double most = bound[i] + rounding * (std::fabs(exact[i]) + bound[i]);
    if (error != 0) worst = std::max(worst, std::isnan(error) ? INFINITY : error / most);
  }
  printf("  %s %.2f", name, worst);
  if (worst > 1) printf(" FAIL"), ++failures;
}

// One case with its oracle; sizes: the results of the magnitudes.
struct Question {
  Case c;
  Values v;
  Doubles unmasked_g;
  Results exact, sizes;
};

void check_run(const Question& q, const Run& run) {
  const Results limits = bounds(q.c, chains_of(q.c, run), q.v, q.sizes);
  const auto activated = [&](double y) { return run.fused ? std::max(y, 0.0) : y; };
  for (const bool nonnegative : {false, true}) {
    const Results& exact = nonnegative ? q.sizes : q.exact;
    const Results found = nonnegative
                              ? run_kernels(q.c, run, magnitude(q.v), magnitude(q.unmasked_g))
                              : run_kernels(q.c, run, q.v, q.unmasked_g);
    const char* const names[] = {"auto", "direct", "spectral", "winograd"};
    printf("  %s, %s:", names[run.algorithm], nonnegative ? "nonnegative" : "normal");
    const double to_dtype = dtype == DILCONV_BFLOAT16 ? 0x1p-8 : 0;
    compare("y", found.y, each(exact.y, activated), limits.y, to_dtype);
    compare("dx", found.dx, exact.dx, limits.dx, to_dtype);
    compare("dw", found.dw, exact.dw, limits.dw, 0);
    compare("db", found.db, exact.db, limits.db, 0);
    compare("dr", found.dr, exact.dr, limits.dr, 0);
    printf("\n");
    multiply_adds += 3 * q.c.N * q.c.K * q.c.C * q.c.S * q.c.Q();
  }
}

// Every other case is fused; the number of parts for threads (run one after another here) varies.
void check_case(const Case& c) {
  static int32_t number = 0;
  const bool fused = ++number % 2 == 0;
  const int64_t outputs = c.N * c.K * c.Q();
  Values v{random_numbers(c.N * c.C * c.W), random_numbers(c.K * c.C * c.S), Doubles(c.K),
           Doubles(outputs), random_numbers(outputs)};
  if (fused) v.b = random_numbers(c.K), v.residual = random_numbers(outputs);
  Run run{DILCONV_DIRECT, 1 + number % 3, fused, exact_forward(c, v)};
  const Doubles y = run.mask, g = v.g;
  for (size_t i = 0; fused && i < g.size(); ++i)
    if (y[i] <= 0) run.mask[i] = v.g[i] = 0;
  run.mask = each(run.mask, [](double y) { return y > 0 ? 1.0 : 0.0; });
  const Values positive = magnitude(v);
  const Question question{c, v, g, exact_results(c, v, y),
                          exact_results(c, positive, exact_forward(c, positive))};
  printf("N %ld C %ld K %ld W %ld S %ld d %ld pad %ld %ld%s\n", c.N, c.C, c.K, c.W, c.S, c.d,
         c.left, c.right, fused ? ", bias, residual and ReLU" : "");
  check_run(question, run);
  run.algorithm = DILCONV_SPECTRAL;
  check_run(question, run);
  if (c.S < 2 || c.S > 5) return;
  run.algorithm = DILCONV_WINOGRAD;
  check_run(question, run);
}

// On the boundaries of cache blocks (192, 576, 960 columns) and of the problem itself.
const Case kCases[] = {
    {1, 1, 1, 1, 1, 1, 0, 0, 0},
    {1, 15, 15, 65, 51, 8, 200, 200, 0},
    {1, 1, 15, 577, 51, 8, 200, 200, 0},
    {3, 15, 1, 191, 51, 8, 200, 200, 0},
    {2, 15, 15, 193, 1, 1, 0, 0, 0},
    {1, 16, 17, 401, 51, 8, 0, 0, 0},  // Q = 1
    {2, 2, 64, 65, 3, 7, 0, 5, 0},
    {1, 64, 16, 100, 2, 16, 40, 0, 0},
    {2, 16, 5, 33, 5, 1000, 2000, 2000, 0},  // dilated beyond the input
    {1, 3, 7, 129, 250, 1, 124, 125, 0},
    {1, 3, 4, 193, 101, 1, 50, 50, 64},  // a filter in several parts
    {2, 2, 3, 15, 3, 2, 9, 9, 0},        // padding beyond the filter's reach
    {1, 1, 2, 961, 3, 2, 0, 0, 0},
    {4, 7, 4, 63, 4, 1, 1, 2, 0},
    {1, 2, 2, 40, 1001, 1, 500, 500, 0},  // filter longer than the input
};

// Every register tile: 192 columns are whole tiles of any ISA and number of filters.
void check_tiles() {
  for (int64_t K = 1; K <= 9; ++K)
    for (int64_t Q = 191; Q <= 193; ++Q) {
      const int64_t C = 1 + (K + Q) % 4, S = 1 + Q % 3 * (1 + K % 3), d = 1 + K % 4;
      check_case({1, C, K, Q + (S - 1) * d - 2, S, d, 1, 1, 0});
    }
}

// Every way of loading the lanes of a spectral unit, away from the ends and across them.
void check_phases() {
  for (const int64_t d : {1, 2, 4, 8, 16, 24}) check_case({1, 2, 3, 2100, 3, d, 1, 0, 32});
}

// Every number of taps of minimal filtering: phases in one run and in many.
void check_short() {
  for (const int64_t d : {1, 5, 70})
    for (int64_t S = 2; S <= 5; ++S) {
      const int64_t pad = (S - 1) * d / 2;
      check_case({1, 5 + 6 * S, 3 + 8 * S % 25, 150, S, d, pad, (S - 1) * d - pad, 0});
    }
}

// NaN passes the ReLU of the direct kernels and reaches no other column.
void check_nan() {
  const Case c{1, 1, 9, 200, 1, 1, 0, 0, 0};
  Values v{Doubles(c.W, 1), Doubles(c.K, -1), Doubles(c.K), Doubles(c.K * c.W), Doubles(c.K * c.W)};
  v.x[3] = v.x[199] = NAN;
  const Results r = run_kernels(c, {DILCONV_DIRECT, 1, true, v.residual}, v, v.g);
  bool ok = true;
  for (int64_t i = 0; i < c.K * c.W; ++i)
    ok &= i % c.W == 3 || i % c.W == 199 ? std::isnan(r.y[i]) : r.y[i] == 0;
  expect(ok, "NaN and the ReLU");
}

// Inf reaches the outputs that read it and no other: nothing multiplies it by a zero that fills up
// a pair of channels or a tile of taps.
void check_infinity() {
  for (const int64_t C : {1, 3, 15, 17}) {
    const Case c{1, C, 3, 200, 7, 2, 6, 6, 0};
    Values v{random_numbers(C * c.W), random_numbers(c.K * C * c.S), Doubles(c.K),
             Doubles(c.K * c.W), Doubles(c.K * c.W)};
    v.x[(C - 1) * c.W + 100] = INFINITY;
    const Results r = run_kernels(c, {DILCONV_DIRECT, 1, false, v.residual}, v, v.g);
    bool ok = true;
    for (int64_t i = 0; i < c.K * c.W; ++i) {
      const int64_t apart = std::abs(i % c.W - 100);
      ok &= std::isfinite(r.y[i]) != (apart <= 6 && apart % 2 == 0);
    }
    expect(ok, "Inf");
  }
}

// Spectral tiles whose input is all zero give exact zeros beside tiles that are not.
void check_zeros() {
  for (const int64_t d : {1, 3, 16}) {
    const Case c{1, 1, 1, 9000, 9, d, 4 * d, 4 * d, 32};
    Values v{Doubles(c.W), random_numbers(c.S), Doubles(1), Doubles(c.W), Doubles(c.W)};
    const Doubles spike = random_numbers(20);
    std::transform(spike.begin(), spike.end(), v.x.begin(), [](double s) { return 1000 * s; });
    const Results r = run_kernels(c, {DILCONV_SPECTRAL, 1, false, v.residual}, v, v.g);
    const auto zero = [](double y) { return y == 0; };
    expect(std::all_of(r.y.begin() + 64 * d, r.y.end(), zero) && r.y[0] != 0, "zero tiles");
  }
}

int list_isas() {
  for (int32_t i = 0; dilconv_isa_name(i); ++i)
    printf("%s %d\n", dilconv_isa_name(i), dilconv_isa_supported(i));
  return 0;
}

// A CPU that lacks the ISA must have its calls refused.
int check_refusal() {
  const dilconv_problem p{1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 1, DILCONV_AUTO, 0, dtype};
  const float one = 1;
  float y = 0;
  expect(dilconv_forward(isa, &p, &one, &one, nullptr, {}, &y) == DILCONV_UNSUPPORTED_ISA && y == 0,
         "a call was not refused");
  printf("%s\n", dilconv_status_text(DILCONV_UNSUPPORTED_ISA));
  return failures ? 1 : 3;
}

}  // namespace

int main(int count, char** arguments) {
  setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);  // what was printed before a fault is seen
  if (count != 3) return list_isas();
  dtype = strcmp(arguments[2], "bfloat16") == 0 ? DILCONV_BFLOAT16 : DILCONV_FLOAT32;
  while (dilconv_isa_name(isa) && strcmp(dilconv_isa_name(isa), arguments[1])) ++isa;
  if (!dilconv_isa_name(isa)) return printf("no ISA %s in this build\n", arguments[1]), 2;
  if (!dilconv_isa_supported(isa)) return check_refusal();
  for (const Case& c : kCases) check_case(c);
  check_tiles();
  check_phases();
  check_short();
  check_nan();
  check_infinity();
  check_zeros();
  printf("%s %s: %d failures, %.0f million multiply-adds\n", arguments[1], arguments[2], failures,
         static_cast<double>(multiply_adds) * 1e-6);
  return failures != 0;
}
