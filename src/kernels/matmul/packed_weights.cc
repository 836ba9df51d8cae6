#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "kernels/matmul/lane_reader.h"
#include "kernels/matmul/matmul.h"
#include "kernels/matmul/pack_block.h"
#include "raptly/dtype.h"
#include "raptly/error.h"

namespace raptly {
namespace {

std::int64_t panel_size(WeightType type, std::int64_t n_in) {
  switch (type) {
    case WeightType::kF32:
      return n_in * kPanelOutputs * 4;
    case WeightType::kF16:
    case WeightType::kBf16:
      return n_in * kPanelOutputs * 2;
    case WeightType::kQ4_0:
      return PanelFormat<WeightType::kQ4_0>::panel_bytes(n_in / 32);
    case WeightType::kQ4_1:
      return PanelFormat<WeightType::kQ4_1>::panel_bytes(n_in / 32);
    case WeightType::kQ5_0:
      return PanelFormat<WeightType::kQ5_0>::panel_bytes(n_in / 32);
    case WeightType::kQ5_1:
      return PanelFormat<WeightType::kQ5_1>::panel_bytes(n_in / 32);
    case WeightType::kQ8_0:
      return PanelFormat<WeightType::kQ8_0>::panel_bytes(n_in / 32);
    case WeightType::kQ4K:
      return PanelFormat<WeightType::kQ4K>::panel_bytes(n_in / 32);
    case WeightType::kQ5K:
      return PanelFormat<WeightType::kQ5K>::panel_bytes(n_in / 32);
    case WeightType::kQ6K:
      return PanelFormat<WeightType::kQ6K>::panel_bytes(n_in / 32);
  }
  return 0;
}

template <WeightType kType>
void pack_row(const std::byte* row, std::int64_t n_in, std::byte* panel, int lane) {
  using Format = PanelFormat<kType>;
  const std::int64_t blocks = n_in / 32;
  const int file_bytes = weight_type_info(kType).block_bytes;
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::byte* file = row + b / Format::kSuper * file_bytes;
    pack_codes<kType>(file, static_cast<int>(b % Format::kSuper), panel + Format::planes_offset(b),
                      lane);
    pack_scales<kType>(file, b, panel, lane);
  }
}

template <class T>
void pack_float_row(const std::byte* row, std::int64_t n_in, std::byte* panel, int lane) {
  for (std::int64_t i = 0; i < n_in; ++i) {
    std::memcpy(panel + (i * kPanelOutputs + lane) * sizeof(T), row + i * sizeof(T), sizeof(T));
  }
}

using PackRow = void (*)(const std::byte* row, std::int64_t n_in, std::byte* panel, int lane);

PackRow packer(WeightType type) {
  switch (type) {
    case WeightType::kF32:
      return &pack_float_row<float>;
    case WeightType::kF16:
      return &pack_float_row<F16>;
    case WeightType::kBf16:
      return &pack_float_row<Bf16>;
    case WeightType::kQ4_0:
      return &pack_row<WeightType::kQ4_0>;
    case WeightType::kQ4_1:
      return &pack_row<WeightType::kQ4_1>;
    case WeightType::kQ5_0:
      return &pack_row<WeightType::kQ5_0>;
    case WeightType::kQ5_1:
      return &pack_row<WeightType::kQ5_1>;
    case WeightType::kQ8_0:
      return &pack_row<WeightType::kQ8_0>;
    case WeightType::kQ4K:
      return &pack_row<WeightType::kQ4K>;
    case WeightType::kQ5K:
      return &pack_row<WeightType::kQ5K>;
    case WeightType::kQ6K:
      return &pack_row<WeightType::kQ6K>;
  }
  return nullptr;
}

template <WeightType kType>
void unpack_quantized(const std::byte* panel, std::int64_t n_in, int lane, float* out) {
  for (std::int64_t b = 0; b < n_in / 32; ++b, out += 32) {
    const LaneBlock block = read_block<kType>(panel, b, lane);
    for (int e = 0; e < 32; ++e) out[e] = dequantized(block, e);
  }
}

template <class T>
void unpack_float(const std::byte* panel, std::int64_t n_in, int lane, float* out) {
  for (std::int64_t i = 0; i < n_in; ++i) out[i] = read_float<T>(panel, i, lane);
}

}  // namespace

