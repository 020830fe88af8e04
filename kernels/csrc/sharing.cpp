#include "sharing.h"

#ifdef _OPENMP
#include <omp.h>
#endif
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "dilconv.h"
#include "dispatch.h"

namespace dilconv {
namespace {

int64_t nanoseconds(clockid_t clock) {
  timespec t;
  return clock_gettime(clock, &t) == 0 ? int64_t{t.tv_sec} * 1000000000 + t.tv_nsec : 0;
}

bool asked_to_yield() {
  const char* text = std::getenv("DILCONV_YIELD");
  return !text || std::strcmp(text, "0") != 0;
}

constexpr double kKept = 0.875;  // of what is remembered, by the next region

}  // namespace

void ShortSpin::on(int running) {
#ifdef _OPENMP
  const std::lock_guard<std::mutex> lock(mutex_);
  const int more = std::max(omp_get_num_procs() - running, 0) + 2;  // with the one that starts them
  if (turn_ % 2 == 1 || more > running + 2) return;  // not many threads for the sake of a few
  const int64_t mine = ++turn_;
  const auto hold = [this, more, mine] {
    std::atomic<int> started{0};
#pragma omp parallel num_threads(more)
    started.fetch_add(1);
    std::unique_lock<std::mutex> wait(mutex_);
    changed_.wait(wait, [this, mine] { return turn_ != mine; });
  };
  try {
    std::thread(hold).detach();
  } catch (...) {  // no thread to be had: it goes on as it did
    ++turn_;
  }
#else
  (void)running;
#endif
}

void ShortSpin::off() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (turn_ % 2 == 0) return;
  ++turn_;
  changed_.notify_all();
}

Sharing::Sharing() : on_(asked_to_yield()) {}

// Never destroyed: a thread may still be in a call when the process ends.
Sharing& Sharing::of_process() {
  static Sharing* const only = new Sharing;
  return *only;
}

int Sharing::threads(int most) const {
  return left_.load(std::memory_order_relaxed) > 0
             ? std::min(most, fewer_.load(std::memory_order_relaxed))
             : most;
}

void Sharing::remember(double elapsed, double asked, double computed) {
  elapsed_ = kKept * elapsed_ + elapsed;
  asked_ = kKept * asked_ + asked;
  computed_ = kKept * computed_ + computed;
}

void Sharing::ran(int most, int threads, int64_t elapsed, int64_t computed) {
  constexpr double kWaiting = 0.3;
  if (!on_) return;
  const std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
  if (!lock) return;  // a call at the same time counts its own
  if (left_.load(std::memory_order_relaxed) > 0 &&
      left_.fetch_sub(elapsed, std::memory_order_relaxed) <= elapsed)
    elapsed_ = asked_ = computed_ = 0;  // the next region tries all threads, and counts alone
  if (threads == 1 || elapsed <= 0 || computed <= 0) return;  // 0: by a clock that is too coarse
  const double E = static_cast<double>(elapsed);
  remember(E, threads * E, static_cast<double>(computed));
  const double fewer = std::ceil(computed_ / elapsed_);  // could do as much in the same time
  if (asked_ - computed_ > kWaiting * computed_ && fewer < threads)
    take_fewer(static_cast<int>(fewer), threads);
  else if (threads == most)
    calm_down();
}

void Sharing::take_fewer(int fewer, int threads) {
  constexpr double kPatience = 32, kCrowded = 4;
  const double lost = elapsed_ - computed_ / fewer;
  fewer_.store(fewer, std::memory_order_relaxed);
  left_.store(static_cast<int64_t>(patience_ * lost), std::memory_order_relaxed);
  elapsed_ = asked_ = computed_ = 0;
  patience_ = std::min(2 * patience_, kPatience);
  if (patience_ >= kCrowded) short_spin_.on(threads);
}

void Sharing::calm_down() {
  constexpr double kCalm = 1.01;
  patience_ = kKept * patience_ + (1 - kKept);
  if (patience_ < kCalm) short_spin_.off();
}

Region::Region(int most)
    : most_(most),
      threads_(Sharing::of_process().threads(most)),
      start_(nanoseconds(CLOCK_MONOTONIC)) {}

Region::~Region() {
  const int64_t elapsed = nanoseconds(CLOCK_MONOTONIC) - start_;
  Sharing::of_process().ran(most_, threads_, elapsed, computed_.load());
}

Region::Stint::Stint(Region* region)
    : region_(region), start_(nanoseconds(CLOCK_THREAD_CPUTIME_ID)) {}

Region::Stint::~Stint() {
  region_->computed_.fetch_add(nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start_);
}

}  // namespace dilconv

using dilconv::Sharing;

DILCONV_EXPORT int32_t dilconv_cores(void) {
#ifdef _OPENMP
  return omp_get_num_procs();
#else
  return 1;
#endif
}

DILCONV_EXPORT int32_t dilconv_threads_now(int32_t most) {
  return Sharing::of_process().threads(most);
}

DILCONV_EXPORT void dilconv_count_region(int32_t most, int32_t threads, int64_t elapsed,
                                         int64_t computed) {
  Sharing::of_process().ran(most, threads, elapsed, computed);
}
