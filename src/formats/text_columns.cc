#include "formats/text_columns.h"

#include <utf8proc.h>

#include <algorithm>

namespace chorus {
namespace {

struct Character {
  size_t bytes;
  int cells;
};

Character first_of(std::string_view text) {
  utf8proc_int32_t code = 0;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &code);
  if (bytes <= 0) return {1, 1};
  return {static_cast<size_t>(bytes), utf8proc_charwidth(code)};
}

// Bytes of the longest beginning that fits, at least one character.
size_t fitting(std::string_view text, int width) {
  size_t bytes = 0;
  for (int cells = 0; bytes < text.size();) {
    const Character next = first_of(text.substr(bytes));
    cells += next.cells;
    if (cells > width && bytes > 0) break;
    bytes += next.bytes;
  }
  return bytes;
}

}  // namespace

int cell_width(std::string_view text) {
  int cells = 0;
  while (!text.empty()) {
    const Character next = first_of(text);
    cells += next.cells;
    text.remove_prefix(std::min(next.bytes, text.size()));
  }
  return cells;
}

TextColumns::TextColumns(size_t columns, int width) : width_(width), columns_(columns) {}

void TextColumns::add(size_t column, std::string_view piece) {
  Column& to = columns_[column];
  for (size_t at = 0; at <= piece.size();) {
    const size_t newline = std::min(piece.find('\n', at), piece.size());
    to.rest.append(piece.substr(at, newline - at));
    std::ranges::replace_if(
        to.rest, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
    break_lines(to);
    if (newline == piece.size()) break;
    to.lines.push_back(std::move(to.rest));
    to.rest.clear();
    at = newline + 1;
  }
}

// Moves lines that are full from the rest to the lines: what later comes may still belong to the last.
void TextColumns::break_lines(Column& column) const {
  for (;;) {
    const size_t fits = fitting(column.rest, width_);
    if (fits == column.rest.size()) return;
    size_t end = column.rest.rfind(' ', fits);
    if (end == std::string::npos || end == 0) end = fits;
    column.lines.push_back(column.rest.substr(0, end));
    column.rest.erase(0, column.rest.find_first_not_of(' ', end));
  }
}

void TextColumns::end(size_t column) {
  Column& of = columns_[column];
  if (of.ended) return;
  if (!of.rest.empty()) of.lines.push_back(std::move(of.rest));
  of.rest.clear();
  of.ended = true;
}

std::vector<std::string> TextColumns::take() {
  size_t ready = 0, least = std::string::npos;
  for (const Column& column : columns_) {
    ready = std::max(ready, column.lines.size());
    if (!column.ended) least = std::min(least, column.lines.size());
  }
  ready = std::min(ready, least);
  std::vector<std::string> rows;
  for (; taken_ < ready; ++taken_) {
    std::string row;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::vector<std::string>& lines = columns_[i].lines;
      const std::string_view cell = taken_ < lines.size() ? std::string_view(lines[taken_]) : "";
      if (i > 0) row += " │ ";
      row += cell;
      if (i + 1 < columns_.size())
        row.append(static_cast<size_t>(std::max(0, width_ - cell_width(cell))), ' ');
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace chorus
