#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/sha256.h"
#include "engine/request.h"

namespace chorus {

// What the samples of one request share. Immutable once submitted; holds the adapters until the last sample
// has ended.
struct RequestState {
  uint64_t id = 0;
  Request request;
  Digest prefix_seed{};  // see prefix_key.h; also who takes turns with whom
  Digest adapter_key{};  // all zero: no adapters
  Digest tenant_key{};   // see tenant_key()
  std::chrono::steady_clock::time_point submitted{};
};

// One sample of a request, from submission to its last token. All vectors are reserved for the longest it
// can get, so that a step allocates nothing.
struct Sequence {
  std::shared_ptr<const RequestState> owner;
  int sample = 0;
  uint64_t arrival = 0;                       // unique, rising
  std::vector<int32_t> tokens;                // the prompt, then what was sampled
  int computed = 0;                           // positions whose K and V are stored: the first ones
  std::optional<ConstraintState> constraint;  // where the answer stands in the request's
  int scored = 0;  // prompt tokens whose log-probability was reported (the first has none)

  std::vector<int32_t> block_table;  // page of positions 16 i .. 16 i + 15
  std::vector<Digest> block_keys;    // of the full blocks of `tokens`, as far as known; at least the prompt's
  int published = 0;                 // blocks offered to the prefix cache

  // The last row was computed before the mask of what may follow was there, and is to be computed once more.
  bool awaits_mask = false;

  // The scheduler's.
  bool blocked = false;         // of this step: waits for its mask
  int tenant = -1, group = -1;  // whom it takes turns with
  bool admitted = false;        // has run before
  float queue_seconds = 0;      // from submission to admission
  int prefix_hit_tokens = 0;    // of the prompt, when it was admitted
  bool preempted = false;       // waits for the second time or more
  int planned_rows = 0;         // in the step being planned
  uint64_t passed_over = 0;     // the last step whose admission left it waiting for a block

  const Request& request() const { return owner->request; }
  int size() const { return static_cast<int>(tokens.size()); }
  int prompt_size() const { return static_cast<int>(request().prompt.size()); }
  int generated() const { return size() - prompt_size(); }
  int remaining() const { return size() - computed; }
  // Prompt rows whose logits are still wanted for prompt_logprobs: positions [scored, prompt_size() - 1).
  // Sample 0 reports them for all.
  bool wants_scores() const { return request().prompt_logprobs && sample == 0 && scored < prompt_size() - 1; }
};

// Positions a request stores at most: its last token is sampled and never computed.
inline int64_t max_positions(const Request& request) {
  return static_cast<int64_t>(request.prompt.size()) + (request.max_tokens > 0 ? request.max_tokens - 1 : 0);
}

}  // namespace chorus
