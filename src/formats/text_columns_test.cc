#include "formats/text_columns.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

using Rows = std::vector<std::string>;

TEST(CellWidth, CountsWideCharactersTwice) {
  EXPECT_EQ(cell_width("abc"), 3);
  EXPECT_EQ(cell_width("微調 é"), 6);
  EXPECT_EQ(cell_width("e\u0301"), 1);
  EXPECT_EQ(cell_width(""), 0);
}

TEST(TextColumns, BreaksAtSpacesAndNewlines) {
  TextColumns columns(1, 9);
  columns.add(0, "one two three\n\nfour");
  EXPECT_EQ(columns.take(), (Rows{"one two", "three", ""}));
  columns.end(0);
  EXPECT_EQ(columns.take(), Rows{"four"});
  EXPECT_EQ(columns.take(), Rows{});
}

TEST(TextColumns, BreaksWordsThatAreTooWide) {
  TextColumns columns(1, 4);
  columns.add(0, "abcdefghij");
  columns.end(0);
  EXPECT_EQ(columns.take(), (Rows{"abcd", "efgh", "ij"}));
  TextColumns wide(1, 5);
  wide.add(0, "微調聲線");
  wide.end(0);
  EXPECT_EQ(wide.take(), (Rows{"微調", "聲線"}));
}

// A row comes when every column has gone past it, and then never changes, however the text was cut.
TEST(TextColumns, WaitsForTheSlowest) {
  TextColumns columns(2, 6);
  columns.add(0, "aa bb cc dd ee ff");
  EXPECT_EQ(columns.take(), Rows{});
  columns.add(1, "微");
  columns.add(1, "調 x");
  EXPECT_EQ(columns.take(), Rows{});
  columns.add(1, "y z");
  EXPECT_EQ(columns.take(), Rows{"aa bb  │ 微調"});
  columns.end(1);
  EXPECT_EQ(columns.take(), Rows{"cc dd  │ xy z"});
  columns.end(0);
  EXPECT_EQ(columns.take(), Rows{"ee ff  │ "});
}

TEST(TextColumns, AreTheSameHoweverTheTextIsCut) {
  const std::string text = "a quick brown\nfox jumps overanextremelylongword  and\n\n  goes";
  TextColumns whole(1, 7);
  whole.add(0, text);
  whole.end(0);
  const Rows expected = whole.take();
  EXPECT_GT(expected.size(), 7u);
  for (size_t step = 1; step < 9; ++step) {
    TextColumns cut(1, 7);
    Rows rows;
    for (size_t at = 0; at < text.size(); at += step) {
      cut.add(0, text.substr(at, step));
      for (std::string& row : cut.take()) rows.push_back(std::move(row));
    }
    cut.end(0);
    for (std::string& row : cut.take()) rows.push_back(std::move(row));
    EXPECT_EQ(rows, expected) << step;
  }
}

}  // namespace
}  // namespace chorus
