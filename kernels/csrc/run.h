// What every algorithm's run takes: workspace, the tensors of a call, threads that take parts of
// the items, and the gradients of bias and residual that are made on the way.
#ifndef DILCONV_RUN_H_
#define DILCONV_RUN_H_

#ifdef _OPENMP
#include <omp.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "dilconv.h"
#include "dispatch.h"
#include "plan.h"

namespace dilconv {
namespace {

struct Free {
  void operator()(void* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float, Free>;

Floats allocate(int64_t floats) {
  void* p = nullptr;
  const size_t bytes = static_cast<size_t>(std::max<int64_t>(floats, 1)) * sizeof(float);
  return Floats(posix_memalign(&p, 64, bytes) == 0 ? static_cast<float*>(p) : nullptr);
}

// The tensors of one call; backward-data sees g as x and dx as y.
struct Tensors {
  dilconv_operand x, relu_of, residual;
  const float* w;
  const float* bias;
  bool relu;
  void* y;
};

template <class T>
Rows<T> rows_of(const dilconv_operand& t, int64_t item) {
  return t.data ? Rows<T>{static_cast<const T*>(t.data) + item * t.batch, t.channel} : Rows<T>{};
}

// Fills in what changes from item to item; Conv: ConvBlock<T>, SpectralConv<T> or WinogradConv<T>.
template <class T, template <class> class Conv>
void set_item(Conv<T>* conv, const Tensors& t, int64_t n, int64_t y_stride) {
  conv->x = rows_of<T>(t.x, n);
  conv->relu_of = rows_of<T>(t.relu_of, n);
  conv->residual = rows_of<T>(t.residual, n);
  conv->y = t.y ? static_cast<T*>(t.y) + n * conv->K * y_stride : nullptr;
  conv->y_stride = y_stride;
}

int thread_number() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

// Runs work(thread, part, first item, last item) for a fixed cut of the items into `parts`, which
// threads take as they come free: a core that is busy elsewhere holds nobody up.
template <class Work>
void run_parts(int64_t items, int parts, [[maybe_unused]] int threads, const Work& work) {
#pragma omp parallel for schedule(dynamic, 1) num_threads(threads)
  for (int part = 0; part < parts; ++part)
    work(thread_number(), part, items * part / parts, items * (part + 1) / parts);
}

// Parts of items whose results do not depend on the cut.
int free_parts(int64_t items, int threads) {
  return static_cast<int>(threads == 1 ? 1 : std::min<int64_t>(items, 8 * threads));
}

// The bias's gradient db (K) and the residual's dr (N,K,Q), each unless null, made on the way: item
// by item each share of the columns right before the kernel that reads them, while it is in cache.
template <class T>
class Epilogue {
 public:
  Epilogue(const IsaKernels& isa, const dilconv_problem& p, const dilconv_operand& g,
           const dilconv_operand& relu_of, float* db, T* dr)
      : isa_(isa), p_(p), g_(g), relu_of_(relu_of), db_(db), dr_(dr) {}

  // Before a run in so many parts; false without memory.
  bool open(int parts) {
    if (!db_ && !dr_) return true;
    parts_ = parts;
    sums_.reset(static_cast<double*>(std::calloc(parts * p_.K, sizeof(double))));
    return sums_ != nullptr;
  }

  // Of `shares` of item n.
  void take(int part, int64_t n, int64_t share, int64_t shares) const {
    if (parts_ == 0) return;
    T* dr = dr_ ? dr_ + n * p_.K * p_.Q : nullptr;
    direct_of<T>(isa_).pass_gradient({p_.K, rows_of<T>(g_, n), rows_of<T>(relu_of_, n), dr, p_.Q},
                                     p_.Q * share / shares, p_.Q * (share + 1) / shares,
                                     sums_.get() + part * p_.K);
  }

  // After it: adds the parts in order; a second run takes nothing.
  void close() {
    for (int64_t k = 0; db_ && k < p_.K; ++k) {
      double sum = 0;
      for (int part = 0; part < parts_; ++part) sum += sums_.get()[part * p_.K + k];
      db_[k] = static_cast<float>(sum);
    }
    db_ = nullptr, dr_ = nullptr;
    parts_ = 0;
  }

 private:
  const IsaKernels& isa_;
  const dilconv_problem& p_;
  const dilconv_operand g_, relu_of_;
  float* db_;
  T* dr_;
  int parts_ = 0;
  std::unique_ptr<double, Free> sums_;  // [part][k]
};

}  // namespace
}  // namespace dilconv
#endif  // DILCONV_RUN_H_
