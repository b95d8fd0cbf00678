#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "formats/tool_dialect.h"
#include "grammar/grammar.h"
#include "server/output_shape.h"

namespace chorus {

struct ToolCall {
  std::string name;
  std::string arguments;  // JSON text
};

// What a request says about tools.
struct ToolRequest {
  enum class Choice : uint8_t { kNone, kAuto, kRequired };
  Choice choice = Choice::kNone;
  json::array tools;  // those that may be called, OpenAI's shape; of a named choice just that one
  bool parallel = true;

  bool offered() const { return choice != Choice::kNone; }
};

constexpr size_t kMaxTools = 128;
constexpr int kMaxToolCalls = 16;  // of one answer that must call

// Reads "tools", "tool_choice" and "parallel_tool_calls". ApiError: a tool that is no function or has no
// valid name, two of one name, a choice of a tool that is not there.
ToolRequest read_tools(const json::object& body);

// Calls and nothing else, with arguments by each tool's parameters: what follows `dialect.before`. Error: a
// parameters schema that cannot be guaranteed.
OutputShape tool_call_shape(const ToolRequest& request, const ToolDialect& dialect);

// The text of one answer -> content and calls, in pieces: what may become a call is held back.
class ToolCallReader {
 public:
  // `request` must outlive this. `begun`: the prompt ends with dialect.before.
  ToolCallReader(const ToolRequest& request, ToolDialect dialect, bool begun);

  // The content that is now certain.
  std::string push(std::string_view piece);
  // The rest of the content. What looked like calls and is none, or names no tool of the request, is content.
  std::string finish();
  const std::vector<ToolCall>& calls() const { return calls_; }  // after finish()

 private:
  bool read_calls(std::string_view text);

  const ToolRequest* request_;
  ToolDialect dialect_;
  std::string marker_, after_;  // of a call, without space around
  bool in_calls_, at_start_ = true;
  std::string held_;
  std::vector<ToolCall> calls_;
};

}  // namespace chorus
