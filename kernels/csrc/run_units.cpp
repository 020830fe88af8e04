// Runs spectral and winograd: units of all items over threads, each by one thread or, where there
// are fewer units (or parts of sums) than threads, step by step by all of them.
#include <cstring>
#include <vector>

#include "run.h"

namespace dilconv {
namespace {

// The workspace of a plan, divided.
template <class Plan>
struct Space {
  const Plan& plan;
  float* floats;

  float* weights() const { return floats; }
  float* sums(int64_t part) const { return floats + plan.weights + part * plan.sums; }
  float* unit(int64_t number) const { return sums(plan.parts) + number * plan.unit; }
  float* own(int64_t thread) const { return unit(plan.threads) + thread * plan.own; }
};

// All steps of an item on one thread. Work: steps(), run(step, item, share, unit, own) and
// accumulate(item, share, unit, own, sums).
template <class Work>
void run_item(const Work& work, int64_t item, float* unit, float* own) {
  for (int step = 0; step < work.steps(); ++step) work.run(step, item, {}, unit, own);
}

// Items of [0, count), each by one thread.
template <class Work, class Plan>
void run_whole(const Work& work, const Space<Plan>& space, int64_t count) {
  run_items(count, space.plan.threads, [&](int thread, int64_t item, int64_t last) {
    for (; item < last; ++item) run_item(work, item, space.unit(thread), space.own(thread));
  });
}

// Parts, each by one thread; short ones in longer runs, for neighbours share cache lines.
template <class Work, class Plan>
void run_parts(const Work& work, const Space<Plan>& space) {
  const Plan& plan = space.plan;
  const auto run = [&](int thread, int64_t part, int64_t last) {
    float *unit = space.unit(thread), *own = space.own(thread);
    for (; part < last; ++part) {
      const Share share{part, plan.parts};
      float* sums = space.sums(part);
      std::memset(sums, 0, static_cast<size_t>(plan.sums) * sizeof(float));
      for (int64_t item = share.begin(plan.items()); item < share.end(plan.items()); ++item) {
        run_item(work, item, unit, own);
        work.accumulate(item, {}, unit, own, sums);
      }
    }
  };
  run_items(plan.parts, plan.threads, run, plan.items() < 4 * plan.parts ? 1 : 8);
}

// An item at work, and the part that its sums belong to.
struct Member {
  int64_t item, part;
};

// All items in the order in which they are at work, as many of them at a time as there are threads:
// the first items of all parts, then the second ones, and so on.
template <class Plan>
std::vector<Member> members(const Plan& plan) {
  const int64_t parts = std::max(plan.parts, 1), longest = (plan.items() + parts - 1) / parts;
  std::vector<Member> all;
  all.reserve(static_cast<size_t>(plan.items()));
  for (int64_t i = 0; i < longest * parts; ++i) {
    const Share share{i % parts, parts};
    const int64_t item = share.begin(plan.items()) + i / parts;
    if (item < share.end(plan.items())) all.push_back({item, share.number});
  }
  return all;
}

// Runs call(task, share, own) of tasks that are each shared by so many threads that all have work.
template <class Plan, class Call>
void run_shared(int64_t tasks, const Space<Plan>& space, const Call& call) {
  if (tasks == 0) return;
  const int64_t threads = space.plan.threads;
  const int64_t shares = tasks < threads ? (2 * threads + tasks - 1) / tasks : 1;
  run_tasks(tasks * shares, space.plan.threads, [&](int thread, int64_t i) {
    call(i / shares, Share{i % shares, shares}, space.own(thread));
  });
}

// Items that are at work at a time: one for each thread, or, where they are fewer, step by step.
template <class Work, class Plan>
void run_round(const Work& work, const Space<Plan>& space, const Member* at_work, int64_t count) {
  if (count == space.plan.threads)
    return run_tasks(count, space.plan.threads, [&](int thread, int64_t i) {
      run_item(work, at_work[i].item, space.unit(i), space.own(thread));
    });
  for (int step = 0; step < work.steps(); ++step)
    run_shared(count, space, [&](int64_t i, Share share, float* own) {
      work.run(step, at_work[i].item, share, space.unit(i), own);
    });
}

// All threads work on the same items or sums. Those of a part are added up item by item as in
// run_parts, so the bits are the same.
template <class Work, class Plan>
void run_together(const Work& work, const Space<Plan>& space) {
  const Plan& plan = space.plan;
  const int64_t floats = plan.parts * plan.sums, items = plan.items();
  const int64_t alone = plan.parts ? 0 : items / plan.threads * plan.threads;
  if (alone > 0) run_whole(work, space, alone);
  run_shares(floats / 1024 + 1, 0.2 * static_cast<double>(floats), plan.threads,
             [&](int, Share share) {
               float* sums = space.sums(0);
               std::fill(sums + share.begin(floats), sums + share.end(floats), 0.0f);
             });
  const std::vector<Member> all = members(plan);
  for (int64_t first = alone; first < items; first += plan.threads) {
    const Member* at_work = all.data() + first;
    const int64_t count = std::min<int64_t>(plan.threads, items - first);
    run_round(work, space, at_work, count);
    run_shared(plan.parts, space, [&](int64_t part, Share share, float* own) {
      for (int64_t i = 0; i < count; ++i)
        if (at_work[i].part == part)
          work.accumulate(at_work[i].item, share, space.unit(i), own, space.sums(part));
    });
  }
}

template <class Work, class Plan>
void run_units(const Work& work, const Space<Plan>& space) {
  const Plan& plan = space.plan;
  if (plan.together)
    run_together(work, space);
  else if (plan.parts)
    run_parts(work, space);
  else
    run_whole(work, space, plan.items());
  if (plan.parts > 1)
    add_parts(space.sums(0), space.sums(1), plan.sums, plan.sums, plan.parts, plan.threads);
}

// ----------------------------------------------------------------------------------- spectral

template <class T>
struct SpectralWork {
  const IsaKernels& isa;
  const SpectralPlan& plan;
  const Tensors& t;
  const Epilogue<T>& epilogue;
  const float* spectra;

