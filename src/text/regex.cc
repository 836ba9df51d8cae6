#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstdint>

#include "raptly/error.h"

namespace raptly {
namespace {

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[128] = {};
  pcre2_get_error_message(code, text, sizeof(text));
  return reinterpret_cast<const char*>(text);
}

}  // namespace

void MatchScratch::Free::operator()(pcre2_match_data* data) const noexcept {
  pcre2_match_data_free(data);
}

MatchScratch::MatchScratch() : data_(pcre2_match_data_create(1, nullptr)) {
  if (!data_) throw Error(ErrorCode::kOutOfMemory, "[text] no memory to match a regex.");
}

void Regex::Free::operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
void Regex::Free::operator()(pcre2_match_context* context) const noexcept {
  pcre2_match_context_free(context);
}

Regex::Regex(const std::string& pattern) : context_(pcre2_match_context_create(nullptr)) {
  if (!context_) throw Error(ErrorCode::kOutOfMemory, "[text] no memory to compile a regex.");
  // The patterns are linear, but PCRE2 counts every character given back: 10,000,000 by default,
  // which
  // `\s*[\r\n]+` spends on 10 MB of spaces.
  pcre2_set_match_limit(context_.get(), UINT32_MAX);
  int code = 0;
  PCRE2_SIZE offset = 0;
  code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                            PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &code, &offset, nullptr));
  if (!code_) {
    throw Error(ErrorCode::kInvalidArgument, "[text] regex does not compile at offset " +
                                                 std::to_string(offset) + ": " +
                                                 pcre2_message(code) + ".");
  }
  jit_ = pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE) == 0;
}

bool Regex::find(std::string_view subject, std::size_t from, MatchScratch& scratch,
                 Match& match) const {
  const auto text = reinterpret_cast<PCRE2_SPTR>(subject.data());
  const auto run = jit_ ? &pcre2_jit_match : &pcre2_match;
  const int found = run(code_.get(), text, subject.size(), from, 0, scratch.get(), context_.get());
  if (found == PCRE2_ERROR_NOMATCH) return false;
  if (found < 0) {
    throw Error(ErrorCode::kOutOfMemory,
                "[text] the pre-tokenizer's regex gave up: " + pcre2_message(found) + ".");
  }
  const PCRE2_SIZE* bounds = pcre2_get_ovector_pointer(scratch.get());
  match = {bounds[0], bounds[1]};
  return true;
}

}  // namespace raptly
