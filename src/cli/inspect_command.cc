#include "cli/inspect.h"
#include "cli/model_options.h"
#include "cli/program.h"

namespace raptly {

void add_inspect(CLI::App& app, Action& action) {
  struct Options {
    std::string path;
    bool json = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("inspect", "What is in a model file");
  command->add_option("file", options->path, "A .gguf or .safetensors file, or a model directory")
      ->required()
      ->type_name("PATH");
  command->add_flag("--json", options->json, "Write one JSON object");
  add_idle_threads_option(*command);
  command->footer(
      "Examples:\n"
      "  raptly inspect model.gguf\n"
      "  raptly inspect model.gguf --json | jq .metadata");
  command->callback([options, &action] {
    action = [options](Console& console) {
      return inspect_command(options->path, options->json, console.out());
    };
  });
}

}  // namespace raptly
