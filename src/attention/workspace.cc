#include <cstdint>
#include <string>

#include "base/aligned.h"
#include "raptly/error.h"
#include "raptly/plan.h"

namespace raptly {

struct Workspace::Impl {
  AlignedBytes own;
  std::span<std::byte> given;
  bool is_given = false;
};

Workspace::Workspace() : impl_(std::make_unique<Impl>()) {}
Workspace::Workspace(std::span<std::byte> memory) : impl_(std::make_unique<Impl>()) {
  impl_->given = memory;
  impl_->is_given = true;
}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

std::byte* Workspace::at_least(std::size_t n_bytes) {
  if (!impl_->is_given) {
    if (impl_->own.size() < n_bytes) {
      const std::size_t before = impl_->own.size();
      impl_->own = AlignedBytes();  // the old block first: two need not fit
      try {
        impl_->own = AlignedBytes(n_bytes);
      } catch (const Error&) {
        impl_->own = AlignedBytes(before);  // for the plans that share it
        throw;
      }
    }
    return impl_->own.data();
  }
  void* aligned = impl_->given.data();
  std::size_t room = impl_->given.size();
  if (n_bytes > 0 && std::align(64, n_bytes, aligned, room) == nullptr) {
    throw Error(ErrorCode::kInvalidArgument,
                "[Plan] the workspace has " + std::to_string(impl_->given.size()) +
                    " bytes. This plan needs " + std::to_string(n_bytes) +
                    ", and up to 63 more to align them to 64.");
  }
  return static_cast<std::byte*>(aligned);
}

}  // namespace raptly