  int steps() const { return 1 + 2 * plan.need_dx + plan.need_dw; }

  void run(int step, int64_t item, Share share, float* unit, float* own) const {
    const SpectralKernels<T>& kernels = spectral_of<T>(isa);
    const int64_t n = item / plan.units(), number = item % plan.units();
    if (step == 0 && share.number == 0) epilogue.take(item);
    SpectralConv<T> conv{};
    static_cast<SpectralShape&>(conv) = plan.conv;
    conv.spectra = spectra, conv.bias = t.bias, conv.relu = t.relu;
    set_item(&conv, t, n, conv.K, conv.outputs);
    if (!plan.need_dx) conv.y = nullptr;
    if (plan.need_dw) conv.multiplied = rows_of<T>(t.multiplied, n);
    if (step == 0) return kernels.load(conv, number, share, unit, own);
    if (step == 1 && plan.need_dx) return isa.spectra->multiply(plan.conv, spectra, share, unit);
    if (step == 2 && plan.need_dx) return kernels.store(conv, number, share, unit, own);
    kernels.load_multiplied(conv, number, share, unit, own);
  }

  void accumulate(int64_t, Share share, const float* unit, float* own, float* sums) const {
    isa.spectra->correlate(plan.conv, unit, share, own, sums);
  }
};

}  // namespace

template <class T>
int32_t run_spectral(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                     const SpectralPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass == kForward ? kForward : kBackwardData);
  const Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.units())) return DILCONV_NO_MEMORY;
  const Space<SpectralPlan> space{plan, workspace.get()};
  WeightView weights = posed.weights;
  weights.data = t.w + posed.first_weight;
  const int64_t filters = plan.conv.C * plan.conv.K;
  if (plan.need_dx) {
    float* end = space.weights() + isa.spectra->spectra_floats(plan.conv);
    std::fill(end - plan.conv.K, end, 0.0f);  // see weight_spectra
    run_shares(filters, plan.transform, plan.threads, [&](int thread, Share share) {
      isa.spectra->weight_spectra(plan.conv, weights, share, space.weights(), space.own(thread));
    });
  }
  run_units(SpectralWork<T>{isa, plan, t, *epilogue, space.weights()}, space);
  epilogue->close();
  if (plan.need_dw)
    run_shares(filters, plan.back, plan.threads, [&](int thread, Share share) {
      isa.spectra->weight_gradient(plan.conv, space.sums(0), weights, share,
                                   t.dw + posed.first_weight, space.own(thread));
    });
  return DILCONV_OK;
}

