// PCRE2 (JIT where the system allows it) over bytes: no UTF mode, no Unicode properties. What
// characters mean is settled before matching (char_classes.h).
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_context_8;
struct pcre2_real_match_data_8;

namespace raptly {

struct Match {
  std::size_t begin = 0;
  std::size_t end = 0;
};

// What one thread needs while it matches; any Regex may use it.
class MatchScratch {
 public:
  MatchScratch();  // kOutOfMemory
  pcre2_real_match_data_8* get() const { return data_.get(); }

 private:
  struct Free {
    void operator()(pcre2_real_match_data_8* data) const noexcept;
  };
  std::unique_ptr<pcre2_real_match_data_8, Free> data_;
};

// Immutable after construction; threads may share it.
class Regex {
 public:
  explicit Regex(const std::string& pattern);  // kInvalidArgument, with PCRE2's words

  // The leftmost match at or after `from`. False: none. kOutOfMemory: PCRE2 gave up.
  bool find(std::string_view subject, std::size_t from, MatchScratch& scratch, Match& match) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const noexcept;
    void operator()(pcre2_real_match_context_8* context) const noexcept;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::unique_ptr<pcre2_real_match_context_8, Free> context_;
  bool jit_ = false;
};

}  // namespace raptly
