#include "train/data_csv.h"

#include <algorithm>

#include "train/data_records.h"

namespace chorus {
namespace {

constexpr std::string_view kColumns =
    "\"prompt\" and \"completion\"; \"instruction\" and \"output\"; \"user\" and \"assistant\"; or \"text\"";

// A field in quotes, from behind the first: up to behind the last.
std::string take_quoted(std::string_view& text, int& line) {
  std::string field;
  while (true) {
    const size_t quote = text.find('"');
    if (quote == std::string_view::npos) {
      text = {};
      fail("a quoted field does not end");
    }
    line += static_cast<int>(std::ranges::count(text.substr(0, quote), '\n'));
    field += text.substr(0, quote);
    text.remove_prefix(quote + 1);
    if (!text.starts_with('"')) return field;
    field += '"';
    text.remove_prefix(1);
  }
}

bool at_line_end(std::string_view text) {
  return text.empty() || text.starts_with('\n') || text.starts_with("\r\n");
}

void skip_rest_of_line(std::string_view& text, int& line) {
  if (text.find('\n') != std::string_view::npos) ++line;
  take_line(text);
}

// The cells of a row by their columns; user and assistant become turns.
json::object record_of(const std::vector<std::string>& names, const std::vector<std::string>& cells) {
  json::object record;
  for (size_t i = 0; i < names.size(); ++i) record[names[i]] = cells[i];
  if (form_of(record) || !record.contains("user") || !record.contains("assistant")) return record;
  json::array turns;
  for (const char* role : {"system", "user", "assistant"}) {
    const json::value* text = record.if_contains(role);
    const bool left_out =
        text == nullptr || (role == std::string_view("system") && text->get_string().empty());
    if (!left_out) turns.push_back({{"role", role}, {"content", *text}});
  }
  return {{"messages", std::move(turns)}};
}

void check_header(const DataFile& file, const std::vector<std::string>& names) {
  const auto has = [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); };
  const bool good = (has("prompt") && has("completion")) || (has("instruction") && has("output")) ||
                    (has("user") && has("assistant")) || has("text");
  if (good) return;
  fail("{}: the header has the columns {}; must have {}", printable(file.path, 300),
       printable(fmt::format("{}", fmt::join(names, ", "))), kColumns);
}

void read_row(DataFile& file, int line, const std::vector<std::string>& names,
              const std::vector<std::string>& cells) {
  if (cells.size() != names.size()) fail("{} fields; the header has {}", cells.size(), names.size());
  size_t bytes = 0;
  for (const std::string& cell : cells) bytes += cell.size();
  if (bytes > kMaxRecordBytes)
    fail("a record of {} bytes; at most {} can be learned", bytes, kMaxRecordBytes);
  for (const std::string& cell : cells) {
    if (first_bad_line(cell) != 0) fail("{}", kNotUtf8);
  }
  const size_t before = file.examples.size();
  read_record(file, line, record_of(names, cells));
  if (file.examples.size() > before) file.format = DataFormat::kCsv;
}

}  // namespace

std::vector<std::string> take_csv_row(std::string_view& text, int& line) {
  std::vector<std::string> cells;
  while (true) {
    std::string cell;
    if (text.starts_with('"')) {
      text.remove_prefix(1);
      cell = take_quoted(text, line);
      if (!at_line_end(text) && !text.starts_with(',')) {
        skip_rest_of_line(text, line);
        fail("text after the closing quote of field {}; quotes within are written twice", cells.size() + 1);
      }
    } else {
      const std::string_view plain = text.substr(0, text.find_first_of(",\n"));
      text.remove_prefix(plain.size());
      cell = plain.ends_with('\r') && !text.starts_with(',') ? plain.substr(0, plain.size() - 1) : plain;
    }
    cells.push_back(std::move(cell));
    if (!text.starts_with(',')) break;
    text.remove_prefix(1);
  }
  skip_rest_of_line(text, line);
  return cells;
}

void read_csv(DataFile& file, std::string_view text) {
  int line = 1;
  const std::vector<std::string> names = take_csv_row(text, line);
  check_header(file, names);
  file.known_form = true;
  while (!text.empty()) {
    const int begin = line;
    const bool empty = at_line_end(text);
    try {
      const std::vector<std::string> cells = take_csv_row(text, line);
      if (!empty) read_row(file, begin, names, cells);
    } catch (const Error& error) {
      file.problem(begin, error.what());
    }
  }
}

}  // namespace chorus