std::size_t PackedWeights::packed_bytes(WeightType type, std::int64_t n_out, std::int64_t n_in) {
  const std::int64_t unit = std::max(32, weight_type_info(type).block_elements);
  if (n_out < 1 || n_in < 1 || n_in % unit != 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "[matmul] " + std::string(weight_type_info(type).name) + " weights of shape [" +
                    std::to_string(n_out) + ", " + std::to_string(n_in) +
                    "]. The number of inputs must be a positive multiple of " +
                    std::to_string(unit) + ", the number of outputs at least 1.");
  }
  // The largest panel has 64 bytes an input; both factors are far from overflow after this.
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 128;
  const std::int64_t panels = (n_out - 1) / kPanelOutputs + 1;
  if (n_in > kMost || panels > kMost / n_in) {
    throw Error(ErrorCode::kOutOfMemory, "[matmul] weights of shape [" + std::to_string(n_out) +
                                             ", " + std::to_string(n_in) +
                                             "] need more memory than can be addressed.");
  }
  const auto bytes = static_cast<std::size_t>(panels * panel_size(type, n_in));
  return (bytes + 63) / 64 * 64;
}

PackedWeights::PackedWeights(WeightType type, std::int64_t n_out, std::int64_t n_in)
    : PackedWeights(type, n_out, n_in, nullptr) {
  owned_ = AlignedBytes(packed_bytes(type, n_out, n_in));
  data_ = owned_.data();
  clear_padding();
}

PackedWeights::PackedWeights(WeightType type, std::int64_t n_out, std::int64_t n_in,
                             std::byte* memory)
    : type_(type), n_out_(n_out), n_in_(n_in), data_(memory) {
  packed_bytes(type, n_out, n_in);  // checks the shape
  panel_bytes_ = static_cast<std::size_t>(panel_size(type, n_in));
  if (data_ != nullptr) clear_padding();
}

void PackedWeights::clear_padding() noexcept {
  if (n_out_ % kPanelOutputs == 0) return;
  std::memset(data_ + static_cast<std::size_t>(n_panels() - 1) * panel_bytes_, 0, panel_bytes_);
}

void PackedWeights::pack_rows(const std::byte* rows, std::int64_t first, std::int64_t n) noexcept {
  const WeightTypeInfo& info = weight_type_info(type_);
  const std::int64_t row_bytes = n_in_ / info.block_elements * info.block_bytes;
  const PackRow pack = packer(type_);
  for (std::int64_t o = first; o < first + n; ++o, rows += row_bytes) {
    pack(rows, n_in_, data_ + static_cast<std::size_t>(o / kPanelOutputs) * panel_bytes_,
         static_cast<int>(o % kPanelOutputs));
  }
}

void unpack_row(const PackedWeights& w, std::int64_t o, float* out) noexcept {
  const std::byte* panel = w.panel(o / kPanelOutputs);
  const int lane = static_cast<int>(o % kPanelOutputs);
  switch (w.type()) {
    case WeightType::kF32:
      return unpack_float<float>(panel, w.n_in(), lane, out);
    case WeightType::kF16:
      return unpack_float<F16>(panel, w.n_in(), lane, out);
    case WeightType::kBf16:
      return unpack_float<Bf16>(panel, w.n_in(), lane, out);
    case WeightType::kQ4_0:
      return unpack_quantized<WeightType::kQ4_0>(panel, w.n_in(), lane, out);
    case WeightType::kQ4_1:
      return unpack_quantized<WeightType::kQ4_1>(panel, w.n_in(), lane, out);
    case WeightType::kQ5_0:
      return unpack_quantized<WeightType::kQ5_0>(panel, w.n_in(), lane, out);
    case WeightType::kQ5_1:
      return unpack_quantized<WeightType::kQ5_1>(panel, w.n_in(), lane, out);
    case WeightType::kQ8_0:
      return unpack_quantized<WeightType::kQ8_0>(panel, w.n_in(), lane, out);
    case WeightType::kQ4K:
      return unpack_quantized<WeightType::kQ4K>(panel, w.n_in(), lane, out);
    case WeightType::kQ5K:
      return unpack_quantized<WeightType::kQ5K>(panel, w.n_in(), lane, out);
    case WeightType::kQ6K:
      return unpack_quantized<WeightType::kQ6K>(panel, w.n_in(), lane, out);
  }
}

}  // namespace raptly
