#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "http/http_server.h"

namespace chorus {

// A file of the page, as it was in src/server/web when the program was built.
struct WebFile {
  std::string_view path;  // "/" or "/web/NAME"
  std::string_view content_type;
  std::string_view etag;  // of the content, with its quotes
  std::string_view body;
};

std::span<const WebFile> web_files();
const WebFile* find_web_file(std::string_view path);  // null: no such file

// "/" and "/web/*", for everybody: a browser sends no key when it opens a page, and there is nothing in the
// files but the page itself.
std::vector<HttpRoute> web_routes();

}  // namespace chorus
