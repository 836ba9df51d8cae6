// A language model in a C++ program: generate MODEL.gguf "Once upon a time"
#include <cstdio>

#include "raptly/error.h"
#include "raptly/generate.h"

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: generate MODEL PROMPT\n");
    return 2;
  }
  auto model = raptly::load_model(argv[1]);
  raptly::ContiguousCache cache(model->cache_shape(raptly::DType::kF16), 2048);
  raptly::GenerateOptions options;
  options.max_tokens = 64;
  options.on_text = [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
  };
  raptly::generate(*model, cache, cache.add_sequence(), argv[2], options);
  std::puts("");
} catch (const raptly::Error& error) {
  std::fprintf(stderr, "generate: %s\n", error.what());
  return 1;
}
