#include "mask/per_batch.h"

namespace raptly {
namespace mask_detail {

BatchTables::BatchTables(const mask::PerBatch& lists) : shared_(lists.is_shared()) {
  tables_.reserve(lists.rows().size());
  for (const std::vector<std::int64_t>& row : lists.rows()) tables_.emplace_back(row);
}

std::string BatchTables::to_string() const {
  if (shared_) return list_text(tables_.front().values());
  std::vector<std::vector<std::int64_t>> rows;
  for (const RangeTable& table : tables_) rows.push_back(table.values());
  return list_text(rows);
}

bool BatchTables::operator==(const BatchTables& other) const {
  if (shared_ != other.shared_ || tables_.size() != other.tables_.size()) return false;
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    if (tables_[i].values() != other.tables_[i].values()) return false;
  }
  return true;
}

void check_entry(const char* rule, std::int64_t entries, const MaskScope& scope) {
  if (entries == 0 || scope.batch < entries) return;
  fail(rule, "there are lists for " + std::to_string(entries) + " batch entries, but entry " +
                 std::to_string(scope.batch) + " was asked for. Give one for each entry.");
}

void check_head(const char* rule, std::int64_t n_heads, const MaskScope& scope) {
  if (n_heads == 0 || scope.head < n_heads) return;
  fail(rule, "there are lists for " + std::to_string(n_heads) + " heads, but head " +
                 std::to_string(scope.head) + " was asked for. Give one for each head.");
}

void check_size(const char* rule, const char* name, std::int64_t size, const char* len_name,
                std::int64_t len) {
  if (size == len) return;
  fail(rule, std::string(name) + " has " + std::to_string(size) + " entries, " + len_name + " is " +
                 std::to_string(len) + ". They must be equal.");
}

std::string entry_text(const mask::PerBatch& lists, std::size_t entry) {
  std::string text;
  if (!lists.is_shared()) text.append("[").append(std::to_string(entry)).append("]");
  return text;
}

void check_values(const char* rule, const char* name, const mask::PerBatch& lists,
                  std::int64_t least, std::int64_t most) {
  for (std::size_t b = 0; b < lists.rows().size(); ++b) {
    const std::vector<std::int64_t>& row = lists.rows()[b];
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (row[i] >= least && row[i] <= most) continue;
      fail(rule, name + entry_text(lists, b) + "[" + std::to_string(i) + "] is " +
                     std::to_string(row[i]) + ". It must be " + std::to_string(least) +
                     (most == kMaxPosition ? " .. 2^48." : " .. " + std::to_string(most) + "."));
    }
  }
}

}  // namespace mask_detail

mask::PerBatch::PerBatch(std::vector<std::int64_t> shared) { rows_.push_back(std::move(shared)); }
mask::PerBatch::PerBatch(std::initializer_list<std::int64_t> shared)
    : PerBatch(std::vector<std::int64_t>(shared)) {}
mask::PerBatch::PerBatch(std::initializer_list<std::initializer_list<std::int64_t>> rows)
    : PerBatch(std::vector<std::vector<std::int64_t>>(rows.begin(), rows.end())) {}
mask::PerBatch::PerBatch(std::vector<std::vector<std::int64_t>> rows)
    : rows_(std::move(rows)), shared_(false) {
  if (rows_.empty()) {
    mask_detail::fail("mask", "there are lists for 0 batch entries. Give at least one list.");
  }
}

}  // namespace raptly
