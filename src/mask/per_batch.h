// Lists that a rule keeps for every batch entry or for each, with their ranges; and the checks that
// such rules share.
#pragma once

#include <vector>

#include "mask/placement.h"
#include "mask/rule_arguments.h"

namespace raptly::mask_detail {

class BatchTables {
 public:
  explicit BatchTables(const mask::PerBatch& lists);

  const RangeTable& of(const MaskScope& scope) const {
    return tables_[shared_ ? 0 : static_cast<std::size_t>(scope.batch)];
  }
  std::int64_t batch() const { return shared_ ? 0 : static_cast<std::int64_t>(tables_.size()); }
  std::string to_string() const;
  bool operator==(const BatchTables& other) const;

 private:
  bool shared_;
  std::vector<RangeTable> tables_;
};

// Throws "[rule] there are 2 lists, but batch entry 3 was asked for." and its kind.
void check_entry(const char* rule, std::int64_t entries, const MaskScope& scope);
// The same for heads: "[rule] there are lists for 2 heads, but head 3 was asked for."
void check_head(const char* rule, std::int64_t n_heads, const MaskScope& scope);
// Throws "[rule] name has 3 entries, q_len is 4. They must be equal."
void check_size(const char* rule, const char* name, std::int64_t size, const char* len_name,
                std::int64_t len);
// "[1]" for the list of batch entry 1, nothing for a shared one: what an error puts after a name.
std::string entry_text(const mask::PerBatch& lists, std::size_t entry);
// Throws unless every number of every list is least .. most.
void check_values(const char* rule, const char* name, const mask::PerBatch& lists,
                  std::int64_t least, std::int64_t most);

}  // namespace raptly::mask_detail
