#include "engine/validate.h"

#include <cmath>
#include <string_view>

#include "base/error.h"
#include "engine/sequence.h"

namespace chorus {
namespace {

struct Range {
  std::string_view name;
  double value, min, max;
};

void check_ranges(const Request& request, const RequestLimits& limits) {
  const SamplingParams& s = request.sampling;
  const Range kRanges[] = {
      {"max_tokens", static_cast<double>(request.max_tokens), request.prompt_logprobs ? 0.0 : 1.0,
       static_cast<double>(limits.context_length)},
      {"min_tokens", static_cast<double>(request.min_tokens), 0, static_cast<double>(request.max_tokens)},
      {"n", static_cast<double>(request.samples), 1,
       static_cast<double>(request.max_tokens > 0 ? limits.max_samples : 1)},
      {"temperature", s.temperature, 0, 100},
      {"top_k", static_cast<double>(s.top_k), 0, 2147483647},
      {"top_p", s.top_p, 1e-9, 1},
      {"min_p", s.min_p, 0, 1},
      {"repetition_penalty", s.repetition_penalty, 0.01, 100},
      {"presence_penalty", s.presence_penalty, -2, 2},
      {"frequency_penalty", s.frequency_penalty, -2, 2},
      {"logprobs", static_cast<double>(s.top_logprobs), -1, static_cast<double>(limits.max_top_logprobs)},
      {"number of logit_bias entries", static_cast<double>(s.logit_bias.size()), 0,
       static_cast<double>(limits.max_logit_bias)},
      {"number of stop ids", static_cast<double>(request.stop_ids.size()), 0,
       static_cast<double>(limits.max_stop_ids)},
      {"number of adapters", static_cast<double>(request.adapters.size()), 0,
       static_cast<double>(limits.max_adapters)},
  };
  for (const Range& r : kRanges) {
    // Written so that NaN fails too.
    if (!(r.value >= r.min && r.value <= r.max))
      fail("{} is {}; it must be from {} to {}", r.name, r.value, r.min, r.max);
  }
}

void check_ids(std::string_view name, std::span<const int32_t> ids, int vocab) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocab)
      fail("{}: token id {} at index {} is outside the vocabulary of {}", name, ids[i], i, vocab);
  }
}

void check_bias(const SamplingParams& sampling, int vocab) {
  for (const auto& [id, bias] : sampling.logit_bias) {
    check_ids("logit_bias", std::span(&id, 1), vocab);
    if (!(std::abs(bias) <= 100)) fail("logit_bias of token {} is {}; it must be from -100 to 100", id, bias);
  }
}

void check_adapters(const Request& request, const RequestLimits& limits) {
  int64_t ranks = 0;
  for (const AdapterUse& use : request.adapters) {
    if (use.adapter == nullptr) fail("an adapter of the request is missing");
    if (!(std::abs(use.scale) <= 100))
      fail("the scale of adapter {} is {}; it must be from -100 to 100", use.adapter->id(), use.scale);
    ranks += use.adapter->max_rank();
  }
  if (ranks > limits.max_lora_floats_per_row)
    fail("the ranks of the request's adapters add up to {}; at most {}", ranks,
         limits.max_lora_floats_per_row);
}

void check_size(const Request& request, const RequestLimits& limits) {
  const int64_t length = static_cast<int64_t>(request.prompt.size()) + request.max_tokens;
  if (length > limits.context_length)
    fail("the prompt has {} tokens and max_tokens is {}; together at most the context length, {}",
         request.prompt.size(), request.max_tokens, limits.context_length);
  const int64_t pool = int64_t{limits.pages} * kPagePositions;
  if (max_positions(request) > pool)
    fail("the prompt has {} tokens and max_tokens is {}; the KV memory holds {} positions",
         request.prompt.size(), request.max_tokens, pool);
}

}  // namespace

void validate(const Request& request, const RequestLimits& limits) {
  if (request.prompt.empty()) fail("the prompt is empty; at least one token");
  if (request.constraint != nullptr && request.ignore_stop_ids)
    fail("a constrained answer ends where its grammar does: ignore_eos must be false");
  check_ranges(request, limits);
  check_size(request, limits);
  check_ids("prompt", request.prompt, limits.vocab);
  check_ids("stop ids", request.stop_ids, limits.vocab);
  check_bias(request.sampling, limits.vocab);
  check_adapters(request, limits);
}

}  // namespace chorus
