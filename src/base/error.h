#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace chorus {

// What a bad file, request or flag ends with: it ends that load or that request and nothing else. The text is
// one line that names the thing, the value found and what would be right. A broken invariant of our own is an
// assert instead, and no input can reach one.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Error with a formatted text: fail("{}: head_count is 0; at least 1", path).
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

// A string from a file or a request, made fit for one line of a terminal or a log: control characters and
// invalid UTF-8 become \xNN, and what is longer than `limit` bytes is cut with "...".
std::string printable(std::string_view text, size_t limit = 80);

}  // namespace chorus
