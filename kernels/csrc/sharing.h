// How many threads a parallel region takes on a machine that other programs use too.
//
// OpenMP waits for the last thread of a region, also for one that another program keeps off its
// core. So each region notes the time that it took and the time that its threads computed: where
// the latter could have been done by fewer threads in the same time, the next regions take those.
// Results have the same bits on any number of threads.
#ifndef DILCONV_SHARING_H_
#define DILCONV_SHARING_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace dilconv {

// Lets waiting threads of OpenMP sleep soon, torch's as well, while it is on. GNU's runtime spins
// briefly where it manages more threads than there are cores, as its manual says of GOMP_SPINCOUNT;
// so some more are started, which sleep. Alone, threads that sleep would be slower.
class ShortSpin {
 public:
  void on(int running);  // beside so many threads
  void off();

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t turn_ = 0;  // odd: on
};

// Regions that lost time to waiting are followed by a while with fewer threads: as long as the time
// lost, twice as long after each further one, up to 32 times; then the next region tries all again.
// Trying costs 3% of the time at most, and one slow region no more than it lost itself.
class Sharing {
 public:
  static Sharing& of_process();  // one for all calls, at the same time too

  int threads(int most) const;  // that the next region takes
  // A region on `threads` where it might have taken `most`: nanoseconds on the clock, and those
  // that all of its threads together computed.
  void ran(int most, int threads, int64_t elapsed, int64_t computed);

 private:
  Sharing();
  void remember(double elapsed, double asked, double computed);
  void take_fewer(int fewer, int threads);
  void calm_down();

  const bool on_;     // unless DILCONV_YIELD=0 is in the environment
  std::mutex mutex_;  // of what follows but the two atomics; nobody waits for it
  double elapsed_ = 0, asked_ = 0, computed_ = 0;  // of the last regions, older ones count less
  double patience_ = 1;
  ShortSpin short_spin_;
  std::atomic<int> fewer_{1};
  std::atomic<int64_t> left_{0};  // nanoseconds of regions that will take fewer
};

// From the start of a region to its end.
class Region {
 public:
  explicit Region(int most);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  int threads() const { return threads_; }

  // What one of its threads computes, until it finds no more to do.
  class Stint {
   public:
    explicit Stint(Region* region);
    ~Stint();
    Stint(const Stint&) = delete;
    Stint& operator=(const Stint&) = delete;

   private:
    Region* const region_;
    const int64_t start_;
  };

 private:
  const int most_, threads_;
  const int64_t start_;
  std::atomic<int64_t> computed_{0};
};

}  // namespace dilconv
#endif  // DILCONV_SHARING_H_
