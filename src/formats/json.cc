#include "formats/json.h"

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/json_events.h"

namespace chorus {
namespace {

// Builds the tree. Boost's own parser keeps the last of two equal keys and says nothing.
struct TreeBuilder {
  json::value_stack stack;
  std::vector<std::unordered_set<std::string>> open_objects;  // the keys so far of each
  std::string problem;

  void begin_object() { open_objects.emplace_back(); }
  void end_object(size_t count) {
    open_objects.pop_back();
    stack.push_object(count);
  }
  void begin_array() {}
  void end_array(size_t count) { stack.push_array(count); }
  void key(std::string_view text) {
    if (!open_objects.back().emplace(text).second)
      problem = fmt::format("the key \"{}\" occurs twice", printable(text));
    stack.push_key({text.data(), text.size()});
  }
  void string(std::string_view text) { stack.push_string({text.data(), text.size()}); }
  void integer(int64_t value) { stack.push_int64(value); }
  void unsigned_integer(uint64_t value) { stack.push_uint64(value); }
  void number(double value) { stack.push_double(value); }
  void boolean(bool value) { stack.push_bool(value); }
  void null() { stack.push_null(); }
};

}  // namespace

void fail_json(std::string_view text, size_t position, std::string_view what, std::string_view problem) {
  const std::string_view before = text.substr(0, position);
  const auto line = 1 + std::ranges::count(before, '\n');
  const size_t column = before.size() - (before.rfind('\n') + 1) + 1;  // npos + 1 is 0
  fail("{}: line {}, column {}: {}", printable(what, 300), line, column, problem);
}

json::value parse_json(std::string_view text, std::string_view what) {
  TreeBuilder builder;
  builder.stack.reset();
  parse_json_events(text, what, builder);
  return builder.stack.release();
}

json::value read_json_file(const std::string& path, size_t limit) {
  return parse_json(read_file(path, limit), path);
}

}  // namespace chorus
