#pragma once

#include <string>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {

// Why a request was refused or failed, in OpenAI's terms. The text never holds raw input: what it quotes has
// been through printable().
struct ApiError : Error {
  ApiError(int http_status, std::string error_type, const std::string& message, std::string error_param = {},
           std::string error_code = {})
      : Error(message),
        status(http_status),
        type(std::move(error_type)),
        param(std::move(error_param)),
        code(std::move(error_code)) {}

  int status;               // of HTTP
  std::string type;         // "invalid_request_error", "not_found_error", "server_error", ...
  std::string param, code;  // empty: null in JSON
};

inline json::value or_null(const std::string& text) {
  return text.empty() ? json::value(nullptr) : json::value(text);
}

// {"message","type","param","code"}
inline json::object error_object(const ApiError& error) {
  return {{"message", error.what()},
          {"type", error.type},
          {"param", or_null(error.param)},
          {"code", or_null(error.code)}};
}

// A 400 for one field of the body.
template <typename... Args>
[[noreturn]] void refuse(std::string_view param, fmt::format_string<Args...> format, Args&&... args) {
  throw ApiError(400, "invalid_request_error", fmt::format(format, std::forward<Args>(args)...),
                 std::string(param));
}

}  // namespace chorus
