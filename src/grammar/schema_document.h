#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {

// A bound on work that grows faster than the schema: what a client sends may not cost more.
class SchemaBudget {
 public:
  void spend(size_t steps) {
    if (steps > left_) fail("json_schema: too large or too entangled to be compiled");
    left_ -= steps;
  }

 private:
  size_t left_ = 5'000'000;
};

// The schema a client sent, which must outlive this: $ref, the keywords' values with their types checked, and
// Errors that name a keyword's place. Also keeps schemas that are derived from it.
class SchemaDocument {
 public:
  explicit SchemaDocument(const json::value& root) : root_(root) {}

  const json::value& root() const { return root_; }
  // What `schema`'s $ref points at.
  const json::value& target(const json::value& schema) const;

  // Keeps a schema that stands for a part of `origin`, whose place Errors name.
  const json::value& keep(json::value schema, const json::value& origin);

  // "json_schema: #/properties/a: minLength: <reason>"
  [[noreturn]] void refuse(const json::value& schema, std::string_view keyword,
                           std::string_view reason) const;

  // The keyword's value; nullptr: not there. Error: it has another type than the standard gives it.
  const json::value* find(const json::value& schema, std::string_view keyword) const;
  const json::object* find_object(const json::value& schema, std::string_view keyword) const;
  const json::array* find_array(const json::value& schema, std::string_view keyword) const;
  const json::value* find_number(const json::value& schema, std::string_view keyword) const;
  std::optional<std::string_view> find_string(const json::value& schema, std::string_view keyword) const;
  bool is_true(const json::value& schema, std::string_view keyword) const;
  // A count of characters, items or members; those above kHuge are kHuge.
  static constexpr int kHuge = 1 << 30;
  std::optional<int> find_count(const json::value& schema, std::string_view keyword) const;
  std::vector<std::string_view> find_names(const json::value& schema, std::string_view keyword) const;

 private:
  std::string pointer(const json::value& schema) const;
  const json::value* follow(std::string_view pointer) const;
  const json::value* find_anchor(std::string_view name) const;

  const json::value& root_;
  std::deque<std::pair<json::value, const json::value*>> kept_;
};

inline std::string_view view(const json::string& text) { return {text.data(), text.size()}; }
inline std::string_view view(json::string_view text) { return {text.data(), text.size()}; }

}  // namespace chorus
