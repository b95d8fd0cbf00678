#pragma once

#include <string>
#include <vector>

#include "server/openai_fields.h"

namespace chorus {

constexpr size_t kMaxVoices = 64, kMaxVoiceNameBytes = 64;

// One of the voices of POST /v1/chorus, and what it alone says of itself.
struct VoiceRequest {
  std::string name;
  json::object fields;
};

struct ChorusRequest {
  Endpoint endpoint = Endpoint::kChat;
  bool stream = false;
  json::object shared;  // what goes for every voice that does not say otherwise
  std::vector<VoiceRequest> voices;
};

// Reads {"messages" or "prompt", "voices": [{"name", "model", "system", ...}], "stream", ...}; a voice may
// have messages or a prompt of its own. ApiError: names the field.
ChorusRequest read_chorus_request(json::object body);

// The body that would ask for voice `index` alone, yet to be read as read_api_request() does; without the
// prompt where only what stands beside it is wanted. A prompt may have megabytes and there may be many
// voices: what is made here should not outlive its reading. ApiError: names the field.
enum class WithPrompt { kNo, kYes };
json::object voice_body(const ChorusRequest& request, size_t index, WithPrompt with);

// The error of a voice: it says whose, and its field is "voices[2].temperature".
ApiError voice_error(const ApiError& error, const std::string& name, size_t index);

}  // namespace chorus
