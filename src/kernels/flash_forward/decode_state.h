// The softmax state that a decode split leaves behind, for up to kMaxDecodeRows rows.
#pragma once

#include "kernels/flash_forward/flash_forward.h"
#include "kernels/flash_forward/workspace.h"

namespace raptly {

template <class Float>
struct DecodeState {
  Float* m;  // [kMaxDecodeRows]
  Float* l;  // [kMaxDecodeRows]
  Float* o;  // [rows][v_dim rounded up to 16]
};
template <class Float>
DecodeState<Float> decode_state(Float* at) {
  return {at, at + kMaxDecodeRows, at + 2 * kMaxDecodeRows};
}

}  // namespace raptly
