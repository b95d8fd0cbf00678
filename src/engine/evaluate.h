#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/runtime.h"

namespace chorus {

// Tokens of which [scored_from, size) are to be predicted from all before them; scored_from >= 1.
struct ScoredText {
  std::vector<int32_t> tokens;
  int scored_from = 1;
};

struct Score {
  int64_t tokens = 0;
  double nll = 0;  // mean over the scored tokens, in nats
  double perplexity() const;
};

// A text as one sequence, with BOS only where the model's settings add it.
ScoredText scored_text(const Runtime& runtime, std::string_view text);

// The lines of an OpenAI-chat JSONL file ({"messages": [...]}), of which the last turn, an assistant's, is
// scored from its first token to its end mark, as they read under a mix: an adapter may have its own chat
// template. `what` names the file in errors.
std::vector<ScoredText> scored_chats(const Runtime& runtime, std::string_view jsonl, std::string_view mix,
                                     std::string_view what);

// Scores the texts under a mix (see AdapterRegistry::resolve), all in continuous batches. `progress` is
// called now and then with texts done. Error: a text longer than the context.
Score evaluate(Runtime& runtime, const std::vector<ScoredText>& texts, std::string_view mix,
               const std::function<void(size_t done)>& progress);

}  // namespace chorus
