#include "attention/tensor_checks.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <utility>

namespace raptly {
namespace {

std::string text(std::int64_t n) { return std::to_string(n); }

// First and last byte of a view; {0, 0} when it has no elements.
std::pair<std::uintptr_t, std::uintptr_t> extent(const TensorView& t) {
  if (!t.given() || t.shape().numel() == 0) return {0, 0};
  std::int64_t low = 0, high = 0;
  for (int d = 0; d < t.rank(); ++d) {
    const std::int64_t reach = (t.size(d) - 1) * t.stride(d);
    (reach < 0 ? low : high) += reach;
  }
  const auto base = reinterpret_cast<std::uintptr_t>(t.data());
  const auto size = static_cast<std::int64_t>(dtype_size(t.dtype()));
  return {base + static_cast<std::uintptr_t>(low * size),
          base + static_cast<std::uintptr_t>((high + 1) * size)};
}

// One dimension of two views with the same stride: the steps from an element of the second to one
// of the first.
struct Steps {
  std::int64_t stride = 0, least = 0, most = 0;

  std::int64_t reach() const { return stride * std::max(-least, most); }
};

// Whether `distance` is a sum of steps, one of each dimension; largest strides first.
bool is_sum(std::span<const Steps> dims, std::int64_t distance) {
  if (dims.empty()) return distance == 0;
  const std::span<const Steps> others = dims.subspan(1);
  std::int64_t reach = 0;
  for (const Steps& d : others) reach += d.reach();
  const Steps& dim = dims[0];
  for (std::int64_t n = std::max(dim.least, (distance - reach) / dim.stride - 1);
       n <= std::min(dim.most, (distance + reach) / dim.stride + 1); ++n) {
    if (is_sum(others, distance - n * dim.stride)) return true;
  }
  return false;
}

// Whether two views of one memory lie between each other, as q, k and v of a packed tensor do. Told
// for equal, positive strides only, whose rows lie inside each other's steps.
bool interleaved(const TensorView& a, const TensorView& b) {
  if (a.rank() != b.rank() || a.dtype() != b.dtype()) return false;
  const auto size = static_cast<std::int64_t>(dtype_size(a.dtype()));
  const std::int64_t bytes =
      static_cast<const std::byte*>(b.data()) - static_cast<const std::byte*>(a.data());
  if (bytes % size != 0) return false;
  std::array<Steps, TensorShape::kMaxRank> dims;
  std::size_t n = 0;
  for (int d = 0; d < a.rank(); ++d) {
    if (a.size(d) == 1 && b.size(d) == 1) continue;
    const std::int64_t stride = a.size(d) == 1 ? b.stride(d) : a.stride(d);
    if (stride <= 0 || (a.size(d) > 1 && b.size(d) > 1 && a.stride(d) != b.stride(d))) return false;
    dims[n++] = {stride, 1 - b.size(d), a.size(d) - 1};
  }
  for (std::size_t i = 1; i < n; ++i) {  // std::sort of five: GCC 12 warns of its own code
    for (std::size_t j = i; j > 0 && dims[j].stride > dims[j - 1].stride; --j) {
      std::swap(dims[j], dims[j - 1]);
    }
  }
  for (std::size_t i = 0; i + 1 < n; ++i) {  // or there would be many sums to try
    std::int64_t inside = 0;
    for (std::size_t j = i + 1; j < n; ++j) inside += dims[j].reach();
    if (dims[i].stride < inside) return false;
  }
  return !is_sum(std::span(dims).first(n), bytes / size);
}

}  // namespace

void TensorChecks::rank(const char* name, const TensorView& t, const char* names, int rank) const {
  if (t.rank() == rank) return;
  fail(std::string(name) + " has shape " + t.shape().to_string() + ". It must have rank " +
       text(rank) + ": " + names + ".");
}

void TensorChecks::equal(std::string_view a, std::int64_t a_size, std::string_view b,
                         std::int64_t b_size) const {
  if (a_size == b_size) return;
  fail(std::string(a) + " is " + text(a_size) + ", " + std::string(b) + " is " + text(b_size) +
       ". They must be equal.");
}

void TensorChecks::same_shape(std::string_view name, const TensorView& t, std::string_view of,
                              const TensorShape& wanted) const {
  if (t.shape().to_string() == wanted.to_string()) return;
  fail(std::string(name) + " has shape " + t.shape().to_string() + ", " + std::string(of) +
       " has " + wanted.to_string() + ". They must be equal.");
}

// Strides that reach beyond any memory would overflow the arithmetic of addresses.
void TensorChecks::reach(const char* name, const TensorView& t) const {
  if (t.shape().numel() == 0) return;
  constexpr std::int64_t kMost = std::int64_t{1} << 56;
  for (int d = 0; d < t.rank(); ++d) {
    const std::int64_t most = kMost / std::max<std::int64_t>(1, t.size(d));
    if (t.size(d) > 1 && (t.stride(d) > most || t.stride(d) < -most)) {
      fail(std::string(name) + " has stride " + text(t.stride(d)) + " in dimension " + text(d) +
           " of size " + text(t.size(d)) + ". That reaches beyond 2^56 elements.");
    }
  }
}

void TensorChecks::memory(const char* name, const TensorView& t) const {
  if (t.given() && t.data() == nullptr && t.shape().numel() > 0) {
    fail(std::string(name) + " has shape " + t.shape().to_string() + " and no data.");
  }
  reach(name, t);
}

void TensorChecks::own_places(const char* name, const TensorView& t) const {
  if (t.shape().numel() == 0) return;
  for (int d = 0; d < t.rank(); ++d) {
    if (t.stride(d) == 0 && t.size(d) > 1) {
      fail(std::string(name) + " has stride 0 in dimension " + text(d) + " of size " +
           text(t.size(d)) + ". Every element needs a place of its own.");
    }
  }
  // From the innermost dimension out, a step must pass all that lies inside it.
  std::array<std::pair<std::int64_t, std::int64_t>, TensorShape::kMaxRank> steps;  // stride, size
  for (int d = 0; d < t.rank(); ++d) steps[d] = {std::abs(t.stride(d)), t.size(d)};
  const auto end = steps.begin() + t.rank();
  std::make_heap(steps.begin(), end);  // std::sort of five: GCC 12 warns of its own code
  std::sort_heap(steps.begin(), end);
  std::int64_t inside = 1;
  for (const auto& [stride, size] : std::span(steps.begin(), end)) {
    if (size <= 1) continue;
    if (stride < inside) {
      fail(std::string(name) + " has a stride of " + text(stride) + ", but " + text(inside) +
           " places lie inside that step. Rows of an output may not overlap.");
    }
    inside += (size - 1) * stride;
  }
}

void TensorChecks::apart(std::string_view name, const TensorView& output, std::string_view other,
                         const TensorView& input) const {
  const auto [a_begin, a_end] = extent(output);
  const auto [b_begin, b_end] = extent(input);
  if (a_begin < b_end && b_begin < a_end && !interleaved(output, input)) {
    fail(std::string(name) + " and " + std::string(other) + " overlap in memory. They must not.");
  }
}

bool same_view(const TensorView& a, const TensorView& b) {
  if (a.data() != b.data() || a.dtype() != b.dtype() || a.rank() != b.rank()) return false;
  for (int d = 0; d < a.rank(); ++d) {
    if (a.size(d) != b.size(d) || (a.size(d) > 1 && a.stride(d) != b.stride(d))) return false;
  }
  return true;
}

}  // namespace raptly
