#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace chorus {

// What stands behind a URL's '?', decoded and in its order. ApiError: it cannot be decoded.
std::vector<std::pair<std::string, std::string>> read_query(std::string_view query);
[[noreturn]] void refuse_parameter(std::string_view name);  // one that the path does not know

}  // namespace chorus
