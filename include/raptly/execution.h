// Where work runs: how many threads, and which instruction set level.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace raptly {

// Levels of the machine. scalar, neon, avx2 and avx512 share their result bits. avx512_bf16 rounds
// attention over bf16 q, k and v differently; it is chosen where its dot products are fast, or when
// it is named. amx is avx512 today. RAPTLY_MAX_ISA=scalar|neon|avx2|avx512|avx512_bf16|amx
// pins the level of the whole process.
enum class Isa { kScalar, kNeon, kAvx2, kAvx512, kAvx512Bf16, kAmx };

const char* isa_name(Isa isa);
// Levels that this CPU has and RAPTLY_MAX_ISA allows, narrowest first; never empty.
// Throws kInvalidArgument when RAPTLY_MAX_ISA is not a level's name.
const std::vector<Isa>& supported_isas();
Isa best_isa();

class ThreadPool;

// Threads and level of a call. Cheap to pass, not to copy; safe to share between threads:
// concurrent calls share the context's threads. Results do not depend on the number of threads.
class ExecutionContext {
 public:
  // threads = 0: min(affinity, cgroup quota, physical cores). Throws kInvalidArgument for a
  // negative number or one above 1024, and for a level that this machine has not.
  explicit ExecutionContext(int threads = 0);
  ExecutionContext(int threads, Isa isa);
  ~ExecutionContext();
  ExecutionContext(const ExecutionContext&) = delete;
  ExecutionContext& operator=(const ExecutionContext&) = delete;

  int threads() const;
  Isa isa() const { return isa_; }
  ThreadPool& pool() { return *pool_; }

 private:
  std::unique_ptr<ThreadPool> pool_;
  Isa isa_;
};

// The context of calls that do not name one. Made at first use.
ExecutionContext& default_context();

}  // namespace raptly
