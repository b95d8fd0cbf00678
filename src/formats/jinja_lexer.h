#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace chorus::jinja {

enum class TokenKind {
  kData,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind;
  std::string text;  // data and strings as they mean, the others as written (integers without '_')
  int line;
};

// Splits a template as Jinja2 does with trim_blocks and lstrip_blocks; the last token is kEnd. Error: a tag,
// string, comment or character that is not Jinja's, with its line.
std::vector<Token> tokenize(std::string_view source);

}  // namespace chorus::jinja
