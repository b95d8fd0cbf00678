#pragma once

#include <string>

#include "engine/runtime.h"
#include "server/lora_ids.h"
#include "server/openai_request.h"

namespace chorus {

// The API's view of a model, which must outlive it; so must `lora`, if there is one. The base is called
// `name` or "base".
ApiModel api_model(Runtime& runtime, const std::string& name = "base", LoraIds* lora = nullptr);

}  // namespace chorus
