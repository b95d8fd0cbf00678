#pragma once

#include "engine/request.h"

namespace chorus {

// What one request may ask for.
struct RequestLimits {
  int vocab = 0;
  int context_length = 0;  // prompt + max_tokens
  int pages = 0;           // of the whole pool
  int max_samples = 8;
  int max_adapters = 8;             // of a mix
  int max_lora_floats_per_row = 0;  // sum of max_rank() over a mix
  int max_top_logprobs = 20;
  int max_logit_bias = 1024;
  int max_stop_ids = 1024;
};

// Error: names the field, the value found and the limit. A request that passes can be run to its end whatever
// else is running.
void validate(const Request& request, const RequestLimits& limits);

}  // namespace chorus
