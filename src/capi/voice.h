#pragma once

#include <string>
#include <vector>

#include "chorus.h"
#include "engine/runtime.h"

namespace chorus {

// A voice as the engine takes it.
struct VoiceRequest {
  Request request;
  std::vector<std::string> stops;
};

// No adapter of a name.
class UnknownAdapter : public Error {
 public:
  using Error::Error;
};

// Reads a voice of C. Error: what is wrong with it, without its number.
VoiceRequest read_voice(Runtime& runtime, const chorus_voice& voice);

}  // namespace chorus
