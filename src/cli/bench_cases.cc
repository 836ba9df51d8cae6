#include "cli/bench_cases.h"

namespace raptly {
namespace {

std::string length_name(std::int64_t n) {
  return n % 1024 == 0 ? std::to_string(n / 1024) + "k" : std::to_string(n);
}

void add_forward(std::vector<BenchCase>& cases) {
  for (const std::int64_t dim : {64, 128}) {
    const std::string d = "-d" + std::to_string(dim);
    for (const std::int64_t n : {2048, 4096}) {
      for (const bool head_major : {false, true}) {
        cases.push_back({"full-" + length_name(n) + d + (head_major ? "-bhsd" : ""), 1, n, n, 16,
                         16, dim, DType::kF32, "all", head_major});
      }
    }
    cases.push_back({"full-8k" + d, 1, 8192, 8192, 4, 4, dim});
    cases.push_back({"causal-4k" + d, 1, 4096, 4096, 16, 16, dim, DType::kF32, "causal"});
    cases.push_back(
        {"causal-4k" + d + "-bf16", 1, 4096, 4096, 16, 16, dim, DType::kBf16, "causal"});
    cases.push_back({"full-4k" + d + "-bf16", 1, 4096, 4096, 8, 8, dim, DType::kBf16});
    cases.push_back({"full-4k" + d + "-f16", 1, 4096, 4096, 8, 8, dim, DType::kF16});
    cases.push_back({"gqa-2k" + d, 1, 2048, 2048, 32, 8, dim, DType::kF32, "causal"});
  }
  for (const std::int64_t dim : {80, 96, 256, 576}) {
    cases.push_back({"odd-dims-2k-d" + std::to_string(dim), 1, 2048, 2048, 4, 4, dim});
  }
  cases.push_back({"cross-512x8k-d64", 1, 512, 8192, 8, 8, 64});
  for (const std::int64_t n : {2, 4, 8, 15}) {
    cases.push_back(
        {"draft-" + std::to_string(n) + "x4k-d128", 1, n, 4096, 8, 8, 128, DType::kF32, "causal"});
  }
}

// Documents of 0.3k to 1k tokens, packed into one sequence.
std::string packed_documents(std::int64_t n) {
  std::string ids;
  for (std::int64_t i = 0, document = 0, left = 300; i < n; ++i) {
    ids += (i == 0 ? "" : ", ") + std::to_string(document);
    if (--left == 0) left = 300 + 100 * (++document * 5 % 8);
  }
  return "causal & documents([" + ids + "])";
}

// Time against length has to be a straight line for the sparse ones, and "full" is what they save.
void add_masks(std::vector<BenchCase>& cases) {
  const auto add = [&](const std::string& name, std::int64_t n, std::int64_t heads,
                       const std::string& mask) {
    cases.push_back({.name = name + "-" + length_name(n) + "-d64",
                     .q_len = n,
                     .kv_len = n,
                     .n_heads = heads,
                     .n_kv_heads = heads,
                     .mask = mask});
  };
  for (const std::int64_t n : {4096, 16384, 65536}) {
    add("window-512", n, 2, "causal & window(511, 0)");
    add("longformer", n, 2, "longformer(512, [0])");
    add("bigbird", n, 2, "bigbird(64, 3, 0)");
  }
  add("window-256", 16384, 2, "causal & window(255, 0)");
  add("full", 16384, 2, "all");
  add("full", 65536, 1, "all");
  add("prefix", 4096, 8, "prefix(1024)");
  add("documents", 4096, 8, packed_documents(4096));
}

// full-4k-d64, causal-4k-d64 and their bf16 kin have none.
void add_biases(std::vector<BenchCase>& cases) {
  const auto add = [&](const std::string& bias, const std::string& mask, DType dtype) {
    const std::string name = (bias == "dense" ? "dense-bias" : bias) +
                             (mask == "all" ? "" : "-causal") + "-4k-d64" +
                             (dtype == DType::kBf16 ? "-bf16" : "");
    cases.push_back({.name = name,
                     .q_len = 4096,
                     .kv_len = 4096,
                     .kv_dtype = dtype,
                     .mask = mask,
                     .q_dtype = dtype,
                     .bias = bias});
  };
  for (const char* bias : {"alibi", "relative", "dense"}) {
    add(bias, "all", DType::kF32);
    add(bias, "causal", DType::kF32);
    add(bias, "all", DType::kBf16);
  }
}

void add_models(std::vector<BenchCase>& cases) {
  const auto add = [&](const std::string& name, std::int64_t n, std::int64_t heads,
                       std::int64_t kv_heads, std::int64_t dim, const std::string& mask) {
    cases.push_back({.name = name + "-" + length_name(n),
                     .q_len = n,
                     .kv_len = n,
                     .n_heads = heads,
                     .n_kv_heads = kv_heads,
                     .head_dim = dim,
                     .mask = mask});
  };
  add("llama2-70b", 2048, 64, 8, 128, "causal");
  add("mistral-7b", 8192, 32, 8, 128, "causal & mistral(4096)");
  add("falcon-7b", 2048, 71, 1, 64, "causal");
}

// One head shows what splitting over batch x heads only leaves idle.
void add_ablation(std::vector<BenchCase>& cases) {
  for (const std::int64_t heads : {16, 1}) {
    for (const char* mask : {"all", "causal"}) {
      cases.push_back({.name = std::string("ablation-") + (mask[0] == 'a' ? "full" : mask) +
                               "-4k-d64-h" + std::to_string(heads),
                       .q_len = 4096,
                       .kv_len = 4096,
                       .n_heads = heads,
                       .n_kv_heads = heads,
                       .mask = mask,
                       .flash1 = true});
    }
  }
}

// Everything bf16: dot products of bf16 pairs, where the level has them.
void add_bf16(std::vector<BenchCase>& cases) {
  for (const std::int64_t dim : {64, 128}) {
    for (const std::int64_t n : {2048, 4096}) {
      for (const char* mask : {"all", "causal"}) {
        for (const bool head_major : {false, true}) {
          cases.push_back({std::string("bf16-") + (mask[0] == 'a' ? "full-" : "causal-") +
                               length_name(n) + "-d" + std::to_string(dim) +
                               (head_major ? "-bhsd" : ""),
                           1, n, n, 16, 16, dim, DType::kBf16, mask, head_major, DType::kBf16});
        }
      }
    }
  }
  for (const std::int64_t heads : {8, 32, 64}) {
    cases.push_back({"bf16-decode-8k-group" + std::to_string(heads / 8), 1, 1, 8192, heads, 8, 128,
                     DType::kBf16, "causal", true, DType::kBf16});
  }
}

void add_backward(std::vector<BenchCase>& cases) {
  const auto add = [&](const std::string& name, std::int64_t n, std::int64_t heads,
                       const std::string& mask) -> BenchCase& {
    return cases.emplace_back(BenchCase{.name = "backward-" + name,
                                        .q_len = n,
                                        .kv_len = n,
                                        .n_heads = heads,
                                        .n_kv_heads = heads,
                                        .mask = mask,
                                        .backward = true});
  };
  for (const std::int64_t dim : {64, 128}) {
    const std::string d = "-4k-d" + std::to_string(dim);
    for (const char* mask : {"all", "causal"}) {
      const std::string name = (mask[0] == 'a' ? "full" : mask) + d;
      add(name, 4096, 8, mask).head_dim = dim;
      BenchCase& bf16 = add(name + "-bf16", 4096, 8, mask);
      bf16.head_dim = dim;
      bf16.q_dtype = bf16.kv_dtype = DType::kBf16;
    }
  }
  BenchCase& gqa = add("gqa-2k-d128", 2048, 32, "causal");
  gqa.n_kv_heads = 8;
  gqa.head_dim = 128;
  add("odd-dims-2k-d80", 2048, 8, "causal").head_dim = 80;
  add("one-head-causal-8k-d64", 8192, 1, "causal");
  add("one-head-causal-32k-d64", 32768, 1, "causal");
  add("full-16k-d64", 16384, 1, "all");
  add("window-512-16k-d64", 16384, 1, "causal & window(511, 0)");
  add("longformer-16k-d64", 16384, 1, "longformer(512, [0])");
  add("bigbird-16k-d64", 16384, 1, "bigbird(64, 3, 0)");
  for (const char* bias : {"alibi", "relative", "dense"}) {
    add(std::string(bias) + (bias[0] == 'd' ? "-bias" : "") + "-causal-4k-d64", 4096, 4, "causal")
        .bias = bias;
  }
  BenchCase& small = add("small-256-b8h8-d64", 256, 8, "causal");
  small.batch = 8;
}

// Beside decode-8k-gqa4-* and gqa-2k-d128: 16 tokens a page, in no order.
void add_paged(std::vector<BenchCase>& cases) {
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    cases.push_back({.name = std::string("paged-decode-8k-gqa4-") + dtype_name(dtype),
                     .kv_len = 8192,
                     .n_heads = 32,
                     .n_kv_heads = 8,
                     .head_dim = 128,
                     .kv_dtype = dtype,
                     .mask = "causal",
                     .page_size = 16});
  }
  cases.push_back({.name = "paged-gqa-2k-d128",
                   .q_len = 2048,
                   .kv_len = 2048,
                   .n_heads = 32,
                   .n_kv_heads = 8,
                   .head_dim = 128,
                   .mask = "causal",
                   .page_size = 16});
}

void add_decode(std::vector<BenchCase>& cases) {
  struct Heads {
    const char* name;
    std::int64_t q, kv;
  };
  const auto add = [&](std::int64_t n, const Heads& heads, std::int64_t dim, DType dtype,
                       bool head_major) {
    cases.push_back({"decode-" + length_name(n) + "-" + heads.name + "-" + dtype_name(dtype) +
                         (dim == 128 ? "" : "-d" + std::to_string(dim)) +
                         (head_major ? "" : "-bshd"),
                     1, 1, n, heads.q, heads.kv, dim, dtype, "causal", head_major});
  };
  const Heads mha{"mha", 8, 8}, gqa4{"gqa4", 32, 8}, gqa8{"gqa8", 64, 8}, mqa8{"mqa8", 8, 1};
  for (const DType dtype : {DType::kF32, DType::kBf16, DType::kF16}) {
    for (const std::int64_t n : {8192, 65536}) {
      for (const Heads& heads : {mha, gqa4, gqa8}) add(n, heads, 128, dtype, true);
    }
    for (const Heads& heads : {mha, gqa4}) {
      add(8192, heads, 128, dtype, false);
      add(8192, heads, 64, dtype, true);
    }
    add(65536, mqa8, 128, dtype, true);
  }
}

void add_small(std::vector<BenchCase>& cases) {
  struct Batch {
    std::int64_t batch, heads;
  };
  for (const std::int64_t dim : {64, 128}) {
    for (const Batch& b : {Batch{1, 1}, Batch{1, 12}, Batch{8, 8}}) {
      for (const std::int64_t n : {1, 2, 7, 16, 33, 64, 128, 300, 512}) {
        cases.push_back({"small-" + std::to_string(n) + "-b" + std::to_string(b.batch) + "h" +
                             std::to_string(b.heads) + "-d" + std::to_string(dim),
                         b.batch, n, n, b.heads, b.heads, dim});
      }
    }
  }
}

}  // namespace

std::vector<BenchCase> all_bench_cases() {
  std::vector<BenchCase> cases;
  add_forward(cases);
  add_masks(cases);
  add_biases(cases);
  add_models(cases);
  add_ablation(cases);
  add_bf16(cases);
  add_backward(cases);
  add_decode(cases);
  add_paged(cases);
  add_small(cases);
  return cases;
}

}  // namespace raptly
