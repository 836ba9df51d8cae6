#include "text/token_index.h"

#include <bit>
#include <functional>

namespace raptly {
namespace {

std::uint32_t hash(std::string_view bytes) {
  const std::size_t h = std::hash<std::string_view>()(bytes);
  return static_cast<std::uint32_t>(h ^ h >> 32);
}

}  // namespace

void TokenIndex::push_back(std::string_view bytes) {
  block_ += bytes;
  starts_.push_back(block_.size());
}

std::pair<TokenId, TokenId> TokenIndex::build(const std::vector<TokenId>& ids) {
  slots_.assign(std::bit_ceil(2 * ids.size() + 2), Slot{});
  for (const TokenId id : ids) {
    const std::uint32_t h = hash(bytes(id));
    std::size_t i = h & (slots_.size() - 1);
    for (; slots_[i].id >= 0; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].hash == h && bytes(slots_[i].id) == bytes(id)) return {slots_[i].id, id};
    }
    slots_[i] = {h, id};
  }
  return {-1, -1};
}

std::string_view TokenIndex::bytes(TokenId id) const noexcept {
  const auto i = static_cast<std::size_t>(id);
  return std::string_view(block_).substr(starts_[i], starts_[i + 1] - starts_[i]);
}

TokenId TokenIndex::find(std::string_view wanted) const noexcept {
  if (slots_.empty()) return -1;
  const std::uint32_t h = hash(wanted);
  std::size_t i = h & (slots_.size() - 1);
  while (slots_[i].id >= 0) {
    if (slots_[i].hash == h && bytes(slots_[i].id) == wanted) return slots_[i].id;
    i = (i + 1) & (slots_.size() - 1);
  }
  return -1;
}

}  // namespace raptly
