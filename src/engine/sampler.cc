#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace chorus {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr size_t kFirstSorted = 64;  // candidates sorted at once for top-p, then four times as many

// The largest logit; NaN if the row is not usable: NaN or +infinity in it, or nothing finite.
float checked_max(std::span<const float> logits) {
  float max = -kInfinity;
  bool has_nan = false;
  for (const float x : logits) {
    has_nan |= x != x;
    max = x > max ? x : max;
  }
  return has_nan || !std::isfinite(max) ? std::numeric_limits<float>::quiet_NaN() : max;
}

// The lowest id with that value; it is there.
int32_t first_index(std::span<const float> values, float value) {
  return static_cast<int32_t>(std::find(values.begin(), values.end(), value) - values.begin());
}

double log_total(std::span<const float> logits, float max) {
  double sum = 0;
  for (const float x : logits) sum += static_cast<double>(std::exp(x - max));
  return static_cast<double>(max) + std::log(sum);
}

template <typename C>
bool likelier(const C& a, const C& b) {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

}  // namespace

double counter_uniform(uint64_t seed, uint32_t sample, uint32_t position) {
  std::array<uint32_t, 4> counter = {position, sample, 0, 0};
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * counter[0], p1 = uint64_t{0xCD9E8D57} * counter[2];
    counter = {static_cast<uint32_t>(p1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(p1),
               static_cast<uint32_t>(p0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  const uint64_t bits = (uint64_t{counter[1]} << 32 | counter[0]) >> 11;
  return static_cast<double>(bits) * 0x1p-53;
}

Sampler::Sampler(int vocab, int max_top_logprobs)
    : work_(static_cast<size_t>(vocab)), counts_(static_cast<size_t>(vocab), 0) {
  candidates_.reserve(work_.size());
  top_.reserve(static_cast<size_t>(max_top_logprobs) + 1);
}

Sampled Sampler::score(std::span<const float> logits, int32_t token, int top) {
  const float max = checked_max(logits);
  if (std::isnan(max)) return {};
  const double total = log_total(logits, max);
  fill_top(logits, top, total);
  return {token, static_cast<float>(static_cast<double>(logits[static_cast<size_t>(token)]) - total), top_};
}

Sampled Sampler::sample(const SampleArgs& args) {
  const int32_t token = choose(args);
  if (token < 0) return {};
  if (args.params->top_logprobs < 0) return {token, 0, {}};
  return score(args.logits, token, args.params->top_logprobs);
}

int32_t Sampler::choose(const SampleArgs& args) {
  const SamplingParams& params = *args.params;
  float max = checked_max(args.logits);
  if (std::isnan(max)) return -1;
  const bool penalties =
      params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
  const bool plain = params.logit_bias.empty() && args.banned.empty() && !penalties;
  if (plain && params.temperature == 0) return first_index(args.logits, max);
  std::copy(args.logits.begin(), args.logits.end(), work_.begin());
  if (!plain) {
    modify(args);
    max = checked_max(work_);
    if (std::isnan(max)) return -1;
  }
  return params.temperature == 0 ? first_index(work_, max) : draw(args, max);
}

void Sampler::modify(const SampleArgs& args) {
  for (const auto& [id, bias] : args.params->logit_bias) work_[static_cast<size_t>(id)] += bias;
  penalize(args);
  for (const int32_t id : args.banned) work_[static_cast<size_t>(id)] = -kInfinity;
}

void Sampler::penalize(const SampleArgs& args) {
  const SamplingParams& params = *args.params;
  if (params.repetition_penalty != 1) {
    for (const auto tokens : {args.prompt, args.output}) {
      for (const int32_t id : tokens) {
        if (counts_[static_cast<size_t>(id)]++ > 0) continue;
        float& x = work_[static_cast<size_t>(id)];
        x = x > 0 ? x / params.repetition_penalty : x * params.repetition_penalty;
      }
    }
    for (const auto tokens : {args.prompt, args.output}) {
      for (const int32_t id : tokens) counts_[static_cast<size_t>(id)] = 0;
    }
  }
  if (params.presence_penalty == 0 && params.frequency_penalty == 0) return;
  for (const int32_t id : args.output) ++counts_[static_cast<size_t>(id)];
  for (const int32_t id : args.output) {
    int32_t& count = counts_[static_cast<size_t>(id)];
    if (count == 0) continue;
    work_[static_cast<size_t>(id)] -=
        params.frequency_penalty * static_cast<float>(count) + params.presence_penalty;
    count = 0;
  }
}

int32_t Sampler::draw(const SampleArgs& args, float max) {
  const SamplingParams& params = *args.params;
  candidates_.clear();
  for (size_t i = 0; i < work_.size(); ++i) {
    if (work_[i] > -kInfinity) candidates_.push_back({work_[i], 0, static_cast<int32_t>(i)});
  }
  keep_top_k(params);
  for (Candidate& c : candidates_) c.weight = std::exp((c.value - max) / params.temperature);
  keep_top_p(params);
  // The likeliest has weight 1, so min-p is a bound on the weight itself.
  double total = 0;
  for (const Candidate& c : candidates_)
    total += c.weight >= params.min_p ? static_cast<double>(c.weight) : 0;
  const double target = total * counter_uniform(args.params->seed, static_cast<uint32_t>(args.sample),
                                                static_cast<uint32_t>(args.position));
  double sum = 0;
  int32_t token = -1;
  for (const Candidate& c : candidates_) {
    if (c.weight < params.min_p || c.weight == 0) continue;
    token = c.id;
    sum += static_cast<double>(c.weight);
    if (sum > target) break;
  }
  return token;
}

void Sampler::keep_top_k(const SamplingParams& params) {
  const size_t k = static_cast<size_t>(params.top_k);
  if (k == 0 || k >= candidates_.size()) return;
  const auto end = candidates_.begin() + params.top_k;
  std::nth_element(candidates_.begin(), end, candidates_.end(), likelier<Candidate>);
  candidates_.erase(end, candidates_.end());
  // nth_element leaves an order that differs between standard libraries; the draw walks in order.
  std::sort(candidates_.begin(), candidates_.end(), likelier<Candidate>);
}

// The fewest likeliest whose probability together reaches top_p; sorts no more than it needs.
void Sampler::keep_top_p(const SamplingParams& params) {
  if (params.top_p >= 1) return;
  double total = 0;
  for (const Candidate& c : candidates_) total += static_cast<double>(c.weight);
  const double enough = total * static_cast<double>(params.top_p);
  double sum = 0;
  size_t kept = 0, sorted = 0;
  while (kept < candidates_.size() && (kept == 0 || sum < enough)) {
    if (kept == sorted) sorted = sort_next(sorted);
    sum += static_cast<double>(candidates_[kept++].weight);
  }
  candidates_.erase(candidates_.begin() + static_cast<std::ptrdiff_t>(kept), candidates_.end());
}

// With the first `sorted` in place, puts the next ones there; returns how many are now.
size_t Sampler::sort_next(size_t sorted) {
  const size_t goal = std::min(std::max(kFirstSorted, sorted * 4), candidates_.size());
  const auto begin = candidates_.begin() + static_cast<std::ptrdiff_t>(sorted);
  const auto end = candidates_.begin() + static_cast<std::ptrdiff_t>(goal);
  std::nth_element(begin, end, candidates_.end(), likelier<Candidate>);
  std::sort(begin, end, likelier<Candidate>);
  return goal;
}

// One pass with a short sorted list: most logits are below its last.
void Sampler::fill_top(std::span<const float> logits, int top, double total) {
  top_.clear();
  const size_t wanted = std::min(static_cast<size_t>(top), logits.size());
  if (wanted == 0) return;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (top_.size() == wanted && !(logits[i] > top_.back().logprob)) continue;
    const auto place =
        std::find_if(top_.begin(), top_.end(), [&](const TokenLogprob& t) { return logits[i] > t.logprob; });
    top_.insert(place, {static_cast<int32_t>(i), logits[i]});
    if (top_.size() > wanted) top_.pop_back();
  }
  for (TokenLogprob& t : top_) t.logprob = static_cast<float>(static_cast<double>(t.logprob) - total);
}

}  // namespace chorus
