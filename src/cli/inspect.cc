#include "cli/inspect.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <type_traits>

#include "formats/checkpoint.h"

namespace raptly {
namespace {

using json = nlohmann::ordered_json;

constexpr std::size_t kLongText = 60, kLongList = 6, kLongJsonList = 32;

const char* format_name(CheckpointFormat format) {
  switch (format) {
    case CheckpointFormat::kGguf:
      return "GGUF";
    case CheckpointFormat::kHfDirectory:
      return "Hugging Face directory";
    case CheckpointFormat::kSafetensors:
      return "safetensors";
  }
  return "";
}

// One line, printable, at most kLongText bytes, cut between characters.
std::string short_text(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (out.size() >= kLongText && (c & 0xc0) != 0x80) return out + "...";
    out += static_cast<unsigned char>(c) < 32 || c == 127 ? ' ' : c;
  }
  return out;
}

std::string number_text(double x) {
  char text[32];
  std::snprintf(text, sizeof(text), "%g", x);
  return text;
}

template <class T>
std::string one_text(const T& value) {
  if constexpr (std::is_same_v<T, std::string>) {
    std::string quoted(1, '"');
    quoted += short_text(value);
    quoted += '"';
    return quoted;
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, double>) {
    return number_text(value);
  } else {
    return std::to_string(value);
  }
}

std::string value_text(const MetaValue& value) {
  return std::visit(
      [](const auto& v) -> std::string {
        using T = std::remove_cvref_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return "null";
        } else if constexpr (requires { v.begin(); } && !std::is_same_v<T, std::string>) {
          std::string text = "[";
          for (std::size_t i = 0; i < std::min(v.size(), kLongList); ++i) {
            text += (i == 0 ? "" : ", ") + one_text(typename T::value_type(v[i]));
          }
          return text +
                 (v.size() > kLongList ? ", ... " + std::to_string(v.size()) + " in all]" : "]");
        } else {
          return one_text(v);
        }
      },
      value);
}

json value_json(const MetaValue& value) {
  return std::visit(
      [](const auto& v) -> json {
        using T = std::remove_cvref_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::monostate>) {
          return nullptr;
        } else if constexpr (requires { v.begin(); } && !std::is_same_v<T, std::string>) {
          if (v.size() > kLongJsonList) return {{"length", v.size()}};
          json list = json::array();
          for (std::size_t i = 0; i < v.size(); ++i) list.push_back(typename T::value_type(v[i]));
          return list;
        } else {
          return v;
        }
      },
      value);
}

std::string shape_text(const CheckpointTensor& tensor) {
  std::string text = "[";
  for (const std::int64_t size : tensor.shape)
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  return text + "]";
}

double elements_of(const CheckpointTensor& tensor) {
  double n = 1;
  for (const std::int64_t size : tensor.shape) n *= static_cast<double>(size);
  return n;
}

void print_text(const Checkpoint& checkpoint, std::ostream& out) {
  std::size_t key_width = 0, name_width = 0;
  for (const auto& [key, value] : checkpoint.metadata().all())
    key_width = std::max(key_width, short_text(key).size());
  for (const CheckpointTensor& t : checkpoint.tensors())
    name_width = std::max(name_width, short_text(t.name).size());
  out << format_name(checkpoint.format()) << ", " << checkpoint.tensors().size()
      << (checkpoint.tensors().size() == 1 ? " tensor, " : " tensors, ") << checkpoint.file_bytes()
      << " bytes\n\n";
  for (const auto& [key, value] : checkpoint.metadata().all()) {
    const std::string name = short_text(key);
    out << name << std::string(key_width + 2 - name.size(), ' ') << value_text(value) << '\n';
  }
  out << '\n';
  std::map<std::string, std::pair<double, double>> totals;  // by type: elements, bytes
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    char line[96];
    const char* type = weight_type_info(t.type).name;
    const std::string name = short_text(t.name), shape = shape_text(t);
    std::snprintf(line, sizeof(line), "  %-5s %-18s %12zu bytes", type,
                  shape.size() < 40 ? shape.c_str() : "many dimensions", t.data.size());
    out << name << std::string(name_width - name.size(), ' ') << line << '\n';
    totals[type].first += elements_of(t);
    totals[type].second += static_cast<double>(t.data.size());
  }
  out << '\n';
  for (const auto& [type, total] : totals) {
    char line[96];
    std::snprintf(line, sizeof(line), "%-5s %10.2f M weights %10.2f MB\n", type.c_str(),
                  total.first / 1e6, total.second / 1e6);
    out << line;
  }
}

void print_json(const Checkpoint& checkpoint, std::ostream& out) {
  json metadata = json::object(), tensors = json::array();
  for (const auto& [key, value] : checkpoint.metadata().all()) metadata[key] = value_json(value);
  for (const CheckpointTensor& t : checkpoint.tensors()) {
    tensors.push_back({{"name", t.name},
                       {"type", weight_type_info(t.type).name},
                       {"shape", t.shape},
                       {"bytes", t.data.size()}});
  }
  out << json{{"format", format_name(checkpoint.format())},
              {"bytes", checkpoint.file_bytes()},
              {"metadata", metadata},
              {"tensors", tensors}}
             .dump(-1, ' ', false, json::error_handler_t::replace)
      << '\n';
}

}  // namespace

int inspect_command(const std::string& path, bool as_json, std::ostream& out) {
  const auto checkpoint = open_checkpoint(path);
  (as_json ? print_json : print_text)(*checkpoint, out);
  return 0;
}

}  // namespace raptly
