#include "train/data_json.h"

#include <algorithm>

#include "formats/json.h"
#include "train/data_records.h"

namespace chorus {
namespace {

// Says where within the record it went wrong: the file and its line are named elsewhere.
std::string without_place(std::string_view problem) {
  constexpr std::string_view kWhat = "record: ", kFirstLine = "line 1, ";
  if (problem.starts_with(kWhat)) problem.remove_prefix(kWhat.size());
  if (problem.starts_with(kFirstLine)) problem.remove_prefix(kFirstLine.size());
  return fmt::format("not JSON: {}", problem);
}

void read_json_record(DataFile& file, int line, std::string_view text) {
  if (text.size() > kMaxRecordBytes) {
    file.problem(
        line, fmt::format("a record of {} bytes; at most {} can be learned", text.size(), kMaxRecordBytes));
    return;
  }
  json::value value;
  try {
    value = parse_json(text, "record");
  } catch (const Error& error) {
    file.problem(line, first_bad_line(text) != 0 ? std::string(kNotUtf8) : without_place(error.what()));
    return;
  }
  read_record(file, line, value);
}

// Walks over a text and counts its lines.
struct Cursor {
  std::string_view text;
  size_t at = 0;
  int line = 1;

  bool ended() const { return at >= text.size(); }
  char peek() const { return ended() ? '\0' : text[at]; }
  void step() { line += text[at++] == '\n'; }
  void skip_space() {
    while (!ended() && std::string_view(" \t\r\n").find(text[at]) != std::string_view::npos) step();
  }
};

// One value by its brackets and strings alone; empty: it does not end.
std::string_view take_value(Cursor& cursor) {
  const size_t begin = cursor.at;
  size_t depth = 0;
  bool in_string = false;
  for (; !cursor.ended(); cursor.step()) {
    const char c = cursor.peek();
    if (in_string) {
      if (c == '\\') cursor.step();
      if (cursor.ended()) break;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (depth == 0 && (c == ',' || c == ']')) return cursor.text.substr(begin, cursor.at - begin);
    if (c == '{' || c == '[') ++depth;
    if ((c == '}' || c == ']') && (depth == 0 || --depth == 0)) {
      cursor.step();
      return cursor.text.substr(begin, cursor.at - begin);
    }
  }
  return {};
}

}  // namespace

void read_json_lines(DataFile& file, std::string_view text) {
  for (int number = 1; !text.empty(); ++number) {
    const std::string_view line = take_line(text);
    if (!is_blank(line)) read_json_record(file, number, line);
  }
}

void read_json_values(DataFile& file, std::string_view text) {
  Cursor cursor{text};
  cursor.skip_space();
  const bool array = cursor.peek() == '[';
  if (array) cursor.step();
  for (bool first = true;; first = false) {
    cursor.skip_space();
    if (array && first && cursor.peek() == ']') break;
    const int line = cursor.line;
    const std::string_view value = take_value(cursor);
    if (value.empty()) return file.problem(line, "a record is missing or does not end");
    read_json_record(file, line, value);
    cursor.skip_space();
    if (!array || cursor.peek() == ']') break;
    if (cursor.peek() != ',') return file.problem(cursor.line, "not JSON: no comma between two records");
    cursor.step();
  }
  if (array) cursor.step();
  cursor.skip_space();
  if (!cursor.ended()) file.problem(cursor.line, "not JSON: text after the end of the records");
}

}  // namespace chorus
