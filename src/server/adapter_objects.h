#pragma once

#include "engine/adapter_status.h"
#include "server/api_error.h"

namespace chorus {

// An adapter as GET /v1/adapters shows it.
json::object adapter_object(const AdapterStatus& status);
// vLLM's statuses for what an adapter operation came to.
ApiError outcome_error(const AdapterOutcome& outcome);

}  // namespace chorus
