#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"
#include "train/examples.h"

namespace chorus {

// What has been read of one file so far.
struct DataFile {
  std::string path;
  int index = 0;                     // of the file in the dataset
  std::optional<DataFormat> format;  // of the first good record
  bool known_form = false;           // a record had the keys of a known form, even if it was wrong
  std::vector<Example> examples;
  std::vector<DataProblem> problems;
  int64_t problem_count = 0;

  void problem(int line, std::string_view what) {
    ++problem_count;
    if (problems.size() < kMaxProblems)
      problems.push_back({fmt::format("{}:{}", printable(path, 300), line), std::string(what)});
  }
  void add(int line, DataFormat of, Example example) {
    if (!format) format = of;
    known_form = true;
    example.file = index;
    example.line = line;
    examples.push_back(std::move(example));
  }
};

// Reads the bytes of a file into it; `extension` is of its name, in lower case, with the dot. Error: a file
// of no known form.
void read_data(DataFile& file, std::string_view bytes, std::string_view extension);

// A line of `text`, which it is removed from: without its end, CRLF or LF.
inline std::string_view take_line(std::string_view& text) {
  const size_t end = text.find('\n');
  std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  if (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

inline bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// The line, from 1, of the first byte that is no UTF-8 or NUL; 0: there is none.
int first_bad_line(std::string_view text);
constexpr std::string_view kNotUtf8 = "not UTF-8 text; save the file as UTF-8";

}  // namespace chorus
