#pragma once

#include <optional>
#include <string_view>

#include "train/data_file.h"

namespace chorus {

// The forms that a record may have, for messages.
constexpr std::string_view kRecordForms =
    "\"messages\"; \"prompt\" and \"completion\"; \"instruction\" and \"output\"; \"conversations\"; or "
    "\"text\"";

// Told from the keys; none: no known form.
std::optional<DataFormat> form_of(const json::object& record);

// Reads a record of a known form into the file: an example or a problem.
void read_record(DataFile& file, int line, const json::value& value);

}  // namespace chorus
