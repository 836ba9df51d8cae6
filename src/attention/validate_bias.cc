#include <cmath>
#include <limits>
#include <string>

#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "mask/bias_terms.h"

namespace raptly {
namespace {

using bias_detail::Terms;

const TensorChecks kChecks("attention");

std::string text(std::int64_t n) { return std::to_string(n); }

void check_equal_heads(std::int64_t given, std::int64_t n_heads) {
  if (given == n_heads) return;
  kChecks.fail("the bias is for " + text(given) + " heads, q has " + text(n_heads) +
               ". They must be equal.");
}

// Element sizes 1 stand for all.
void check_broadcast(const TensorView& t, const std::int64_t (&target)[4]) {
  bool fits = true;
  for (int d = 0; d < 4; ++d) fits = fits && (t.size(d) == 1 || t.size(d) == target[d]);
  if (fits) return;
  kChecks.fail("bias has shape " + t.shape().to_string() + ". It must broadcast to " +
               TensorShape(target).to_string() + ": [batch, n_heads, q_len, kv_len].");
}

void check_dense(const TensorView& t, const AttentionShape& shape,
                 std::span<const SequenceGeometry> sequences) {
  if (t.dtype() == DType::kF64 && shape.q_dtype != DType::kF64) {
    kChecks.fail("bias is f64, q is " + std::string(dtype_name(shape.q_dtype)) +
                     ". It must be f32, f16 or bf16; f64 goes with f64 q, k and v.",
                 ErrorCode::kTypeMismatch);
  }
  for (const SequenceGeometry& s : sequences) {
    check_broadcast(
        t, {static_cast<std::int64_t>(sequences.size()), shape.n_heads, s.q_len, s.kv_len});
  }
  kChecks.memory("bias", t);
}

void check_sinks(const TensorView& sinks, std::int64_t n_heads) {
  if (sinks.rank() != 1 || sinks.size(0) != n_heads) {
    kChecks.fail("sinks have shape " + sinks.shape().to_string() + ". They must have [n_heads], [" +
                 text(n_heads) + "].");
  }
  if (sinks.dtype() != DType::kF32) {
    kChecks.fail("sinks are " + std::string(dtype_name(sinks.dtype())) + ". They must be f32.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory("sinks", sinks);
  for (std::int64_t h = 0; h < n_heads; ++h) {
    const float sink = sinks.as<float>()[h * sinks.stride(0)];
    if (std::isnan(sink) || sink == std::numeric_limits<float>::infinity()) {
      kChecks.fail("sinks[" + text(h) + "] is " + (std::isnan(sink) ? "nan" : "inf") +
                   ". It must be a number, or -inf for no sink.");
    }
  }
}

}  // namespace

void check_bias(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options) {
  if (options.sinks.given()) check_sinks(options.sinks, shape.n_heads);
  const Terms* terms = options.bias.terms();
  if (terms == nullptr) return;
  if (terms->kind == BiasKind::kDense) return check_dense(terms->tensor, shape, sequences);
  check_equal_heads(terms->n_heads, shape.n_heads);
  if (terms->slopes.size() > 1 && terms->slopes.size() != sequences.size()) {
    kChecks.fail("the bias has slopes for " +
                 text(static_cast<std::int64_t>(terms->slopes.size())) +
                 " batch entries, the batch has " +
                 text(static_cast<std::int64_t>(sequences.size())) + ". They must be equal.");
  }
}

void check_bias_apart(const Bias& bias, const TensorView& out, const TensorView& lse) {
  if (!bias.given()) return;
  kChecks.apart("out", out, "bias", bias.terms()->tensor);
  kChecks.apart("lse", lse, "bias", bias.terms()->tensor);
}

}  // namespace raptly
