// Cuts a stream of text at the first stop string, and holds back what may become one.
//
// First is the one whose last byte comes first; of those that end there, the longest. So the cut
// does not depend on how the text arrives.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace raptly {

class StopStrings {
 public:
  // Throws kInvalidArgument for an empty stop string.
  explicit StopStrings(std::vector<std::string> stops);

  // Takes more text; returns what can be shown by now: no byte of it can belong to a stop string.
  std::string push(std::string_view text);
  // What was held back, when no more text comes.
  std::string finish();
  bool stopped() const { return stopped_; }  // a stop string was seen; nothing follows

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace raptly
