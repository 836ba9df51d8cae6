// The keys and values of a bench case in a paged cache, the pages in no order.
#pragma once

#include "cli/bench_cases.h"
#include "cli/bench_tensors.h"
#include "raptly/attention_with_cache.h"

namespace raptly {

class BenchPagedCache {
 public:
  // Of a case with page_size above 0.
  BenchPagedCache(const BenchCase& c, const AttentionOptions& options);

  // The case's queries over what is in the cache.
  void run(const BenchTensors& data, ExecutionContext& context);

 private:
  const BenchCase& case_;
  CachedAttentionOptions options_;
  PagedCache cache_;
  std::vector<SequenceId> sequences_;    // one a batch entry
  std::vector<std::int64_t> q_lengths_;  // q_len each
};

}  // namespace raptly
