// What users do wrong: one clear message each, and nothing written.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "raptly/attention.h"
#include "raptly/error.h"

namespace raptly {
namespace {

struct Call {
  std::vector<float> memory = std::vector<float>(1 << 14, 1.0f);
  std::vector<float> result = std::vector<float>(1 << 12, 7.0f);
  std::vector<std::int64_t> q = {1, 4, 4, 8}, k = {1, 6, 2, 8}, v = {1, 6, 2, 8},
                            out = {1, 4, 4, 8}, lse;
  AttentionOptions options;

  std::string error(ErrorCode code = ErrorCode::kInvalidArgument) {
    const auto shape = [](const std::vector<std::int64_t>& s) { return TensorShape(std::span(s)); };
    try {
      attention({memory.data(), DType::kF32, shape(q)}, {memory.data(), DType::kF32, shape(k)},
                {memory.data(), DType::kF32, shape(v)}, {result.data(), DType::kF32, shape(out)},
                options,
                lse.empty() ? MutableTensorView()
                            : MutableTensorView(result.data() + 2048, DType::kF32, shape(lse)));
      return "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code);
      for (const float x : result) EXPECT_EQ(x, 7.0f);
      return error.what();
    }
  }
};

TEST(AttentionErrors, Shapes) {
  Call c;
  EXPECT_EQ(c.error(), "no error");
  c = {};
  c.k[3] = 7;
  EXPECT_EQ(c.error(), "[attention] head_dim of k is 7, head_dim of q is 8. They must be equal.");
  c = {};
  c.q[2] = c.out[2] = 3;
  EXPECT_EQ(c.error(),
            "[attention] q has 3 heads, k has 2. The heads of q must be a multiple of those of k.");
  c = {};
  c.v[1] = 5;
  EXPECT_EQ(c.error(), "[attention] kv_len of v is 5, kv_len of k is 6. They must be equal.");
  c = {};
  c.k[0] = 2;
  EXPECT_EQ(c.error(), "[attention] batch of k is 2, batch of q is 1. They must be equal.");
  c = {};
  c.q = {4, 4, 8};
  EXPECT_EQ(
      c.error(),
      "[attention] q has shape [4, 4, 8]. It must have rank 4: [batch, q_len, n_heads, head_dim].");
  c = {};
  c.out[3] = 9;
  EXPECT_EQ(c.error(), "[attention] v_dim of out is 9, v_dim of v is 8. They must be equal.");
  c = {};
  c.lse = {1, 4, 5};
  EXPECT_EQ(c.error(), "[attention] q_len of lse is 5, q_len of q is 4. They must be equal.");
  c = {};
  c.q = {1, 0, 4, 0};
  c.out = {1, 0, 4, 8};
  c.k[3] = 0;
  EXPECT_EQ(c.error(), "[attention] head_dim is 0. It must be 1 to 1024.");
  c = {};
  c.q = {1, 0, 4, 1025};
  c.out = {1, 0, 4, 8};
  EXPECT_EQ(c.error(), "[attention] head_dim is 1025. It must be 1 to 1024.");
  c = {};
  c.q = {std::int64_t{1} << 40, 0, 4, 8};
  c.k = c.v = {std::int64_t{1} << 40, 0, 2, 8};
  c.out = c.q;
  EXPECT_EQ(c.error(), "[attention] batch is 1099511627776. It must be at most 16777216.");
}

TEST(AttentionErrors, Options) {
  Call c;
  c.options.scale = NAN;
  EXPECT_EQ(c.error(), "[attention] scale is nan. It must be a number from -1e30 to 1e30.");
  c = {};
  c.options.softcap = 0.0f;
  EXPECT_EQ(
      c.error(),
      "[attention] softcap is 0. It must be from 1e-30 to 1e30; leave it out for no softcap.");
  c = {};
  c.options.mask = mask::lengths({2, 2}, {3, 3});
  EXPECT_EQ(c.error(),
            "[attention] the mask is for 2 batch entries, the batch has 1. They must be equal.");
  c = {};
  c.options.mask = mask::lengths({9}, {3});
  EXPECT_EQ(c.error(), "[lengths] q_lens[0] is 9, q_len is 4. A length may not exceed the tensor.");
}

TEST(AttentionErrors, MemoryAndDtypes) {
  std::vector<float> x(256), y(256);
  std::vector<Bf16> h(256);
  const std::initializer_list<std::int64_t> shape = {1, 4, 2, 8};
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
      return "no error";
    } catch (const Error& error) {
      return error.what();
    }
  };
  const TensorView a(x.data(), shape);
  EXPECT_EQ(message([&] { attention(a, a, a, {x.data() + 8, shape}); }),
            "[attention] out and q overlap in memory. They must not.");
  EXPECT_EQ(message([&] { attention(a, a, {h.data(), shape}, {y.data(), shape}); }),
            "[attention] k is f32, v is bf16. They must have the same dtype.");
  EXPECT_EQ(message([&] { attention(a, a, a, {h.data(), shape}); }),
            "[attention] out is bf16, q is f32. out must be f32 or have q's dtype.");
  const std::int64_t sizes[] = {1, 4, 2, 8}, strides[] = {64, 0, 8, 1};
  EXPECT_EQ(
      message([&] { attention(a, a, a, {y.data(), DType::kF32, TensorShape(sizes, strides)}); }),
      "[attention] out has stride 0 in dimension 1 of size 4. Every element needs a place of its "
      "own.");
  const std::int64_t close[] = {64, 8, 12, 1}, far[] = {64, std::int64_t{1} << 60, 8, 1};
  EXPECT_EQ(
      message([&] { attention(a, a, a, {y.data(), DType::kF32, TensorShape(sizes, close)}); }),
      "[attention] out has a stride of 12, but 32 places lie inside that step. Rows of an "
      "output may not overlap.");
  EXPECT_EQ(message([&] { attention(a, a, a, {y.data(), DType::kF32, TensorShape(sizes, far)}); }),
            "[attention] out has stride 1152921504606846976 in dimension 1 of size 4. That reaches "
            "beyond 2^56 elements.");
  EXPECT_EQ(
      message([&] { attention(a, a, a, {nullptr, DType::kF32, TensorShape(std::span(sizes))}); }),
      "[attention] out has shape [1, 4, 2, 8] and no data.");
}

}  // namespace
}  // namespace raptly
