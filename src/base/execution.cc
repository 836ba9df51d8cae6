#include "raptly/execution.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/thread_pool.h"
#include "raptly/error.h"

namespace raptly {
namespace {

constexpr int kMaxThreads = 1024;

int checked_threads(int threads) {
  if (threads < 0 || threads > kMaxThreads) {
    throw Error(ErrorCode::kInvalidArgument, "[ExecutionContext] threads is " +
                                                 std::to_string(threads) +
                                                 ". It must be 0 (one per core) to 1024.");
  }
  return threads == 0 ? default_thread_count() : threads;
}

Isa checked_isa(Isa isa) {
  const auto& levels = supported_isas();
  if (std::find(levels.begin(), levels.end(), isa) == levels.end()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[ExecutionContext] level " + std::string(isa_name(isa)) +
                    " is not available here. The widest is " + isa_name(best_isa()) + ".");
  }
  return isa;
}

}  // namespace

ExecutionContext::ExecutionContext(int threads) : ExecutionContext(threads, best_isa()) {}
ExecutionContext::ExecutionContext(int threads, Isa isa)
    : pool_(std::make_unique<ThreadPool>(checked_threads(threads))), isa_(checked_isa(isa)) {}
ExecutionContext::~ExecutionContext() = default;

int ExecutionContext::threads() const { return pool_->size(); }

ExecutionContext& default_context() {
  // Never destroyed by a static destructor: its workers end in an atexit handler, before those of
  // objects made earlier, and a call that comes later still finds a valid context (one that is
  // alone).
  static ExecutionContext* const context = [] {
    auto* made = new ExecutionContext();
    std::atexit([] { default_context().pool().stop(); });
    return made;
  }();
  return *context;
}

}  // namespace raptly
