#pragma once

#include <string_view>

#include "train/data_file.h"

namespace chorus {

// A record a line. Blank lines are skipped.
void read_json_lines(DataFile& file, std::string_view text);

// Records one behind the other, over as many lines as they like: in one array, or alone. No more memory than
// one record and its tree is taken at a time.
void read_json_values(DataFile& file, std::string_view text);

}  // namespace chorus