// ----------------------------------------------------------------------------------- winograd

namespace {

template <class T>
struct WinogradWork {
  const IsaKernels& isa;
  const WinogradPlan& plan;
  const Tensors& t;
  const Epilogue<T>& epilogue;
  const float* weights;

  int steps() const { return plan.need_dw ? 2 : 3; }

  void run(int step, int64_t item, Share share, float* unit, float*) const {
    const WinogradKernels<T>& kernels = winograd_of<T>(isa);
    const int64_t n = item / plan.units(), number = item % plan.units();
    if (step == 0 && share.number == 0) epilogue.take(item);
    WinogradConv<T> conv{};
    static_cast<WinogradShape&>(conv) = plan.conv;
    conv.weights = weights, conv.bias = t.bias, conv.relu = t.relu;
    set_item(&conv, t, n, conv.K, conv.outputs);
    if (plan.need_dw) conv.g = conv.x, conv.x = rows_of<T>(t.multiplied, n);
    if (step == 0) return kernels.load(conv, number, share, unit);
    if (plan.need_dw) return kernels.load_gradient(conv, number, share, unit);
    if (step == 1) return isa.winograd_weights->multiply(plan.conv, number, weights, share, unit);
    kernels.store(conv, number, share, unit);
  }

  void accumulate(int64_t item, Share share, const float* unit, float*, float* sums) const {
    isa.winograd_weights->correlate(plan.conv, item % plan.units(), unit, share, sums);
  }
};

}  // namespace

template <class T>
int32_t run_winograd(const IsaKernels& isa, const dilconv_problem& p, Pass pass,
                     const WinogradPlan& plan, const Tensors& t, Epilogue<T>* epilogue) {
  const Posed posed = pose(p, pass);
  const Workspace workspace(plan.workspace());
  if (!workspace || !epilogue->open(plan.units())) return DILCONV_NO_MEMORY;
  const Space<WinogradPlan> space{plan, workspace.get()};
  if (!plan.need_dw) {
    WeightView weights = posed.weights;
    weights.data = t.w + posed.first_weight;
    run_shares(kWinogradPoints * plan.conv.K, plan.transform, plan.threads, [&](int, Share share) {
      isa.winograd_weights->transform_weights(plan.conv, weights, share, space.weights());
    });
  }
  run_units(WinogradWork<T>{isa, plan, t, *epilogue, space.weights()}, space);
  epilogue->close();
  if (plan.need_dw)
    run_shares(plan.conv.K, plan.back, plan.threads, [&](int, Share share) {
      isa.winograd_weights->weight_gradient(plan.conv, space.sums(0), share, t.dw);
    });
  return DILCONV_OK;
}

#define DILCONV_RUN(T)                                                              \
  template int32_t run_spectral(const IsaKernels&, const dilconv_problem&, Pass,    \
                                const SpectralPlan&, const Tensors&, Epilogue<T>*); \
  template int32_t run_winograd(const IsaKernels&, const dilconv_problem&, Pass,    \
                                const WinogradPlan&, const Tensors&, Epilogue<T>*);
DILCONV_RUN(float)
DILCONV_RUN(Bf16)
#undef DILCONV_RUN

}  // namespace dilconv
