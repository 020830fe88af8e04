// The convolution in plain float64 sums, and the bounds of kernels/dilconv/reference.py on what
// float32 kernels may differ from it. Knows nothing of the kernels.
#ifndef DILCONV_TESTS_ORACLE_H_
#define DILCONV_TESTS_ORACLE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using Doubles = std::vector<double>;

struct Case {
  int64_t N, C, K, W, S, d, left, right;
  int32_t fft_length;  // 0: chosen
  int64_t Q() const { return W + left + right - (S - 1) * d; }
};

// Dense tensors of one call, exact in float32; g (N,K,Q) as it is behind the ReLU's mask.
struct Values {
  Doubles x, w, b, residual, g;
};
struct Results {
  Doubles y, dx, dw, db, dr;
};

template <class Function>
Doubles each(Doubles v, const Function& f) {
  std::transform(v.begin(), v.end(), v.begin(), f);
  return v;
}
inline Doubles magnitude(const Doubles& v) {
  return each(v, [](double value) { return std::fabs(value); });
}
inline Values magnitude(const Values& v) {
  return {magnitude(v.x), magnitude(v.w), magnitude(v.b), magnitude(v.residual), magnitude(v.g)};
}

// ------------------------------------------------------------------------------------- sums

// term(x0, y0, w, count) for every item, filter, channel and tap: outputs [y0, y0 + count) read
// inputs from x0 on, times weight w (positions in the dense tensors).
template <class Term>
void each_tap(const Case& c, const Term& term) {
  for (int64_t n = 0; n < c.N; ++n)
    for (int64_t k = 0; k < c.K; ++k)
      for (int64_t i = 0; i < c.C * c.S; ++i) {
        const int64_t shift = i % c.S * c.d - c.left;
        const int64_t q0 = std::max<int64_t>(0, -shift), q1 = std::min(c.Q(), c.W - shift);
        if (q0 < q1)
          term((n * c.C + i / c.S) * c.W + q0 + shift, (n * c.K + k) * c.Q() + q0,
               k * c.C * c.S + i, q1 - q0);
      }
}

// y before its activation.
inline Doubles exact_forward(const Case& c, const Values& v) {
  Doubles y = v.residual;
  for (size_t i = 0; i < y.size(); ++i) y[i] += v.b[static_cast<int64_t>(i) / c.Q() % c.K];
  each_tap(c, [&](int64_t x0, int64_t y0, int64_t w, int64_t count) {
    for (int64_t i = 0; i < count; ++i) y[y0 + i] += v.w[w] * v.x[x0 + i];
  });
  return y;
}

// y as exact_forward gives it, and the gradients.
inline Results exact_results(const Case& c, const Values& v, const Doubles& y) {
  Results r{y, Doubles(v.x.size()), Doubles(v.w.size()), Doubles(v.b.size()), v.g};
  each_tap(c, [&](int64_t x0, int64_t y0, int64_t w, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      r.dx[x0 + i] += v.w[w] * v.g[y0 + i];
      sum += v.x[x0 + i] * v.g[y0 + i];
    }
    r.dw[w] += sum;
  });
  for (size_t i = 0; i < v.g.size(); ++i) r.db[static_cast<int64_t>(i) / c.Q() % c.K] += v.g[i];
  return r;
}

// ----------------------------------------------------------------------------------- bounds

// float32_bound of reference.py for a sum of magnitude 1.
inline double rounding(int64_t additions) {
  constexpr double kHalfUlp = std::numeric_limits<float>::epsilon() / 2;
  return 6 * std::sqrt(static_cast<double>(additions)) * kHalfUlp;
}

// How the kernels sum: what the bounds depend on.
struct Chains {
  int64_t lanes, threads;
  bool spectral, winograd;
  int64_t y_length, dx_length, dw_length;  // of the FFT in each pass
  int64_t y_parts, dx_parts, dw_parts;     // that a filter is cut into

  int64_t weight(const Case& c) const {  // additions of backward-weight
    return std::min<int64_t>(c.Q(), 960) / lanes + 4 + c.N * ((c.Q() + 191) / 192) + threads;
  }
};

// Largest norm of v over the groups that group_of(position) names.
template <class Group>
double largest_norm(const Doubles& v, int64_t groups, const Group& group_of) {
  Doubles squares(groups);
  for (size_t i = 0; i < v.size(); ++i) squares[group_of(static_cast<int64_t>(i))] += v[i] * v[i];
  return std::sqrt(*std::max_element(squares.begin(), squares.end()));
}

// Largest norm, over the channels of item n, of any 2*length consecutive members of a phase.
inline double pair_norm(const Doubles& v, int64_t n, int64_t channels, int64_t width, int64_t d,
                        int64_t length) {
  Doubles sums(width);
  for (int64_t i = 0; i < channels * width; ++i)
    sums[i % width] += v[n * channels * width + i] * v[n * channels * width + i];
  double largest = 0;
  for (int64_t i = 0, span = 2 * length * d; i < width; ++i) {
    if (i >= d) sums[i] += sums[i - d];
    largest = std::max(largest, sums[i] - (i >= span ? sums[i - span] : 0));
  }
  return std::sqrt(largest);
}

