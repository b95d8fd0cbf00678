#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chorus {

// Texts that grow side by side, as rows for a terminal: each column is broken at spaces, or within a word
// that is wider than it; East Asian characters are two cells wide.
class TextColumns {
 public:
  // `width`: cells of each column, at least 2.
  TextColumns(size_t columns, int width);

  void add(size_t column, std::string_view piece);  // valid UTF-8, whole characters
  void end(size_t column);                          // nothing more of it comes
  // Rows, without ends, that no later text can change: those that every column has filled or ended before.
  std::vector<std::string> take();

 private:
  struct Column {
    std::vector<std::string> lines;  // whole ones
    std::string rest;                // the line at hand
    bool ended = false;
  };
  void break_lines(Column& column) const;

  const int width_;
  std::vector<Column> columns_;
  size_t taken_ = 0;
};

// Cells that a text takes on a terminal.
int cell_width(std::string_view text);

}  // namespace chorus
