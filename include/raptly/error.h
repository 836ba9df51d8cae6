// The one exception of raptly. Everything that a caller or a file can cause is thrown as an Error
// before any work is done; the library never aborts and never prints.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace raptly {

enum class ErrorCode {
  kInvalidArgument,  // a value, shape or option that is not allowed
  kTypeMismatch,     // dtypes or kinds that do not go together
  kOutOfMemory,      // an allocation failed, or would pass a stated limit
  kNotSupported,     // well formed, but not something raptly does (the message names it)
  kNotFound,         // a file, tensor, key or sequence that is not there
  kCorruptFile,      // a file that breaks its own format (the message has the byte offset)
  kIo,               // the operating system refused to read or write
  kContextFull,      // no room left for more tokens
};

// "invalid_argument" and so on; what Python shows as `.code`.
const char* error_code_name(ErrorCode code);

class Error : public std::exception {
 public:
  // message: "[where] what was given. What is allowed."
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}
  ErrorCode code() const noexcept { return code_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  ErrorCode code_;
  std::string message_;
};

}  // namespace raptly
