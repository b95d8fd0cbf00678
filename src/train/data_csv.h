#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "train/data_file.h"

namespace chorus {

// The next row of RFC 4180's CSV: fields between commas, in quotes where they hold commas, quotes (doubled)
// or line ends. Takes it from `text` and adds the lines it spans to `line`. Error: a quote that does not end,
// or that text follows.
std::vector<std::string> take_csv_row(std::string_view& text, int& line);

// Rows below a header that names the columns: prompt and completion; instruction, output (input, system);
// user and assistant (system); or text.
void read_csv(DataFile& file, std::string_view text);

}  // namespace chorus
