#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/mask_picture.h"
#include "cli/model_options.h"
#include "cli/option_checks.h"
#include "cli/program.h"

namespace raptly {
namespace {

struct Options {
  std::string text;
  MaskShape shape{.q_len = 1024, .kv_len = -1};
  std::int64_t entry = 0, head = 0;
  std::string png;
  bool json = false;
};

// Of the terminal that stdout is, or of $COLUMNS; 80 where neither says.
int terminal_columns() {
  winsize window{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) return window.ws_col;
  const char* columns = std::getenv("COLUMNS");
  const int given = columns ? std::atoi(columns) : 0;
  return given > 0 ? std::min(given, 1000) : 80;
}

void check_drawn(const char* option, std::int64_t drawn, std::int64_t n) {
  if (drawn < n) return;
  throw WrongUse{std::string(option) + " is " + std::to_string(drawn) + ", the mask has " +
                 std::to_string(n) + ". They count from 0."};
}

nlohmann::json to_json(const Mask& mask, const MaskReport& r) {
  return {{"mask", mask.to_string()},
          {"q_len", r.shape.q_len},
          {"kv_len", r.shape.kv_len},
          {"batch", r.shape.batch},
          {"n_heads", r.shape.n_heads},
          {"head_dim", r.shape.head_dim},
          {"density", r.density},
          {"pairs", r.pairs},
          {"visible_pairs", r.visible_pairs},
          {"tiles", r.tiles()},
          {"tiles_full", r.tiles_full},
          {"tiles_partial", r.tiles_partial},
          {"tiles_empty", r.tiles_empty},
          {"tiles_again", r.tiles_again},
          {"share_skipped", r.share_skipped},
          {"flops", r.flops},
          {"flops_dense", r.flops_dense},
          {"flops_saved", r.flops_dense - r.flops},
          {"bytes", r.bytes},
          {"plans", r.n_plans},
          {"plan_bytes", r.plan_bytes}};
}

// "-": all of stdin, up to a byte more than a mask's text may have.
std::string text_of(const std::string& given) {
  if (given != "-") return given;
  std::string text((std::size_t{1} << 20) + 1, '\0');
  std::cin.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(std::cin.gcount()));
  return text;
}

int run(Options options, Console& console) {
  MaskShape& shape = options.shape;
  if (shape.kv_len < 0) shape.kv_len = shape.q_len;
  shape.v_dim = shape.head_dim;
  const Mask mask = Mask::parse(text_of(options.text));
  const MaskReport report = mask.explain(shape);
  check_drawn("--entry", options.entry, report.shape.batch);
  check_drawn("--head", options.head, report.shape.n_heads);
  const MaskPictureSize size{shape.q_len, shape.kv_len, options.entry, options.head};
  if (!options.png.empty()) write_mask_png(mask, size, options.png);
  if (options.json) {
    console.out() << to_json(mask, report).dump() << "\n";
    return kExitFine;
  }
  constexpr std::size_t kShown = 200;  // of a mask with long lists
  const std::string text = mask.to_string();
  console.out() << (text.size() > kShown ? text.substr(0, kShown) + "..." : text) << "\n"
                << "keys from left to right, queries from top to bottom\n"
                << mask_text_picture(mask, size, std::min(terminal_columns(), 100))
                << report.to_string();
  return kExitFine;
}

}  // namespace

void add_mask(CLI::App& app, Action& action) {
  auto options = std::make_shared<Options>();
  constexpr std::int64_t kMost = std::int64_t{1} << 20;
  const CLI::Validator length = whole_number(0, kMost);
  CLI::App* command = app.add_subcommand("mask", "Draw a mask and say what it costs");
  command
      ->add_option("mask", options->text,
                   "The mask as text (docs/masks.md lists the rules); -: from stdin")
      ->required()
      ->type_name("MASK");
  command->add_option("--q", options->shape.q_len, "Queries")->check(length)->capture_default_str();
  command->add_option("--kv", options->shape.kv_len, "Keys (default: as many as queries)")
      ->check(length);
  command->add_option("--batch", options->shape.batch, "Batch entries (0: as the mask says, or 1)")
      ->check(length)
      ->capture_default_str();
  command->add_option("--heads", options->shape.n_heads, "Heads (0: as the mask says, or 1)")
      ->check(whole_number(0, 4096))
      ->capture_default_str();
  command->add_option("--head-dim", options->shape.head_dim, "For the FLOPs and bytes")
      ->check(whole_number(1, 1024))
      ->capture_default_str();
  command->add_option("--entry", options->entry, "The batch entry to draw")
      ->check(length)
      ->capture_default_str();
  command->add_option("--head", options->head, "The head to draw")
      ->check(length)
      ->capture_default_str();
  command->add_option("--png", options->png, "Write the picture as a PNG file too")
      ->type_name("FILE");
  command->add_flag("--json", options->json, "Write one JSON object instead of picture and text");
  add_idle_threads_option(*command);
  command->footer(
      "Examples:\n"
      "  raptly mask 'causal & window(256, 0)'\n"
      "  raptly mask 'longformer(512, [0])' --q 4096 --png longformer.png\n"
      "  raptly mask 'causal & documents([0, 0, 1, 1, 1])' --q 5\n"
      "  raptly mask 'bigbird(64, 3, seed=0)' --heads 12 --head 5 --json | jq .density");
  command->callback([options, &action] {
    action = [options](Console& console) { return run(*options, console); };
  });
}

}  // namespace raptly
