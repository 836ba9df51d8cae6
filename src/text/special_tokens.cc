#include "text/special_tokens.h"

namespace raptly {

SpecialTokenFinder::SpecialTokenFinder() : nodes_(1) {}

std::uint32_t SpecialTokenFinder::step(std::uint32_t node, char byte) const noexcept {
  const auto edge = edges_.find(std::uint64_t{node} << 8 | static_cast<unsigned char>(byte));
  return edge == edges_.end() ? 0 : edge->second;
}

void SpecialTokenFinder::add(std::string_view text, TokenId id, bool control) {
  std::uint32_t node = 0;
  for (const char byte : text) {
    const std::uint64_t edge = std::uint64_t{node} << 8 | static_cast<unsigned char>(byte);
    const auto [to, is_new] = edges_.try_emplace(edge, static_cast<std::uint32_t>(nodes_.size()));
    if (is_new) nodes_.emplace_back();
    node = to->second;
  }
  nodes_[node] = {id, control};
  const auto first = static_cast<unsigned char>(text[0]);
  first_any_.set(first);
  if (!control) first_user_.set(first);
}

SpecialTokenFinder::Found SpecialTokenFinder::find(std::string_view text, std::size_t from,
                                                   bool with_control) const noexcept {
  const std::bitset<256>& first = with_control ? first_any_ : first_user_;
  if (first.none()) return {};
  for (std::size_t begin = from; begin < text.size(); ++begin) {
    if (!first[static_cast<unsigned char>(text[begin])]) continue;
    Found found;
    std::uint32_t node = 0;
    for (std::size_t i = begin; i < text.size(); ++i) {
      node = step(node, text[i]);
      if (node == 0) break;
      if (nodes_[node].id >= 0 && (with_control || !nodes_[node].control)) {
        found = {begin, i + 1, nodes_[node].id};
      }
    }
    if (found.id >= 0) return found;
  }
  return {};
}

TokenId SpecialTokenFinder::find_exact(std::string_view text) const noexcept {
  std::uint32_t node = 0;
  for (const char byte : text) {
    node = step(node, byte);
    if (node == 0) return -1;
  }
  return nodes_[node].id;
}

}  // namespace raptly
