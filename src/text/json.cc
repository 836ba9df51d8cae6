#include "text/json.h"

#include <vector>

#include "raptly/error.h"

namespace raptly {
namespace {

using nlohmann::json;

[[noreturn]] void corrupt(const std::string& what, const std::string& message) {
  throw Error(ErrorCode::kCorruptFile, "[text] " + what + " " + message);
}

// Builds the document from nlohmann's SAX events, so that the depth is checked before anything
// grows.
class Builder final : public nlohmann::json_sax<json> {
 public:
  explicit Builder(std::string what) : what_(std::move(what)) {}
  json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(json::object()); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& name) override {
    const auto [member, is_new] = open_.back()->get_ref<json::object_t&>().try_emplace(name);
    if (!is_new) corrupt(what_, "has the key \"" + name + "\" twice in one object.");
    member_ = &member->second;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    std::string why = error.what();  // "[json.exception.parse_error.101] parse error at ...: why"
    if (const std::size_t colon = why.find(": "); colon != std::string::npos) {
      why = why.substr(colon + 2);
    }
    corrupt(what_, "is not JSON at byte " + std::to_string(position) + ": " + why + ".");
  }

 private:
  json* place(json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      open_.back()->push_back(std::move(value));
      return &open_.back()->back();
    }
    *member_ = std::move(value);
    return member_;
  }
  bool add(json value) {
    place(std::move(value));
    return true;
  }
  bool open(json value) {
    if (open_.size() == kMaxJsonDepth) {
      corrupt(what_, "is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels.");
    }
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string what_;
  json root_;
  json* member_ = nullptr;
  std::vector<json*> open_;  // the containers we are in; an open one never moves
};

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& what) {
  if (text.size() > kMaxJsonBytes) {
    corrupt(what, "has " + std::to_string(text.size()) + " bytes. At most 2^28 are allowed.");
  }
  Builder builder(what);
  json::sax_parse(text, &builder);
  return builder.take();
}

}  // namespace raptly
