#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/request.h"

namespace chorus {

struct SampleArgs {
  std::span<const float> logits;            // [vocab]
  const SamplingParams* params = nullptr;   // validated
  std::span<const int32_t> prompt, output;  // for the penalties
  std::span<const int32_t> banned;          // ids not to be drawn
  int sample = 0;                           // index within the request
  int position = 0;                         // of the token to be drawn, in its sequence
};

struct Sampled {
  int32_t token = -1;                 // -1: the row has NaN or +infinity, or nothing that may be drawn
  float logprob = 0;                  // with params->top_logprobs >= 0
  std::span<const TokenLogprob> top;  // likeliest first, ties by id; valid until the next call
};

// Turns a row of logits into a token. The result depends on the arguments only: the draw's random number is
// Philox4x32-10 (Salmon et al., SC 2011) of (seed, sample, position). Log-probabilities are those of the
// model, before bias, penalties and temperature. Allocates in the constructor only.
class Sampler {
 public:
  Sampler(int vocab, int max_top_logprobs);
  Sampled sample(const SampleArgs& args);
  // The log-probability of a given token, and the `top` likeliest. token -1 in the result: as above.
  Sampled score(std::span<const float> logits, int32_t token, int top);

 private:
  struct Candidate {
    float value;   // logit after bias and penalties
    float weight;  // exp((value - max) / temperature)
    int32_t id;
  };
  int32_t choose(const SampleArgs& args);
  void modify(const SampleArgs& args);
  void penalize(const SampleArgs& args);
  int32_t draw(const SampleArgs& args, float max);
  void keep_top_k(const SamplingParams& params);
  void keep_top_p(const SamplingParams& params);
  size_t sort_next(size_t sorted);
  void fill_top(std::span<const float> logits, int top, double total);

  std::vector<float> work_;            // [vocab]
  std::vector<int32_t> counts_;        // [vocab], zero between calls
  std::vector<Candidate> candidates_;  // at most vocab
  std::vector<TokenLogprob> top_;
};

// Uniform in [0, 1) of 53 bits.
double counter_uniform(uint64_t seed, uint32_t sample, uint32_t position);

}  // namespace chorus
