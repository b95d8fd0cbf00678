#pragma once

#include <string>
#include <vector>

#include "cli/generate.h"

namespace chorus {

// One of several answers to a prompt.
struct RunVoice {
  std::string name;  // the adapter or mix
  Generation generation;
};

// Runs them in one batch and prints them: side by side as they grow where stdout is a terminal that is wide
// enough, else one below the other under their names, or as one JSON document. Times and rates on stderr.
void run_voices(Runtime& runtime, std::vector<RunVoice> voices, bool json);

// "stop", "length", "cancelled" or "error"
const char* finish_name(FinishReason reason);
// {"text", "finish_reason", "prompt_tokens", "completion_tokens", "first_token_seconds"}
json::object generation_json(const Generation& generation);

}  // namespace chorus
