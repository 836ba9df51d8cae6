#include "raptly/tensor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "raptly/error.h"

namespace raptly {
namespace {

TEST(Tensor, ContiguousStrides) {
  const std::vector<std::int64_t> sizes = {2, 3, 4};
  const TensorShape shape(sizes);
  EXPECT_EQ(shape.stride(0), 12);
  EXPECT_EQ(shape.stride(2), 1);
  EXPECT_EQ(shape.numel(), 24);
  EXPECT_TRUE(shape.is_contiguous());
  EXPECT_EQ(shape.to_string(), "[2, 3, 4]");
  const std::vector<std::int64_t> strides = {12, 1, 3};
  EXPECT_FALSE(TensorShape(sizes, strides).is_contiguous());
}

TEST(Tensor, ViewsKnowTheirDtypeAndWhetherTheyAreGiven) {
  std::vector<Bf16> data(6);
  const MutableTensorView view(data.data(), {2, 3});
  EXPECT_EQ(view.dtype(), DType::kBf16);
  EXPECT_TRUE(view.given());
  EXPECT_FALSE(TensorView().given());
  EXPECT_EQ(static_cast<TensorView>(view).as<Bf16>(), data.data());
}

TEST(Tensor, RefusesBadShapes) {
  const auto message = [](std::vector<std::int64_t> sizes) -> std::string {
    try {
      TensorShape shape{std::span<const std::int64_t>(sizes)};
      return "";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      return error.what();
    }
  };
  EXPECT_EQ(message({2, -1}),
            "[TensorShape] [2, -1] has a negative size. Sizes must be 0 or more.");
  EXPECT_NE(message({1, 1, 1, 1, 1, 1}).find("rank is 6"), std::string::npos);
  EXPECT_NE(message({1ll << 40, 1ll << 40}).find("2^63"), std::string::npos);
}

}  // namespace
}  // namespace raptly
