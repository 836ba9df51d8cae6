// Checks of tensors that every entry point of this room makes before any work. Each throws Error
// (kInvalidArgument) "[where] what was given. What is allowed."
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "raptly/error.h"
#include "raptly/tensor.h"

namespace raptly {

class TensorChecks {
 public:
  explicit TensorChecks(const char* where) : where_(where) {}

  [[noreturn]] void fail(const std::string& message,
                         ErrorCode code = ErrorCode::kInvalidArgument) const {
    throw Error(code, "[" + std::string(where_) + "] " + message);
  }
  // names: what the dimensions mean, "[batch, q_len, n_heads, head_dim]".
  void rank(const char* name, const TensorView& t, const char* names, int rank) const;
  void equal(std::string_view a, std::int64_t a_size, std::string_view b,
             std::int64_t b_size) const;
  void same_shape(std::string_view name, const TensorView& t, std::string_view of,
                  const TensorShape& wanted) const;
  // A view with elements has memory, and its strides reach no farther than 2^56 elements.
  void memory(const char* name, const TensorView& t) const;
  // Every element of an output has a place of its own.
  void own_places(const char* name, const TensorView& t) const;
  // That they share no element; parts of one packed tensor, such as dq, dk and dv, may lie between
  // each other.
  void apart(std::string_view name, const TensorView& output, std::string_view other,
             const TensorView& input) const;

 private:
  void reach(const char* name, const TensorView& t) const;

  const char* where_;
};

// Whether two views are the same elements in the same places.
bool same_view(const TensorView& a, const TensorView& b);

}  // namespace raptly
