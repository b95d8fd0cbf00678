#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grammar/constraint.h"
#include "model/adapter.h"

namespace chorus {

// How the next token is chosen. Order: logit bias, penalties, the constraint's mask, temperature, top-k,
// top-p, min-p, draw.
struct SamplingParams {
  float temperature = 1;  // 0: greedy
  int top_k = 0;          // 0: all
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;                       // of tokens in prompt and output
  float presence_penalty = 0, frequency_penalty = 0;  // of tokens in the output
  std::vector<std::pair<int32_t, float>> logit_bias = {};
  uint64_t seed = 0;      // with the sample's index it decides every draw
  int top_logprobs = -1;  // -1: no log-probabilities; 0: of the chosen token; n: and of the n likeliest
};

// One adapter of a mix.
struct AdapterUse {
  AdapterHandle adapter;
  float scale = 1;
};

enum class FinishReason : uint8_t {
  kNone,
  kStop,
  kLength,
  kCancelled,
  kExpired,  // still in the queue at its deadline
  kError
};

struct TokenLogprob {
  int32_t token;
  float logprob;
};

// What the engine says of one sample of a request. The last event of a sample carries its finish reason.
struct TokenEvent {
  uint64_t request = 0;
  int sample = 0;      // 0 .. n-1
  int32_t token = -1;  // -1: none with this event
  float logprob = 0;
  std::vector<TokenLogprob> top;  // likeliest first
  FinishReason finish = FinishReason::kNone;
  std::string error;  // with kError
  // With the first token of a sample: how long it waited to be admitted, and what of its prompt was not
  // computed again.
  float queue_seconds = 0;
  int prefix_hit_tokens = 0;
};

// What a client wants, already in tokens.
struct Request {
  std::vector<int32_t> prompt;       // not empty
  std::vector<AdapterUse> adapters;  // applied in this order; empty: the base alone
  SamplingParams sampling;
  int max_tokens = 16;            // >= 0; with prompt_logprobs it may be 0
  int min_tokens = 0;             // until then stop ids are not sampled
  int samples = 1;                // n; they share the prompt's KV
  std::vector<int32_t> stop_ids;  // end the sample; the token itself is reported with kStop
  bool ignore_stop_ids = false;
  bool prompt_logprobs = false;  // log-probability of every prompt token but the first, as events before
                                 // the first sampled token
  ConstraintHandle constraint;   // what the answer may be, in the compiler's stop ids; nullptr: anything
  std::string tenant;            // shares prefixes only within itself
  // When it ends with kExpired unless it has been admitted.
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();
};

}  // namespace chorus
