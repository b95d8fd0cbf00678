#include "server/web_files.h"

#include <algorithm>

#include "server/answer.h"

namespace chorus {
namespace {

// Whatever a model says or an adapter is called, no script runs but the page's own files, no markup is made
// of text, nothing is fetched from elsewhere and no other page can frame this one.
constexpr const char* kContentSecurityPolicy =
    "default-src 'self'; img-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

void answer_file(HttpExchange& exchange) {
  const WebFile* file = find_web_file(exchange.request().path);
  if (file == nullptr) {
    answer_error(exchange, ApiError(404, "not_found_error", "There is no such page."));
    return;
  }
  // Asked for again each time, and sent only when it has changed: a new version is never half an old one.
  HttpHeaders headers{{"Cache-Control", "no-cache"},
                      {"ETag", std::string(file->etag)},
                      {"Content-Security-Policy", kContentSecurityPolicy},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"}};
  if (exchange.request().header("If-None-Match").find(file->etag) != std::string_view::npos) {
    exchange.answer(304, file->content_type, "", std::move(headers));
  } else {
    exchange.answer(200, file->content_type, std::string(file->body), std::move(headers));
  }
}

}  // namespace

const WebFile* find_web_file(std::string_view path) {
  const auto file = std::ranges::find(web_files(), path, &WebFile::path);
  return file == web_files().end() ? nullptr : &*file;
}

std::vector<HttpRoute> web_routes() {
  std::vector<HttpRoute> routes;
  for (const char* path : {"/", "/web/*"}) {
    routes.push_back({.method = "GET", .path = path, .access = Access::kPublic, .handler = [](auto exchange) {
                        answer_file(*exchange);
                      }});
  }
  return routes;
}

}  // namespace chorus
