#include "server/query.h"

#include <algorithm>

#include "http/http_text.h"
#include "server/api_error.h"

namespace chorus {

std::vector<std::pair<std::string, std::string>> read_query(std::string_view query) {
  std::vector<std::pair<std::string, std::string>> parameters;
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    std::string value;
    if (!percent_decode(pair.substr(std::min(equals + 1, pair.size())), value))
      refuse("", "the query cannot be read");
    parameters.emplace_back(pair.substr(0, equals), std::move(value));
  }
  return parameters;
}

void refuse_parameter(std::string_view name) {
  refuse(printable(name), "unknown parameter of the query: {}", printable(name));
}

}  // namespace chorus
