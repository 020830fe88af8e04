// The memory that calls work in: blocks are kept from call to call, so that nothing is allocated,
// cleared and given back each time.
#ifndef DILCONV_ARENA_H_
#define DILCONV_ARENA_H_

#include <stddef.h>
#include <stdint.h>

namespace dilconv {

// A block of uninitialised floats, 64-byte aligned, for as long as the object lives; calls of
// several threads at the same time have blocks of their own.
class Workspace {
 public:
  explicit Workspace(int64_t floats);
  ~Workspace();
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  float* get() const { return static_cast<float*>(data_); }
  explicit operator bool() const { return data_ != nullptr; }  // false: out of memory

 private:
  void* data_;
  size_t bytes_;
};

// Gives the blocks that no call is using back to the operating system; their bytes.
int64_t release_kept_memory();

}  // namespace dilconv
#endif  // DILCONV_ARENA_H_
