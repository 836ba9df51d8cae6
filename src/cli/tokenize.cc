#include "cli/tokenize.h"

#include <iterator>
#include <limits>
#include <vector>

#include "raptly/error.h"
#include "text/json.h"

namespace raptly {
namespace {

std::string read_all(std::istream& in) {
  std::string bytes{std::istreambuf_iterator<char>(in), {}};
  if (in.bad()) throw Error(ErrorCode::kIo, "[cli] standard input could not be read.");
  return bytes;
}

nlohmann::json parse_list(const std::string& text) {
  nlohmann::json list;
  try {
    list = parse_json(text, "the list of ids");
  } catch (const Error& error) {  // here it is an argument, not a file
    throw Error(ErrorCode::kInvalidArgument, error.what());
  }
  if (!list.is_array()) {
    throw Error(ErrorCode::kInvalidArgument,
                "[cli] --decode was given " + std::string(list.type_name()) +
                    ". It takes a JSON list of ids, such as [1, 2, 3].");
  }
  return list;
}

std::vector<TokenId> read_ids(const std::string& text) {
  std::vector<TokenId> ids;
  for (const nlohmann::json& id : parse_list(text)) {
    constexpr TokenId kMax = std::numeric_limits<TokenId>::max();
    if (!id.is_number_integer() || id < 0 || id > kMax) {
      throw Error(ErrorCode::kInvalidArgument, "[cli] element " + std::to_string(ids.size()) +
                                                   " of the list is " + id.dump() +
                                                   ". Ids are whole numbers from 0 on.");
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

void write_ids(const std::vector<TokenId>& ids, std::ostream& out) {
  const char* before = "[";
  for (const TokenId id : ids) {
    out << before << id;
    before = ", ";
  }
  out << (ids.empty() ? "[]\n" : "]\n");
}

}  // namespace

int tokenize_command(const Tokenizer& tokenizer, const TokenizeOptions& options, std::istream& in,
                     std::ostream& out) {
  const std::string text = options.text == "-" ? read_all(in) : options.text;
  if (options.decode) {
    const std::string said = tokenizer.decode(read_ids(text), options.special);
    if (options.json) {
      out << nlohmann::json(said).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace)
          << '\n';
    } else {
      out << said;
    }
  } else {
    const auto specials = options.special ? SpecialTokens::kParse : SpecialTokens::kText;
    write_ids(tokenizer.encode(text, specials, options.special), out);
  }
  out.flush();
  if (!out) throw Error(ErrorCode::kIo, "[cli] standard output could not be written.");
  return 0;
}

}  // namespace raptly
