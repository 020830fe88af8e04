// Kept blocks, taken straight from the operating system: what malloc is told to keep or to trim
// does not matter here. A block is kept when its call ends, if fewer than kMost are, or in the
// place of a smaller one; a call that finds none large enough gives the largest back and maps more.
#include "arena.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <mutex>
#include <utility>

namespace dilconv {
namespace {

struct Block {
  void* data;
  size_t bytes;
};

void unmap(const Block& b) {
  if (b.data) munmap(b.data, b.bytes);
}

class Arena {
 public:
  Arena() {
    pthread_atfork([] { arena().mutex_.lock(); }, [] { arena().mutex_.unlock(); },
                   [] { arena().mutex_.unlock(); });
  }
  // Never destroyed: a thread may still be in a call when the process ends.
  static Arena& arena() {
    static Arena* const only = new Arena;
    return *only;
  }

  // The smallest kept block of so many bytes, or else the largest one, to be given up.
  Block take(size_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block* best = kept_;
    for (Block& b : kept_)
      if (b.bytes >= bytes ? best->bytes < bytes || b.bytes < best->bytes : b.bytes > best->bytes)
        best = &b;
    return std::exchange(*best, Block{});
  }

  // The smallest of the kept blocks and this one, which is not kept.
  Block keep(Block block) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Block& least = *std::min_element(
        kept_, kept_ + kMost, [](const Block& a, const Block& b) { return a.bytes < b.bytes; });
    if (least.bytes < block.bytes) std::swap(least, block);
    return block;
  }

 private:
  static constexpr int kMost = 4;  // the two of a call, of two calls at a time
  std::mutex mutex_;
  Block kept_[kMost] = {};
};

// What is kept when the library is unloaded or the process ends.
struct AtExit {
  ~AtExit() { release_kept_memory(); }
} at_exit;

}  // namespace

Workspace::Workspace(int64_t floats) : data_(nullptr), bytes_(0) {
  constexpr size_t kPage = 1 << 16;  // the largest in use
  size_t bytes;
  if (__builtin_mul_overflow(static_cast<size_t>(std::max<int64_t>(floats, 1)), sizeof(float),
                             &bytes) ||
      __builtin_add_overflow(bytes, kPage - 1, &bytes))
    return;
  bytes = bytes / kPage * kPage;
  Block block = Arena::arena().take(bytes);
  if (block.bytes < bytes) {
    unmap(block);
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return;
    block = {data, bytes};
  }
  data_ = block.data, bytes_ = block.bytes;
}

Workspace::~Workspace() {
  if (data_) unmap(Arena::arena().keep({data_, bytes_}));
}

int64_t release_kept_memory() {
  int64_t released = 0;
  for (;;) {
    const Block block = Arena::arena().take(1);
    if (!block.data) return released;
    released += static_cast<int64_t>(block.bytes);
    unmap(block);
  }
}

}  // namespace dilconv
