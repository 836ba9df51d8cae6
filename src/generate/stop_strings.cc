#include "generate/stop_strings.h"

#include <algorithm>
#include <utility>

#include "raptly/error.h"

namespace raptly {

StopStrings::StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {
  for (const std::string& stop : stops_) {
    if (stop.empty()) {
      throw Error(ErrorCode::kInvalidArgument,
                  "[generate] a stop string is empty. It must have at least one character.");
    }
  }
}

std::string StopStrings::push(std::string_view text) {
  if (stopped_) return "";
  held_ += text;
  std::size_t first = std::string::npos, first_end = std::string::npos;
  std::size_t held_back = 0;  // longest end of the text that starts a stop string
  for (const std::string& stop : stops_) {
    const std::size_t at = held_.find(stop);
    if (at != std::string::npos) {
      const std::size_t end = at + stop.size();
      if (end < first_end || (end == first_end && at < first)) first = at;
      first_end = std::min(first_end, end);
    }
    std::size_t n = std::min(stop.size() - 1, held_.size());
    while (n > held_back && !std::string_view(held_).ends_with(std::string_view(stop).substr(0, n)))
      --n;
    held_back = std::max(held_back, n);
  }
  if (first != std::string::npos) {
    stopped_ = true;
    held_.resize(first);
    return std::exchange(held_, "");
  }
  std::string shown = held_.substr(0, held_.size() - held_back);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopStrings::finish() { return std::exchange(held_, ""); }

}  // namespace raptly
