#include "server/api_model.h"

#include <utility>

namespace chorus {

ApiModel api_model(Runtime& runtime) {
  return {
      "base",
      runtime.tokenizer(),
      runtime.engine().limits(),
      [&runtime](json::object variables) { return runtime.encode_chat(std::move(variables)); },
      [&runtime](std::string_view text) { return runtime.encode_text(text); },
      [&runtime](std::string_view mix) { return runtime.adapters().resolve(mix); },
  };
}

}  // namespace chorus
