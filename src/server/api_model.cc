#include "server/api_model.h"

#include <utility>

namespace chorus {

ApiModel api_model(Runtime& runtime) {
  return {
      "base",
      runtime.tokenizer(),
      runtime.engine().limits(),
      [&runtime](json::object variables, const ChatTemplate* own) {
        return runtime.encode_chat(std::move(variables), true, own);
      },
      [&runtime](std::string_view text) { return runtime.encode_text(text); },
      [&runtime](std::string_view mix) { return runtime.adapters().select(mix); },
  };
}

}  // namespace chorus
