#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/logit_blocks.h"
#include "engine/request.h"

namespace chorus {

struct SampleArgs {
  std::span<const float> logits;            // [vocab]
  const SamplingParams* params = nullptr;   // validated
  std::span<const int32_t> prompt, output;  // for the penalties
  std::span<const int32_t> banned;          // ids not to be drawn, unless nothing else is allowed
  // Bit i % 64 of word i / 64: id i may be drawn; ids beyond its end may not. Empty: all may.
  std::span<const uint64_t> allowed;
  int sample = 0;    // index within the request
  int position = 0;  // of the token to be drawn, in its sequence
};

struct Sampled {
  int32_t token = -1;                 // -1: the row has NaN or +infinity, or nothing that may be drawn
  float logprob = 0;                  // with params->top_logprobs >= 0
  std::span<const TokenLogprob> top;  // likeliest first, ties by id; valid until the next call
};

// Turns a row of logits into a token. The result depends on the arguments only: the draw's random number is
// Philox4x32-10 (Salmon et al., SC 2011) of (seed, sample, position), and what may be drawn is gone through
// in order of ids. Log-probabilities are those of the model, before bias, penalties, masks and temperature.
// Allocates in the constructor only. Costs one pass over the row, and another of exponentials over those
// blocks of it that can matter; a selection is by histogram, never a sort of the row.
class Sampler {
 public:
  Sampler(int vocab, int max_top_logprobs);
  Sampled sample(const SampleArgs& args);
  // The log-probability of a given token, and the `top` likeliest. token -1 in the result: as above.
  Sampled score(std::span<const float> logits, int32_t token, int top);

 private:
  int32_t choose(const SampleArgs& args);
  void modify(const SampleArgs& args);
  void penalize(const SampleArgs& args);
  void forbid(const SampleArgs& args);
  int32_t draw(const SampleArgs& args, std::span<const float> row, float max);
  Cut top_k_cut(std::span<const float> row, int k);
  Cut top_p_cut(std::span<const float> row, float top_p);
  float kth_maximum(size_t k);
  std::span<int32_t> collect(std::span<const float> keys, std::span<const float> block_bounds, float bound);
  void fill_top(std::span<const float> logits, int top, double total);

  std::vector<float> work_;       // [vocab]: logits after bias and penalties
  std::vector<int32_t> counts_;   // [vocab], zero between calls
  std::vector<float> maxima_;     // [blocks] of the row at hand
  std::vector<float> sums_;       // [blocks] of the weights
  std::vector<float> order_;      // [blocks]: scratch
  std::vector<float> weights_;    // [blocks * 64]: exp((logit - largest) / temperature), 0: not to be drawn
  std::vector<int32_t> members_;  // [vocab]: ids among which a selection ends
  std::vector<double> masses_;    // [buckets] of a histogram
  std::vector<TokenLogprob> top_;
};

// Uniform in [0, 1) of 53 bits.
double counter_uniform(uint64_t seed, uint32_t sample, uint32_t position);

}  // namespace chorus
