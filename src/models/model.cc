#include "raptly/model.h"

namespace raptly {

CacheShape Model::cache_shape(DType dtype) const {
  const ModelConfig& c = config();
  return {.n_layers = c.n_layers,
          .n_kv_heads = c.n_kv_heads,
          .head_dim = c.head_dim,
          .v_dim = c.head_dim,
          .dtype = dtype};
}

}  // namespace raptly
