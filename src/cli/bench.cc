// `raptly bench model|attention`
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/bench_attention.h"
#include "cli/bench_model.h"
#include "cli/model_options.h"
#include "cli/program.h"

namespace raptly {
namespace {

struct ModelBench {
  ModelOptions model;
  BenchModelOptions bench;
  bool json = false;
};

void write_table(const std::vector<BenchModelResult>& results, int threads, Console& console) {
  console.out() << "test        depth   tokens/s        +-       best  threads\n";
  for (const BenchModelResult& r : results) {
    char line[128];
    std::snprintf(line, sizeof line, "%-8s %8lld %10.1f %9.1f %10.1f %8d\n", r.test.c_str(),
                  static_cast<long long>(r.depth), r.tokens_per_s, r.deviation, r.best, threads);
    console.out() << line;
  }
}

void write_json(const std::vector<BenchModelResult>& results, int threads, Console& console) {
  const auto rounded = [](double x) { return std::round(x * 100) / 100; };
  auto list = nlohmann::ordered_json::array();
  for (const BenchModelResult& r : results) {
    list.push_back({{"test", r.test},
                    {"depth", r.depth},
                    {"tokens_per_s", rounded(r.tokens_per_s)},
                    {"deviation", rounded(r.deviation)},
                    {"best", rounded(r.best)},
                    {"threads", threads}});
  }
  console.out() << list.dump() << '\n';
}

int run_model(ModelBench options, Console& console) {
  const InterruptGuard guard;
  LoadedModel loaded = load(options.model, console);
  options.bench.kv = loaded.kv;
  ProgressBar bar(console, "measuring");
  options.bench.progress = [&](double done) {
    if (InterruptGuard::interrupted()) throw Interrupted{};
    bar.update(done);
  };
  const auto results = bench_model(*loaded.model, options.bench, *loaded.context);
  bar.clear();
  (options.json ? write_json : write_table)(results, loaded.context->threads(), console);
  return kExitFine;
}

void add_model_bench(CLI::App& bench, Action& action) {
  auto options = std::make_shared<ModelBench>();
  options->bench.depths = {0, 4096};
  CLI::App* command = bench.add_subcommand("model", "Tokens a second of a model");
  add_model_options(*command, options->model);
  const auto list = [&](const char* name, std::vector<std::int64_t>& value, const char* help) {
    command->add_option(name, value, help)
        ->delimiter(',')
        ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 24))
        ->type_name("N,N...")
        ->capture_default_str();
  };
  list("-p,--prompt", options->bench.prompts, "Tokens to read at once (pp); 0: leave it out");
  list("-n,--generate", options->bench.generated,
       "Tokens to write one by one (tg); 0: leave it out");
  list("-d,--depth", options->bench.depths, "Tokens in the cache before");
  command->add_option("-r,--repetitions", options->bench.repetitions, "How often, after a warm-up")
      ->check(CLI::Range(1, 1000))
      ->type_name("R")
      ->capture_default_str();
  add_number_options(*command, options->model);
  command->add_flag("--json", options->json, "Write a JSON list");
  command->footer(
      "Tests as llama-bench has them. tokens/s is the mean of the repetitions.\n"
      "Example:\n"
      "  raptly bench model model.gguf -p 512 -n 128 -d 0,4096 --threads 2");
  command->callback([options, &action] {
    action = [options](Console& console) { return run_model(*options, console); };
  });
}

struct AttentionBench {
  BenchAttentionOptions bench;
  BenchCase custom{
      .name = "custom", .q_len = 4096, .kv_len = 0, .n_heads = 8, .n_kv_heads = 0, .mask = ""};
  bool list = false;
};

void add_custom_case(CLI::App& command, BenchCase& custom) {
  const auto number = [&](const char* name, std::int64_t& value, const char* help) {
    command.add_option(name, value, help)
        ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 24))
        ->type_name("N");
  };
  command.add_option("--mask", custom.mask, "A case of your own, f32: its mask, or all")
      ->type_name("TEXT");
  number("--q", custom.q_len, "Queries of it (default 4096)");
  number("--kv", custom.kv_len, "Keys (default: as many)");
  number("--heads", custom.n_heads, "Query heads (default 8)");
  number("--kv-heads", custom.n_kv_heads, "Key heads (default: as many)");
  number("--head-dim", custom.head_dim, "Of q, k and v (default 64)");
}

int run_attention(AttentionBench options, Console& console) {
  BenchCase& custom = options.custom;
  if (options.list) {
    for (const std::string& name : bench_attention_cases()) console.out() << name << '\n';
    return kExitFine;
  }
  if (!custom.mask.empty()) {
    if (custom.kv_len == 0) custom.kv_len = custom.q_len;
    if (custom.n_kv_heads == 0) custom.n_kv_heads = custom.n_heads;
    options.bench.custom = custom;
  }
  const int code = bench_attention_command(options.bench, console.out());
  if (code != kExitWrongUse) return code;
  throw WrongUse{"[cli] no case has '" + options.bench.filter +
                 "' in its name. \"raptly bench attention --list\" lists them."};
}

void add_attention_bench(CLI::App& bench, Action& action) {
  auto options = std::make_shared<AttentionBench>();
  BenchAttentionOptions& attention = options->bench;
  CLI::App* command = bench.add_subcommand("attention", "Attention against the machine's peak");
  command
      ->add_option("--case", attention.filter,
                   "Only the case of this name, or those that have it in their name")
      ->type_name("NAME");
  command->add_flag("--list", options->list, "Write the names of the cases");
  command
      ->add_option("-t,--threads", attention.threads, "Threads, one run each (default: 1 and all)")
      ->delimiter(',')
      ->check(CLI::Range(1, 1024))
      ->type_name("N,N...");
  command->add_option("--seconds", attention.seconds, "Time for each case, at least two runs")
      ->check(CLI::Range(0.0, 3600.0))
      ->type_name("S")
      ->capture_default_str();
  add_custom_case(*command, options->custom);
  command->add_flag("--alone", attention.alone,
                    "Neither standard attention beside it nor the peak of memory");
  command->add_flag("--bars", attention.bars, "Draw time and memory beside standard attention");
  command->add_flag("--json", attention.json, "Write a JSON list");
  command->footer(
      "Each figure is a ratio to the FMA peak or read bandwidth that this run measures.\n"
      "Cases: full causal gqa odd-dims cross draft window longformer bigbird prefix documents\n"
      "  alibi dense-bias llama2-70b mistral-7b falcon-7b ablation bf16 decode paged small, each "
      "with sizes (--list)\n"
      "Examples:\n"
      "  raptly bench attention --case causal-4k-d64 --bars\n"
      "  raptly bench attention --mask 'causal & window(1023, 0)' --q 32768 --heads 4");
  command->callback([options, &action] {
    action = [options](Console& console) { return run_attention(*options, console); };
  });
}

}  // namespace

void add_bench(CLI::App& app, Action& action) {
  CLI::App* command = app.add_subcommand("bench", "Measure speed: of a model, of attention");
  command->require_subcommand(1);
  add_model_bench(*command, action);
  add_attention_bench(*command, action);
}

}  // namespace raptly
