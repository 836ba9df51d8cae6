#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <vector>

#include "cli/bench_attention.h"
#include "cli/bench_cases.h"
#include "cli/bench_measure.h"
#include "cli/bench_paged.h"
#include "cli/test_program.h"

namespace raptly {
namespace {

using test::ProgramRun;
using test::run_program;

TEST(BenchAttention, ACaseOfYourOwnReportsWhatScriptsRead) {
  const ProgramRun run = run_program({"bench", "attention", "--mask", "causal & window(7, 0)",
                                      "--q", "96", "--kv", "160", "--heads", "4", "--kv-heads", "2",
                                      "--head-dim", "16", "-t", "2", "--seconds", "0", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto list = nlohmann::json::parse(run.out);
  ASSERT_EQ(list.size(), 1u);
  const auto& row = list[0];
  EXPECT_EQ(row["case"], "custom");
  EXPECT_EQ(row["threads"], 2);
  EXPECT_EQ(row["mask"], "causal & window(7, 0)");
  EXPECT_EQ(row["bias"], "");
  EXPECT_EQ(row["kv_len"], 160);
  EXPECT_EQ(row["n_kv_heads"], 2);
  EXPECT_DOUBLE_EQ(row["density"], 8.0 / 160);
  const double pairs = 96 * 8 * 4;
  EXPECT_NEAR(row["gflops"].get<double>(), 4 * pairs * 16 / row["ms"].get<double>() / 1e6, 1e-6);
  EXPECT_NEAR(row["ratio"].get<double>(),
              row["gflops"].get<double>() / row["peak_gflops"].get<double>(), 1e-9);
  EXPECT_GT(row["standard_ms"], 0);
  EXPECT_GT(row["standard_mb"], 96 * 160 * 4 / 1e6);
  EXPECT_GE(row["extra_mb"], 0);
}

TEST(BenchAttention, NamesAreUniqueAndListed) {
  std::set<std::string> names;
  for (const BenchCase& c : all_bench_cases()) {
    EXPECT_TRUE(names.insert(c.name).second) << c.name;
    EXPECT_EQ(c.n_heads % c.n_kv_heads, 0) << c.name;
  }
  for (const char* mechanism : {"full",
                                "causal",
                                "gqa",
                                "cross",
                                "window",
                                "longformer",
                                "bigbird",
                                "prefix",
                                "documents",
                                "decode",
                                "small",
                                "odd-dims",
                                "llama2-70b",
                                "mistral-7b",
                                "falcon-7b",
                                "ablation",
                                "backward-full",
                                "backward-causal",
                                "backward-window",
                                "backward-alibi"}) {
    EXPECT_TRUE(std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name.starts_with(mechanism);
    })) << mechanism;
  }
  const ProgramRun run = run_program({"bench", "attention", "--list"});
  std::istringstream lines(run.out);
  std::set<std::string> listed;
  for (std::string line; std::getline(lines, line);) listed.insert(line);
  EXPECT_EQ(listed, names);
}

TEST(BenchAttention, ABackwardCaseCountsFiveProducts) {
  const ProgramRun run = run_program({"bench", "attention", "--case", "backward-small-256-b8h8-d64",
                                      "-t", "2", "--seconds", "0", "--json"});
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const auto row = nlohmann::json::parse(run.out)[0];
  EXPECT_EQ(row["backward"], true);
  EXPECT_EQ(row["kernel"].get<std::string>().substr(0, 12), "backward f32");
  const double pairs = 8 * 8 * 256 * 257 / 2;
  EXPECT_NEAR(row["gflops"].get<double>(), 10 * pairs * 64 / row["ms"].get<double>() / 1e6, 1e-6);
  EXPECT_NEAR(row["ratio"].get<double>(),
              row["gflops"].get<double>() / row["peak_gflops"].get<double>(), 1e-9);
}

TEST(BenchAttention, AWrongMaskIsOneLine) {
  const ProgramRun run =
      run_program({"bench", "attention", "--mask", "windw(3)", "--seconds", "0"});
  EXPECT_EQ(run.exit_code, 2);
  EXPECT_NE(run.err.find("windw"), std::string::npos) << run.err;
}

TEST(BenchMeasure, ExtraPeakIsWhatTheRunTouches) {
  constexpr std::size_t kBytes = 64 << 20;
  const double mb = extra_peak_mb([] {
    std::vector<char> memory(kBytes, 1);
    volatile char sink = memory[kBytes / 2];
    static_cast<void>(sink);
  });
  if (mb < 0) GTEST_SKIP() << "this system does not report VmHWM";
#ifdef __SANITIZE_ADDRESS__
  constexpr double kTouched = kBytes * (1 + 1.0 / 8);  // and a byte of shadow for eight
#else
  constexpr double kTouched = kBytes;
#endif
  EXPECT_NEAR(mb, kTouched / 1e6, 5);
  EXPECT_LT(extra_peak_mb([] {}), 1);
}

TEST(BenchMeasure, NoTimeIsTwoRuns) {
  int runs = 0;
  EXPECT_LT(best_time(0, [&] { ++runs; }), 1);
  EXPECT_EQ(runs, 2);  // its own warm-up, and one more
}

// What a paged case measures is the attention of its contiguous twin.
TEST(BenchAttention, PagedCasesComputeTheSame) {
  const BenchCase c{.name = "paged",
                    .batch = 2,
                    .q_len = 3,
                    .kv_len = 100,
                    .n_heads = 4,
                    .n_kv_heads = 2,
                    .kv_dtype = DType::kF16,
                    .mask = "causal",
                    .page_size = 16};
  const BenchTensors data(c), paged_data(c);
  AttentionOptions options;
  options.mask = Mask::parse(c.mask);
  ExecutionContext context(2);
  attention(data.q(), data.k(), data.v(), data.out(), options, {}, context);
  BenchPagedCache paged(c, options);
  paged.run(paged_data, context);
  EXPECT_EQ(std::memcmp(data.out().data(), paged_data.out().data(), 2 * 3 * 4 * 64 * 4), 0);
}

}  // namespace
}  // namespace raptly
