#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chorus {

// A part of a form; views of the body.
struct FormPart {
  std::string name;
  std::string filename;  // of a file; else empty
  std::string_view content;
};

// Reads multipart/form-data (RFC 7578), at most kMaxFormParts of it. ApiError: the content type is another or
// has no boundary, the body is not of that form, or has more parts.
constexpr size_t kMaxFormParts = 64;
std::vector<FormPart> read_form(std::string_view content_type, std::string_view body);

}  // namespace chorus
