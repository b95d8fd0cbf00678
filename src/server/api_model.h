#pragma once

#include <string>

#include "engine/adapter_manager.h"
#include "engine/runtime.h"
#include "server/lora_ids.h"
#include "server/openai_request.h"

namespace chorus {

// The API's view of a model, which must outlive it; so must `lora` and `adapters`, where given: the
// latter for who is called NAME@STEP. The base is called
// `name` or "base".
ApiModel api_model(Runtime& runtime, const std::string& name = "base", LoraIds* lora = nullptr,
                   const AdapterManager* adapters = nullptr);

}  // namespace chorus
