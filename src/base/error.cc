#include "raptly/error.h"

namespace raptly {

const char* error_code_name(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid_argument";
    case ErrorCode::kTypeMismatch:
      return "type_mismatch";
    case ErrorCode::kOutOfMemory:
      return "out_of_memory";
    case ErrorCode::kNotSupported:
      return "not_supported";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kCorruptFile:
      return "corrupt_file";
    case ErrorCode::kIo:
      return "io";
    case ErrorCode::kContextFull:
      return "context_full";
  }
  return "unknown";
}

}  // namespace raptly
