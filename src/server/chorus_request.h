#pragma once

#include <string>
#include <vector>

#include "server/openai_fields.h"

namespace chorus {

constexpr size_t kMaxVoices = 64, kMaxVoiceNameBytes = 64;

// One of the voices of POST /v1/chorus: a name, and the body that would ask for it alone.
struct VoiceRequest {
  std::string name;
  json::object body;
};

struct ChorusRequest {
  Endpoint endpoint = Endpoint::kChat;
  bool stream = false;
  std::vector<VoiceRequest> voices;
};

// Reads {"messages" or "prompt", "voices": [{"name", "model", "system", ...}], "stream", ...}: what stands
// beside them goes for every voice that does not say otherwise. The bodies are yet to be read as
// read_api_request() does. ApiError: names the field.
ChorusRequest read_chorus_request(const json::object& body);

// The error of a voice: it says whose, and its field is "voices[2].temperature".
ApiError voice_error(const ApiError& error, const std::string& name, size_t index);

}  // namespace chorus
