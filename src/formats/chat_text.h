#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "formats/chat_template.h"
#include "formats/tokenizer.h"

namespace chorus {

// A conversation's text as it is served and tuned on. `variables` are those of the template ("messages",
// "tools", ...); BOS and EOS texts are filled in. Error: as ChatTemplate::render.
std::string render_chat(const ChatTemplate& chat_template, const Tokenizer& tokenizer, json::object variables,
                        bool add_generation_prompt);

// Token ids of a rendered text: a template writes its own BOS.
std::vector<int32_t> encode_rendered(const Tokenizer& tokenizer, std::string_view text);

// Token ids of a text that goes on where another stopped, as a model would go on: without the space that some
// tokenizers put before the start of a text.
std::vector<int32_t> encode_continuation(const Tokenizer& tokenizer, std::string_view text);

}  // namespace chorus
