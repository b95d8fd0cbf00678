#pragma once

#include "engine/runtime.h"
#include "server/openai_request.h"

namespace chorus {

// The API's view of a model, which must outlive it.
ApiModel api_model(Runtime& runtime);

}  // namespace chorus
