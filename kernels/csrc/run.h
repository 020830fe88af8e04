// What every algorithm's run takes: the tensors of a call, threads that take tasks, and the
// gradients of bias and residual that are made on the way.
#ifndef DILCONV_RUN_H_
#define DILCONV_RUN_H_

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <memory>

#include "arena.h"
#include "dilconv.h"
#include "dispatch.h"
#include "plan.h"
#include "sharing.h"

namespace dilconv {

// The tensors of one call; backward-data sees g as x and dx as y.
struct Tensors {
  dilconv_operand x, relu_of, residual;
  const float* w;
  const float* bias;
  bool relu;
  void* y;                     // null: dw alone is wanted
  dilconv_operand multiplied;  // x of backward, for dw
  float* dw;
};

template <class T>
Rows<T> rows_of(const dilconv_operand& t, int64_t item) {
  return t.data ? Rows<T>{static_cast<const T*>(t.data) + item * t.batch, t.channel} : Rows<T>{};
}

// Fills in what changes from item to item; Conv: ConvBlock<T>, SpectralConv<T> or WinogradConv<T>.
template <class T, template <class> class Conv>
void set_item(Conv<T>* conv, const Tensors& t, int64_t n, int64_t K, int64_t y_stride) {
  conv->x = rows_of<T>(t.x, n);
  conv->relu_of = rows_of<T>(t.relu_of, n);
  conv->residual = rows_of<T>(t.residual, n);
  conv->y = t.y ? static_cast<T*>(t.y) + n * K * y_stride : nullptr;
  conv->y_stride = y_stride;
}

inline int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

template <class Work>
void run_alone(int64_t tasks, const Work& work) {
  for (int64_t task = 0; task < tasks; ++task) work(0, task);
}

// Runs work(thread, task) for all tasks, which threads take as they come free, on at most so many
// threads: fewer while other programs use the cores. One thread enters no parallel region.
template <class Work>
void run_tasks(int64_t tasks, int threads, const Work& work) {
  const int most = static_cast<int>(std::min<int64_t>(threads, tasks));
  if (most <= 1) return run_alone(tasks, work);
  Region region(most);
  if (region.threads() == 1) return run_alone(tasks, work);
#pragma omp parallel num_threads(region.threads())
  {
    const Region::Stint stint(&region);
#pragma omp for schedule(dynamic, 1) nowait
    for (int64_t task = 0; task < tasks; ++task) work(thread_number(), task);
  }
}

// Runs work(thread, first, last) over runs of the items: enough runs to keep all threads busy to
// the end, long enough that a thread mostly goes on to the neighbour of what it has done.
template <class Work>
void run_items(int64_t items, int threads, const Work& work, int64_t runs_each = 8) {
  const int64_t runs = threads == 1 ? 1 : std::min(items, runs_each * threads);
  run_tasks(runs, threads, [&](int thread, int64_t run) {
    const Share share{run, runs};
    work(thread, share.begin(items), share.end(items));
  });
}

// Runs work(thread, share) of work that takes so many cycles and cannot be cut finer than `finest`.
template <class Work>
void run_shares(int64_t finest, double cycles, int threads, const Work& work) {
  const int useful = useful_threads(threads, cycles);
  const int64_t shares = useful == 1 ? 1 : std::clamp<int64_t>(finest, 1, 4 * useful);
  run_tasks(shares, useful,
            [&](int thread, int64_t number) { work(thread, Share{number, shares}); });
}

// sums[0] += sums[1] + ... + sums[parts-1], `count` floats `apart`, in this order; the first may
// lie elsewhere.
inline void add_parts(float* first, const float* others, int64_t count, int64_t apart, int parts,
                      int threads) {
  if (parts == 1) return;
  const double cycles = 0.5 * static_cast<double>(count) * parts;
  run_shares(count / 1024 + 1, cycles, threads, [&](int, Share share) {
    for (int part = 0; part + 1 < parts; ++part)
      for (int64_t i = share.begin(count); i < share.end(count); ++i)
        first[i] += others[part * apart + i];
  });
}

// The bias's gradient db (K) and the residual's dr (N,K,Q), each unless null, made on the way: item
// by item each share of the columns right before the kernel that reads them, while it is in cache.
// Every share has sums of its own, so the bits depend on the shares alone.
template <class T>
class Epilogue {
 public:
  Epilogue(const IsaKernels& isa, const dilconv_problem& p, const Tensors& t, float* db, T* dr)
      : isa_(isa), p_(p), g_(t.x), relu_of_(t.relu_of), db_(db), dr_(dr) {}

  // Before a run over so many shares of each item; false without memory.
  bool open(int64_t shares) {
    if (!db_ && !dr_) return true;
    shares_ = shares;
    constexpr int64_t kDouble = sizeof(double) / sizeof(float);
    sums_ = std::make_unique<Workspace>(p_.N * shares * p_.K * kDouble);
    return static_cast<bool>(*sums_);
  }

  // Share number n * shares + i, once each.
  void take(int64_t number) const {
    if (shares_ == 0) return;
    const int64_t n = number / shares_;
    const Share share{number % shares_, shares_};
    T* dr = dr_ ? dr_ + n * p_.K * p_.Q : nullptr;
    direct_of<T>(isa_).pass_gradient({p_.K, rows_of<T>(g_, n), rows_of<T>(relu_of_, n), dr, p_.Q},
                                     share.begin(p_.Q), share.end(p_.Q), sums() + number * p_.K);
  }

  // After it: adds the shares in order; a second run takes nothing.
  void close() {
    if (shares_ == 0) return;
    for (int64_t i = 1; db_ && i < p_.N * shares_; ++i)
      for (int64_t k = 0; k < p_.K; ++k) sums()[k] += sums()[i * p_.K + k];
    for (int64_t k = 0; db_ && k < p_.K; ++k) db_[k] = static_cast<float>(sums()[k]);
    db_ = nullptr, dr_ = nullptr;
    shares_ = 0;
  }

 private:
  double* sums() const { return reinterpret_cast<double*>(sums_->get()); }

  const IsaKernels& isa_;
  const dilconv_problem& p_;
  const dilconv_operand g_, relu_of_;
  float* db_;
  T* dr_;
  int64_t shares_ = 0;
  std::unique_ptr<Workspace> sums_;  // [item][share][k]
};

// Forward or backward-data, and backward-weight, by each algorithm; a status.
template <class T>
int32_t convolve_direct(const IsaKernels&, const dilconv_problem&, Pass, const DirectPlan&,
                        const Tensors&, Epilogue<T>*);
template <class T>
int32_t weights_direct(const IsaKernels&, const dilconv_problem&, const DirectPlan&, const Tensors&,
                       Epilogue<T>*);
// kBackward: both gradients from one transform of g.
template <class T>
int32_t run_spectral(const IsaKernels&, const dilconv_problem&, Pass, const SpectralPlan&,
                     const Tensors&, Epilogue<T>*);
template <class T>
int32_t run_winograd(const IsaKernels&, const dilconv_problem&, Pass, const WinogradPlan&,
                     const Tensors&, Epilogue<T>*);

}  // namespace dilconv
#endif  // DILCONV_RUN_H_
