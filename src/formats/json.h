#pragma once

#include <boost/json.hpp>
#include <string>
#include <string_view>

namespace chorus {

namespace json = boost::json;

// Parses strict JSON, at most 64 levels deep, without duplicate keys. `what` names the text in the Error,
// which gives line and column.
json::value parse_json(std::string_view text, std::string_view what);

// Reads and parses a JSON file of at most `limit` bytes.
json::value read_json_file(const std::string& path, size_t limit = size_t{256} << 20);

}  // namespace chorus
