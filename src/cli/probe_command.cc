// `raptly probe`: what the machine can do.
#include <nlohmann/json.hpp>

#include "cli/bench_attention.h"
#include "cli/model_options.h"
#include "cli/program.h"

namespace raptly {
namespace {

void write_levels(bool json, Console& console) {
  nlohmann::json list = nlohmann::json::array();
  std::string line;
  for (const Isa isa : supported_isas()) {
    list.push_back(isa_name(isa));
    line += (line.empty() ? "" : " ") + std::string(isa_name(isa));
  }
  console.out() << (json ? list.dump() : line) << '\n';
}

}  // namespace

void add_probe(CLI::App& app, Action& action) {
  struct Options {
    bool levels = false;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("probe", "What this machine can do: level, FMA peak, read bandwidth");
  command->add_flag("--levels", options->levels, "Only the levels that it has, narrowest first");
  command->add_flag("--json", options->json, "Write JSON; with --levels a list");
  add_idle_threads_option(*command);
  command->footer(
      "RAPTLY_MAX_ISA=scalar|avx2|avx512|avx512_bf16|amx pins the level of any command.");
  command->callback([options, &action] {
    action = [options](Console& console) {
      if (!options->levels) return probe_command(options->json, console.out());
      write_levels(options->json, console);
      return kExitFine;
    };
  });
}

}  // namespace raptly
