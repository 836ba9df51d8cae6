#include "attention/validate_backward.h"

#include <string>
#include <vector>

#include "attention/global_projections.h"
#include "attention/tensor_checks.h"
#include "attention/validate.h"
#include "mask/bias_terms.h"

namespace raptly {
namespace {

const TensorChecks kChecks("attention_backward");

struct Named {
  const char* name;
  const TensorView* tensor;
};

// f32 or `own`; where the call is f64, f64.
void check_dtype(const char* name, DType given, DType own, const char* like) {
  if (given == own || (given == DType::kF32 && own != DType::kF64)) return;
  const std::string allowed = own == DType::kF64 || own == DType::kF32
                                  ? dtype_name(own)
                                  : std::string("f32, or ") + dtype_name(own);
  kChecks.fail(std::string(name) + " is " + dtype_name(given) + ", " + like + " is " +
                   dtype_name(own) + ". It must be " + allowed + ".",
               ErrorCode::kTypeMismatch);
}

// dbias and dsinks: f32, in f64 calls f64.
void check_sum_dtype(const char* name, DType given, DType q) {
  const DType wanted = q == DType::kF64 ? DType::kF64 : DType::kF32;
  if (given == wanted) return;
  kChecks.fail(std::string(name) + " is " + dtype_name(given) + ". It must be " +
                   dtype_name(wanted) + " where q is " + dtype_name(q) + ".",
               ErrorCode::kTypeMismatch);
}

void check_dlse(const TensorView& dlse, const TensorView& lse, DType q) {
  if (!dlse.given()) return;
  kChecks.same_shape("dlse", dlse, "lse", lse.shape());
  if (dlse.dtype() != DType::kF32 && !(dlse.dtype() == DType::kF64 && q == DType::kF64)) {
    kChecks.fail(std::string("dlse is ") + dtype_name(dlse.dtype()) + ". It must be f32.",
                 ErrorCode::kTypeMismatch);
  }
  kChecks.memory("dlse", dlse);
}

void check_gradient_like(const char* name, const TensorView& gradient, const char* like_name,
                         const TensorView& like) {
  if (!gradient.given()) return;
  kChecks.same_shape(name, gradient, like_name, like.shape());
  check_dtype(name, gradient.dtype(), like.dtype(), like_name);
}

void check_absent(const AttentionGradients& gradients, const AttentionOptions& options) {
  if (gradients.dbias.given() && !options.bias.given()) {
    kChecks.fail("dbias is given, but the options have no bias. Leave dbias out.");
  }
  if (gradients.dsinks.given() && !options.sinks.given()) {
    kChecks.fail("dsinks is given, but the options have no sinks. Leave dsinks out.");
  }
  const bool globals =
      gradients.dq_global.given() || gradients.dk_global.given() || gradients.dv_global.given();
  if (globals && !options.q_global.given()) {
    kChecks.fail(
        "a gradient of q_global, k_global or v_global is given, but the options have none of them. "
        "Leave it out.");
  }
}

void check_places(const BackwardInputs& in, const AttentionGradients& gradients,
                  const AttentionOptions& options) {
  const TensorView outputs[] = {gradients.dq,        gradients.dk,       gradients.dv,
                                gradients.dbias,     gradients.dsinks,   gradients.dq_global,
                                gradients.dk_global, gradients.dv_global};
  const char* const names[] = {"dq",     "dk",        "dv",        "dbias",
                               "dsinks", "dq_global", "dk_global", "dv_global"};
  const TensorView bias = options.bias.given() ? options.bias.terms()->tensor : TensorView();
  const Named inputs[] = {{"dout", &in.dout},
                          {"q", &in.q},
                          {"k", &in.k},
                          {"v", &in.v},
                          {"out", &in.out},
                          {"lse", &in.lse},
                          {"dlse", &in.dlse},
                          {"bias", &bias},
                          {"sinks", &options.sinks},
                          {"q_global", &options.q_global},
                          {"k_global", &options.k_global},
                          {"v_global", &options.v_global}};
  for (std::size_t i = 0; i < std::size(outputs); ++i) {
    kChecks.memory(names[i], outputs[i]);
    kChecks.own_places(names[i], outputs[i]);
    for (const Named& input : inputs) {
      kChecks.apart(names[i], outputs[i], input.name, *input.tensor);
    }
    for (std::size_t j = 0; j < i; ++j) kChecks.apart(names[i], outputs[i], names[j], outputs[j]);
  }
}

}  // namespace

TensorShape bias_gradient_shape(const Bias& bias) {
  const bias_detail::Terms& terms = *bias.terms();
  std::vector<std::int64_t> sizes;
  if (terms.kind == BiasKind::kDense) {
    for (int d = 0; d < 4; ++d) sizes.push_back(terms.tensor.size(d));
  } else if (terms.kind == BiasKind::kDistance) {
    if (terms.slopes.size() > 1) sizes.push_back(static_cast<std::int64_t>(terms.slopes.size()));
    sizes.push_back(terms.n_heads);
  } else if (terms.n_buckets > 0) {
    sizes = {terms.n_buckets, terms.n_heads};
  } else {
    sizes = {terms.n_heads, 2 * terms.reach + 1};
  }
  return TensorShape(sizes);
}

PlanShape check_backward(const BackwardInputs& in, const AttentionGradients& gradients,
                         const AttentionOptions& options) {
  const PlanShape shape = check_tensors(in.q, in.k, in.v, in.out, in.lse);
  if (!in.lse.given()) {
    kChecks.fail("lse is not given. It must be the lse of the same call of attention().");
  }
  kChecks.same_shape("dout", in.dout, "out", in.out.shape());
  check_dtype("dout", in.dout.dtype(), in.q.dtype(), "q");
  kChecks.memory("dout", in.dout);
  check_dlse(in.dlse, in.lse, in.q.dtype());
  const bool globals =
      options.q_global.given() || options.k_global.given() || options.v_global.given();
  if (globals) check_global_projections(in.q, in.k, in.v, in.out, options, in.lse);
  AttentionOptions others = options;
  others.q_global = others.k_global = others.v_global = {};
  check_plan({shape.n_heads, shape.n_kv_heads, shape.head_dim, shape.v_dim, shape.q_dtype,
              shape.kv_dtype, shape.out_dtype},
             std::vector<SequenceGeometry>(static_cast<std::size_t>(shape.batch),
                                           {shape.q_len, shape.kv_len, shape.kv_len - shape.q_len}),
             others);
  check_gradient_like("dq", gradients.dq, "q", in.q);
  check_gradient_like("dk", gradients.dk, "k", in.k);
  check_gradient_like("dv", gradients.dv, "v", in.v);
  check_gradient_like("dq_global", gradients.dq_global, "q", in.q);
  check_gradient_like("dk_global", gradients.dk_global, "k", in.k);
  check_gradient_like("dv_global", gradients.dv_global, "v", in.v);
  check_absent(gradients, options);
  if (gradients.dbias.given()) {
    kChecks.same_shape("dbias", gradients.dbias, "the bias", bias_gradient_shape(options.bias));
    check_sum_dtype("dbias", gradients.dbias.dtype(), in.q.dtype());
  }
  if (gradients.dsinks.given()) {
    kChecks.same_shape("dsinks", gradients.dsinks, "sinks", options.sinks.shape());
    check_sum_dtype("dsinks", gradients.dsinks.dtype(), in.q.dtype());
  }
  check_places(in, gradients, options);
  return shape;
}

}  // namespace raptly
