// The Llama family: Llama 2 and 3, SmolLM2, Mistral (its window as a mask), Qwen2 (biases on q, k,
// v).
//   x = embedding[token];  each layer: x += attention(norm(x)), x += mlp(norm(x));  logits = W
//   norm(x)
// Sources: Touvron et al., arXiv:2302.13971; Jiang et al., arXiv:2310.06825; Yang et al.,
// arXiv:2407.10671.
#pragma once

#include <memory>

#include "formats/checkpoint.h"
#include "raptly/model.h"

namespace raptly {

// Takes the checkpoint over: an embedding matrix that is not tied is read from its file.
std::unique_ptr<Model> load_llama(std::unique_ptr<Checkpoint> checkpoint,
                                  const LoadOptions& options, ExecutionContext& context);

}  // namespace raptly
