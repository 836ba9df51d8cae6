// Finds the keys and values of an ordinal in the runs of a KvView, for one key head.
#pragma once

#include <algorithm>
#include <cstdint>

#include "raptly/kv_view.h"

namespace raptly {

// Keys [first, first + n) of one run; k and v are null where the ordinals are in no run (evicted).
template <class T>
struct KvSegment {
  const T* k = nullptr;
  const T* v = nullptr;
  std::int64_t n = 0;
};

template <class T>
class KvCursor {
 public:
  KvCursor(const KvView& view, std::int64_t head)
      : view_(&view), k_head_(head * view.k_head_stride), v_head_(head * view.v_head_stride) {}

  // The longest segment that starts at `ordinal` and ends before `end`. Fast near the
  // ordinal asked for before.
  KvSegment<T> segment(std::int64_t ordinal, std::int64_t end) {
    seek(ordinal);
    if (at_ == view_->runs.size()) return {nullptr, nullptr, end - ordinal};
    const KvRun& run = view_->runs[at_];
    if (run.first_ordinal > ordinal) {
      return {nullptr, nullptr, std::min(end, run.first_ordinal) - ordinal};
    }
    const std::int64_t i = ordinal - run.first_ordinal;
    return {static_cast<const T*>(run.k) + i * view_->k_token_stride + k_head_,
            static_cast<const T*>(run.v) + i * view_->v_token_stride + v_head_,
            std::min(end - ordinal, run.n - i)};
  }

 private:
  // at_: the first run that ends after `ordinal`.
  void seek(std::int64_t ordinal) {
    const auto ends_after = [&](std::size_t r) {
      return view_->runs[r].first_ordinal + view_->runs[r].n > ordinal;
    };
    for (int step = 0; at_ > 0 && ends_after(at_ - 1); ++step) at_ = step < 8 ? at_ - 1 : 0;
    for (int step = 0; at_ < view_->runs.size() && !ends_after(at_); ++step) {
      if (step < 4) {
        ++at_;
        continue;
      }
      std::size_t low = at_ + 1, high = view_->runs.size();
      while (low < high) {
        const std::size_t middle = (low + high) / 2;
        ends_after(middle) ? high = middle : low = middle + 1;
      }
      at_ = low;
      return;
    }
  }

  const KvView* view_;
  std::int64_t k_head_, v_head_;
  std::size_t at_ = 0;
};

}  // namespace raptly
