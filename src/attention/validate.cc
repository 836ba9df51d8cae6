#include "attention/validate.h"

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>

#include "attention/tensor_checks.h"
#include "mask/rule.h"
#include "raptly/error.h"

namespace raptly {
namespace {

constexpr std::int64_t kMaxHeadDim = 1024;
// Beyond these the arithmetic of a plan or of f32 scores would overflow (or a softcap be flushed to
// zero), long before there is memory for the tensors.
constexpr std::int64_t kMaxBatch = 1 << 24, kMaxHeads = 1 << 20;
constexpr std::int64_t kMaxLength = std::int64_t{1} << 40;
constexpr float kMaxScale = 1e30f, kMinSoftcap = 1e-30f, kMaxSoftcap = 1e30f;

[[noreturn]] void fail(const std::string& message, ErrorCode code = ErrorCode::kInvalidArgument) {
  throw Error(code, "[attention] " + message);
}
std::string text(std::int64_t n) { return std::to_string(n); }
std::string text(float x) {
  char buffer[32];
  std::snprintf(buffer, sizeof(buffer), "%g", static_cast<double>(x));
  return buffer;
}

void check_dim(const char* name, std::int64_t value) {
  if (value < 1 || value > kMaxHeadDim) {
    fail(std::string(name) + " is " + text(value) + ". It must be 1 to " + text(kMaxHeadDim) + ".");
  }
}

void check_heads(std::int64_t n_heads, std::int64_t n_kv_heads) {
  if (n_heads < 0 || n_kv_heads < 0 || (n_kv_heads == 0) != (n_heads == 0) ||
      (n_kv_heads > 0 && n_heads % n_kv_heads != 0)) {
    fail("q has " + text(n_heads) + " heads, k has " + text(n_kv_heads) +
         ". The heads of q must be a multiple of those of k.");
  }
  if (n_heads > kMaxHeads) {
    fail("q has " + text(n_heads) + " heads. At most " + text(kMaxHeads) + " are allowed.");
  }
}

void check_dtypes(DType q, DType kv, DType out) {
  const auto mismatch = [](const std::string& message) { fail(message, ErrorCode::kTypeMismatch); };
  const auto name = [](DType dtype) { return std::string(dtype_name(dtype)); };
  const bool any_f64 = q == DType::kF64 || kv == DType::kF64 || out == DType::kF64;
  if (any_f64 && !(q == kv && q == out)) {
    mismatch("q is " + name(q) + ", k and v are " + name(kv) + ", out is " + name(out) +
             ". f64 must be used for all of them or none.");
  }
  if (out != DType::kF32 && out != q) {
    mismatch("out is " + name(out) + ", q is " + name(q) + ". out must be f32 or have q's dtype.");
  }
}

void check_same_dtype(const TensorView& k, const TensorView& v) {
  if (k.dtype() == v.dtype()) return;
  fail(std::string("k is ") + dtype_name(k.dtype()) + ", v is " + dtype_name(v.dtype()) +
           ". They must have the same dtype.",
       ErrorCode::kTypeMismatch);
}

void check_lse_dtype(const TensorView& lse) {
  if (!lse.given() || lse.dtype() == DType::kF32) return;
  fail(std::string("lse is ") + dtype_name(lse.dtype()) + ". It must be f32.",
       ErrorCode::kTypeMismatch);
}

void check_planned_dtype(const char* name, DType given, DType planned) {
  if (given == planned) return;
  fail(std::string(name) + " is " + dtype_name(given) + ", the plan is for " + dtype_name(planned) +
           ". They must be equal.",
       ErrorCode::kTypeMismatch);
}

}  // namespace

void check_plan_shape(const PlanShape& shape) {
  if (shape.batch < 0) fail("batch is " + text(shape.batch) + ". It must be 0 or more.");
  if (shape.batch > kMaxBatch) {
    fail("batch is " + text(shape.batch) + ". It must be at most " + text(kMaxBatch) + ".");
  }
  if (shape.q_len > kMaxLength || shape.kv_len > kMaxLength) {
    fail("q_len is " + text(shape.q_len) + ", kv_len is " + text(shape.kv_len) +
         ". Lengths must be at most " + text(kMaxLength) + ".");
  }
  check_dtypes(shape.q_dtype, shape.kv_dtype, shape.out_dtype);
}

void check_planned(const PlanShape& given, const PlanShape& planned) {
  const TensorChecks check("attention");
  check.equal("batch of q", given.batch, "batch of the plan", planned.batch);
  check.equal("q_len of q", given.q_len, "q_len of the plan", planned.q_len);
  check.equal("kv_len of k", given.kv_len, "kv_len of the plan", planned.kv_len);
  check.equal("n_heads of q", given.n_heads, "n_heads of the plan", planned.n_heads);
  check.equal("n_kv_heads of k", given.n_kv_heads, "n_kv_heads of the plan", planned.n_kv_heads);
  check.equal("head_dim of q", given.head_dim, "head_dim of the plan", planned.head_dim);
  check.equal("v_dim of v", given.v_dim, "v_dim of the plan", planned.v_dim);
  check_planned_dtype("q", given.q_dtype, planned.q_dtype);
  check_planned_dtype("k", given.kv_dtype, planned.kv_dtype);
  check_planned_dtype("out", given.out_dtype, planned.out_dtype);
}

void check_plan(const AttentionShape& shape, std::span<const SequenceGeometry> sequences,
                const AttentionOptions& options) {
  check_dim("head_dim", shape.head_dim);
  check_dim("v_dim", shape.v_dim);
  check_heads(shape.n_heads, shape.n_kv_heads);
  if (options.scale && !(std::abs(*options.scale) <= kMaxScale)) {
    fail("scale is " + text(*options.scale) + ". It must be a number from -1e30 to 1e30.");
  }
  if (options.softcap && !(*options.softcap >= kMinSoftcap && *options.softcap <= kMaxSoftcap)) {
    fail("softcap is " + text(*options.softcap) +
         ". It must be from 1e-30 to 1e30; leave it out for no softcap.");
  }
  if (options.q_global.given() || options.k_global.given() || options.v_global.given()) {
    fail("q_global, k_global and v_global are given to a plan. Give them to attention().");
  }
  for (const SequenceGeometry& s : sequences) {
    if (s.q_len < 0 || s.kv_len < 0) {
      fail("a sequence has q_len " + text(s.q_len) + " and kv_len " + text(s.kv_len) +
           ". Lengths must be 0 or more.");
    }
  }
  const std::int64_t entries = options.mask.rule() ? options.mask.rule()->batch() : 0;
  if (entries != 0 && entries != static_cast<std::int64_t>(sequences.size())) {
    fail("the mask is for " + text(entries) + " batch entries, the batch has " +
         text(static_cast<std::int64_t>(sequences.size())) + ". They must be equal.");
  }
  const std::int64_t heads = options.mask.rule() ? options.mask.rule()->n_heads() : 0;
  if (heads != 0 && heads != shape.n_heads) {
    fail("the mask is for " + text(heads) + " heads, q has " + text(shape.n_heads) +
         ". They must be equal.");
  }
  check_bias(shape, sequences, options);
}

PlanShape check_tensors(const TensorView& q, const TensorView& k, const TensorView& v,
                        const TensorView& out, const TensorView& lse) {
  const TensorChecks checks("attention");
  checks.rank("q", q, "[batch, q_len, n_heads, head_dim]", 4);
  checks.rank("k", k, "[batch, kv_len, n_kv_heads, head_dim]", 4);
  checks.rank("v", v, "[batch, kv_len, n_kv_heads, v_dim]", 4);
  checks.rank("out", out, "[batch, q_len, n_heads, v_dim]", 4);
  checks.equal("batch of k", k.size(0), "batch of q", q.size(0));
  checks.equal("batch of v", v.size(0), "batch of q", q.size(0));
  checks.equal("kv_len of v", v.size(1), "kv_len of k", k.size(1));
  checks.equal("n_kv_heads of v", v.size(2), "n_kv_heads of k", k.size(2));
  check_heads(q.size(2), k.size(2));
  check_dim("head_dim", q.size(3));
  check_dim("v_dim", v.size(3));
  checks.equal("head_dim of k", k.size(3), "head_dim of q", q.size(3));
  checks.equal("batch of out", out.size(0), "batch of q", q.size(0));
  checks.equal("q_len of out", out.size(1), "q_len of q", q.size(1));
  checks.equal("n_heads of out", out.size(2), "n_heads of q", q.size(2));
  checks.equal("v_dim of out", out.size(3), "v_dim of v", v.size(3));
  if (lse.given()) {
    checks.rank("lse", lse, "[batch, n_heads, q_len]", 3);
    checks.equal("batch of lse", lse.size(0), "batch of q", q.size(0));
    checks.equal("n_heads of lse", lse.size(1), "n_heads of q", q.size(2));
    checks.equal("q_len of lse", lse.size(2), "q_len of q", q.size(1));
  }
  check_same_dtype(k, v);
  check_dtypes(q.dtype(), k.dtype(), out.dtype());
  check_lse_dtype(lse);
  const std::pair<const char*, const TensorView*> inputs[] = {{"q", &q}, {"k", &k}, {"v", &v}};
  const std::pair<const char*, const TensorView*> outputs[] = {{"out", &out}, {"lse", &lse}};
  for (const auto& [name, tensor] : inputs) {
    checks.memory(name, *tensor);
  }
  for (const auto& [name, tensor] : outputs) {
    checks.memory(name, *tensor);
    checks.own_places(name, *tensor);
    for (const auto& [input_name, input] : inputs) checks.apart(name, *tensor, input_name, *input);
  }
  checks.apart("out", out, "lse", lse);
  const PlanShape shape{q.size(0), q.size(1), k.size(1), q.size(2), k.size(2),
                        q.size(3), v.size(3), q.dtype(), k.dtype(), out.dtype()};
  check_plan_shape(shape);
  return shape;
}

}  // namespace raptly
