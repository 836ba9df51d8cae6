// How `raptly bench attention` writes a result: a row of a table, bars, JSON.
#pragma once

#include <iosfwd>
#include <nlohmann/json_fwd.hpp>

#include "cli/bench_attention.h"

namespace raptly {

void print_row(const BenchAttentionResult& result, std::ostream& out);
void print_bars(const BenchAttentionResult& result, std::ostream& out);
nlohmann::ordered_json to_json(const BenchAttentionResult& result);

}  // namespace raptly
