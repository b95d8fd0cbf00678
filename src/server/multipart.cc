#include "server/multipart.h"

#include <algorithm>

#include "http/http_text.h"
#include "server/api_error.h"

namespace chorus {
namespace {

constexpr size_t kMaxBoundary = 70, kMaxPartHead = 4096;

[[noreturn]] void refuse_form(std::string_view why) { refuse("", "the body is no form: {}", why); }

// The value of KEY="VALUE" or KEY=VALUE among what stands behind semicolons; "" where there is none.
std::string parameter(std::string_view text, std::string_view key) {
  size_t at = text.find(';');
  while (at < text.size()) {
    text = trim_blanks(text.substr(at + 1));
    const size_t equals = text.find('=');
    if (equals == std::string_view::npos) return "";
    const bool found = equal_ignoring_case(trim_blanks(text.substr(0, equals)), key);
    text.remove_prefix(equals + 1);
    std::string value;
    size_t i = 0;
    if (!text.empty() && text[0] == '"') {
      for (i = 1; i < text.size() && text[i] != '"'; ++i) {
        if (text[i] == '\\' && i + 1 < text.size()) ++i;
        value += text[i];
      }
    } else {
      for (; i < text.size() && text[i] != ';'; ++i) value += text[i];
      value = trim_blanks(value);
    }
    if (found) return value;
    at = text.find(';', i);
  }
  return "";
}

// A part's headers, of which the one that names it counts.
void read_head(std::string_view head, FormPart& part) {
  while (!head.empty()) {
    const size_t end = std::min(head.find("\r\n"), head.size());
    const std::string_view line = head.substr(0, end);
    head.remove_prefix(std::min(end + 2, head.size()));
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) refuse_form("a part has a line that is no header");
    if (!equal_ignoring_case(line.substr(0, colon), "content-disposition")) continue;
    part.name = parameter(line.substr(colon), "name");
    part.filename = parameter(line.substr(colon), "filename");
  }
  if (part.name.empty()) refuse_form("a part has no name");
}

}  // namespace

std::vector<FormPart> read_form(std::string_view content_type, std::string_view body) {
  const std::string_view kind = trim_blanks(content_type.substr(0, content_type.find(';')));
  const std::string boundary = parameter(content_type, "boundary");
  if (!equal_ignoring_case(kind, "multipart/form-data") || boundary.empty() || boundary.size() > kMaxBoundary)
    refuse("", "Content-Type must be multipart/form-data with a boundary");
  const std::string line = "\r\n--" + boundary;
  std::vector<FormPart> parts;
  if (!body.starts_with(line.substr(2))) refuse_form("it does not begin with its boundary");
  body.remove_prefix(line.size() - 2);
  while (!body.starts_with("--")) {
    if (!body.starts_with("\r\n")) refuse_form("a boundary is not a line of its own");
    if (parts.size() == kMaxFormParts) refuse("", "the form has more than {} parts", kMaxFormParts);
    body.remove_prefix(2);
    const size_t head = body.substr(0, kMaxPartHead).find("\r\n\r\n");
    if (head == std::string_view::npos) refuse_form("a part has no end of its headers");
    FormPart part;
    read_head(body.substr(0, head), part);
    body.remove_prefix(head + 2);  // an empty part's boundary begins with the end of the blank line
    const size_t end = body.find(line);
    if (end == std::string_view::npos) refuse_form("its last boundary is missing");
    part.content = body.substr(std::min<size_t>(2, end), end < 2 ? 0 : end - 2);
    body.remove_prefix(end + line.size());
    parts.push_back(std::move(part));
  }
  return parts;
}

}  // namespace chorus