// spectral_bound of reference.py for norms of 1.
inline double spectral_rounding(int64_t length, int64_t additions) {
  int64_t log2_length = 0;
  while (length > int64_t{1} << log2_length) ++log2_length;
  return rounding(3 * log2_length + additions);
}

inline void spectral_bounds(const Case& c, const Chains& chains, const Values& v, Results* r) {
  const int64_t Q = c.Q(), filter = c.C * c.S;
  const double w_y = largest_norm(v.w, c.K, [&](int64_t i) { return i / filter; }) *
                     spectral_rounding(chains.y_length, c.C * chains.y_parts);
  const double w_dx = largest_norm(v.w, c.C, [&](int64_t i) { return i % filter / c.S; }) *
                      spectral_rounding(chains.dx_length, c.K * chains.dx_parts);
  for (int64_t n = 0; n < c.N; ++n) {
    const double y = w_y * pair_norm(v.x, n, c.C, c.W, c.d, chains.y_length);
    const double dx = w_dx * pair_norm(v.g, n, c.K, Q, c.d, chains.dx_length);
    for (int64_t i = n * c.K * Q; i < (n + 1) * c.K * Q; ++i) r->y[i] += y;
    std::fill_n(r->dx.begin() + n * c.C * c.W, c.C * c.W, dx);
  }
  const double x_norm = largest_norm(v.x, c.C, [&](int64_t i) { return i / c.W % c.C; });
  const double g_norm = largest_norm(v.g, c.K, [&](int64_t i) { return i / Q % c.K; });
  const int64_t additions = chains.weight(c) * chains.lanes * chains.dw_parts;
  const double dw = x_norm * g_norm * spectral_rounding(chains.dw_length, additions);
  std::fill(r->dw.begin(), r->dw.end(), dw);
}

// winograd_growth of reference.py.
inline double winograd_growth(int64_t S, bool gradient) {
  const double point[] = {0, 1, -1, 2, -2};
  const double share[] = {1.0 / 4, 1.0 / 6, 1.0 / 6, 1.0 / 24, 1.0 / 24, 1};
  const double inputs[] = {42, 34, 34, 10, 10, 42};  // squares of the norms of the rows of B
  const int64_t hop = 7 - S;
  const auto value = [&](int64_t f, int64_t power, int64_t count) {
    return f == 5 ? double(power == count - 1) : std::fabs(std::pow(point[f], power));
  };
  const auto norm = [&](int64_t f, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += value(f, i, count) * value(f, i, count);
    return std::sqrt(sum);
  };
  const int64_t results = gradient ? S : hop, others = gradient ? hop : S;
  double largest = 0;
  for (int64_t i = 0; i < results; ++i) {
    double sum = 0;
    for (int64_t f = 0; f < 6; ++f)
      sum += value(f, i, results) * norm(f, others) * share[f] * std::sqrt(inputs[f]);
    largest = std::max(largest, sum);
  }
  return largest * (gradient ? std::sqrt(std::ceil(6.0 / static_cast<double>(hop))) : 1);
}

inline void winograd_bounds(const Case& c, const Chains& chains, const Values& v, Results* r) {
  const int64_t Q = c.Q(), filter = c.C * c.S;
  const double growth = winograd_growth(c.S, false);
  const double w_y =
      largest_norm(v.w, c.K, [&](int64_t i) { return i / filter; }) * rounding(c.C + 12) * growth;
  const double w_dx = largest_norm(v.w, c.C, [&](int64_t i) { return i % filter / c.S; }) *
                      rounding(c.K + 12) * growth;
  for (int64_t n = 0; n < c.N; ++n) {
    const double y = w_y * pair_norm(v.x, n, c.C, c.W, c.d, 3);  // a tile reads 6 inputs
    const double dx = w_dx * pair_norm(v.g, n, c.K, Q, c.d, 3);
    for (int64_t i = n * c.K * Q; i < (n + 1) * c.K * Q; ++i) r->y[i] += y;
    std::fill_n(r->dx.begin() + n * c.C * c.W, c.C * c.W, dx);
  }
  const double x_norm = largest_norm(v.x, c.C, [&](int64_t i) { return i / c.W % c.C; });
  const double g_norm = largest_norm(v.g, c.K, [&](int64_t i) { return i / Q % c.K; });
  const double dw =
      x_norm * g_norm * rounding(chains.weight(c) * chains.lanes + 12) * winograd_growth(c.S, true);
  std::fill(r->dw.begin(), r->dw.end(), dw);
}

// Bounds on |error| of each result; sizes: the results of the magnitudes.
inline Results bounds(const Case& c, const Chains& chains, const Values& v, const Results& sizes) {
  const auto scaled = [](const Doubles& sums, int64_t additions) {
    return each(sums, [&](double sum) { return rounding(additions) * sum; });
  };
  Results r{
      scaled(sizes.y, chains.spectral || chains.winograd ? 2 : c.C * c.S + 2),  // bias and residual
      scaled(sizes.dx, c.K * c.S + 1), scaled(sizes.dw, chains.weight(c)),
      scaled(sizes.db, chains.weight(c)), Doubles(sizes.dr.size())};
  if (chains.spectral) spectral_bounds(c, chains, v, &r);
  if (chains.winograd) winograd_bounds(c, chains, v, &r);
  return r;
}

#endif  // DILCONV_TESTS_ORACLE_H_
