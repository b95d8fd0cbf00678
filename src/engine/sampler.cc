#include "engine/sampler.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>

namespace chorus {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr Cut kEverything = {-kInfinity, std::numeric_limits<int32_t>::max()};
constexpr size_t kBuckets = 1024;
constexpr size_t kFewMembers = 64;  // are sorted

// The lowest id with that value, which is the largest of the row.
int32_t first_index(std::span<const float> row, std::span<const float> maxima, float value) {
  const auto block = static_cast<size_t>(std::ranges::find(maxima, value) - maxima.begin());
  const auto begin = row.begin() + static_cast<std::ptrdiff_t>(block * kLogitBlock);
  return static_cast<int32_t>(std::find(begin, row.end(), value) - row.begin());
}

// Larger values first, ties by id.
void sort_by_value(std::span<const float> row, std::span<int32_t> ids) {
  std::ranges::sort(ids, [row](int32_t a, int32_t b) {
    const float x = row[static_cast<size_t>(a)], y = row[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  });
}

// Equal steps of value from the largest down; steps of double, so that any two floats can be told apart.
struct Buckets {
  double largest, per_value;
  Buckets(float high, float low)
      : largest(static_cast<double>(high)),
        per_value(static_cast<double>(kBuckets - 1) / (largest - static_cast<double>(low))) {}
  size_t operator()(float value) const {
    return std::min(static_cast<size_t>((largest - static_cast<double>(value)) * per_value), kBuckets - 1);
  }
};

// The fewest members, larger values first and ties by id, whose mass together reaches `enough`; all of them
// if it is never reached. members is ascending, not empty, and scratch. A histogram tells in which bucket of
// values the end lies, then another of that bucket alone, until few members are left.
template <typename Mass>
Cut cut_at(std::span<const float> row, std::span<int32_t> members, std::span<double> masses, double enough,
           Mass mass) {
  const auto value = [row](int32_t id) { return row[static_cast<size_t>(id)]; };
  double sum = 0;  // of what is above all members
  while (members.size() > kFewMembers) {
    float low = kInfinity, high = -kInfinity;
    for (const int32_t id : members) {
      low = std::min(low, value(id));
      high = std::max(high, value(id));
    }
    if (low == high) break;
    const Buckets bucket_of(high, low);
    std::ranges::fill(masses, 0.0);
    for (const int32_t id : members) masses[bucket_of(value(id))] += mass(id);
    size_t end = 0;  // the bucket where the selection ends
    while (end + 1 < kBuckets && sum + masses[end] < enough) sum += masses[end++];
    size_t kept = 0;
    for (const int32_t id : members) {
      members[kept] = id;
      kept += bucket_of(value(id)) == end ? 1 : 0;
    }
    members = members.first(kept);
  }
  if (members.size() <= kFewMembers) sort_by_value(row, members);
  size_t last = 0;
  while ((sum += mass(members[last])) < enough && last + 1 < members.size()) ++last;
  return {value(members[last]), members[last]};
}

// Whether an id outside `banned` is allowed.
bool allows_another(std::span<const uint64_t> allowed, std::span<const int32_t> banned) {
  for (size_t i = 0; i < allowed.size(); ++i) {
    for (uint64_t word = allowed[i]; word != 0; word &= word - 1) {
      const auto id = static_cast<int32_t>(i * 64) + std::countr_zero(word);
      if (std::ranges::find(banned, id) == banned.end()) return true;
    }
  }
  return false;
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
    : work_(static_cast<size_t>(vocab)),
      counts_(work_.size(), 0),
      maxima_(logit_blocks(work_.size())),
      sums_(maxima_.size()),
      order_(maxima_.size()),
      weights_(maxima_.size() * kLogitBlock),
      members_(work_.size() + 1),
      masses_(kBuckets) {
  top_.reserve(static_cast<size_t>(max_top_logprobs));
}

Sampled Sampler::score(std::span<const float> logits, int32_t token, int top) {
  const float max = find_maxima(logits, maxima_);
  if (std::isnan(max)) return {};
  exp_blocks({logits, maxima_, max, 1, -kInfinity}, sums_);
  const double total = static_cast<double>(max) + std::log(sum_blocks(sums_));
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
  const bool penalties =
      params.repetition_penalty != 1 || params.presence_penalty != 0 || params.frequency_penalty != 0;
  std::span<const float> row = args.logits;
  float max = find_maxima(row, maxima_);
  if (std::isnan(max)) return -1;
  if (!params.logit_bias.empty() || !args.banned.empty() || !args.allowed.empty() || penalties) {
    modify(args);
    row = work_;
    max = find_maxima(row, maxima_);
    if (std::isnan(max)) return -1;
  }
  return params.temperature == 0 ? first_index(row, maxima_, max) : draw(args, row, max);
}

void Sampler::modify(const SampleArgs& args) {
  std::ranges::copy(args.logits, work_.begin());
  for (const auto& [id, bias] : args.params->logit_bias) work_[static_cast<size_t>(id)] += bias;
  penalize(args);
  forbid(args);
}

void Sampler::forbid(const SampleArgs& args) {
  if (args.allowed.empty() || allows_another(args.allowed, args.banned)) {
    for (const int32_t id : args.banned) work_[static_cast<size_t>(id)] = -kInfinity;
  }
  if (args.allowed.empty()) return;
  // A word is a block of logits; most are of one kind.
  for (size_t block = 0; block < maxima_.size(); ++block) {
    const uint64_t word = block < args.allowed.size() ? args.allowed[block] : 0;
    const BlockRange range = block_range(block, work_.size());
    if (word == ~uint64_t{0}) continue;
    for (size_t i = range.begin; i < range.end; ++i) {
      if ((word >> (i - range.begin) & 1) == 0) work_[i] = -kInfinity;
    }
  }
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

int32_t Sampler::draw(const SampleArgs& args, std::span<const float> row, float max) {
  const SamplingParams& params = *args.params;
  const bool all_weights = params.top_p < 1;  // of what is in the top k
  const Cut top_k = params.top_k > 0 ? top_k_cut(row, params.top_k) : kEverything;
  // The likeliest has weight 1, so min-p is a bound on the weight itself; here a little lower, for rounding.
  const float min_value = params.min_p > 0 && !all_weights
                              ? max + params.temperature * (std::log(params.min_p) - 0.01f)
                              : -kInfinity;
  exp_blocks({row, maxima_, max, params.temperature, std::max(top_k.value, min_value), weights_}, sums_);
  if (params.top_k > 0) restrict_weights(row, top_k, 0, weights_, sums_);
  const Cut top_p = all_weights ? top_p_cut(row, params.top_p) : kEverything;
  if (all_weights || params.min_p > 0) restrict_weights(row, top_p, params.min_p, weights_, sums_);

  const double target = sum_blocks(sums_) * counter_uniform(params.seed, static_cast<uint32_t>(args.sample),
                                                            static_cast<uint32_t>(args.position));
  double before = 0, next = 0;  // sums up to the block, and with it
  size_t block = 0;
  for (size_t b = 0; b < sums_.size() && !(next > target); ++b) {
    if (sums_[b] == 0) continue;
    block = b;
    before = next;
    next += static_cast<double>(sums_[b]);
  }
  int32_t token = -1;
  for (size_t i = block * kLogitBlock; i < (block + 1) * kLogitBlock && !(before > target); ++i) {
    if (weights_[i] == 0) continue;
    token = static_cast<int32_t>(i);
    before += static_cast<double>(weights_[i]);
  }
  return token;
}

Cut Sampler::top_k_cut(std::span<const float> row, int k) {
  const std::span<int32_t> members = collect(row, maxima_, kth_maximum(static_cast<size_t>(k)));
  return cut_at(row, members, masses_, k, [](int32_t) { return 1.0; });
}

Cut Sampler::top_p_cut(std::span<const float> row, float top_p) {
  const double total = sum_blocks(sums_), rest = total * (1 - static_cast<double>(top_p));
  // All weights below the bound together are not missed, so the selection ends before them.
  const double bound = rest / static_cast<double>(2 * row.size());
  const std::span<int32_t> members = collect(weights_, sums_, std::max(static_cast<float>(bound), 1e-38f));
  return cut_at(row, members, masses_, total * static_cast<double>(top_p),
                [&](int32_t id) { return static_cast<double>(weights_[static_cast<size_t>(id)]); });
}

// A bound that at least k values of the row reach: k blocks do; -infinity where there are fewer.
float Sampler::kth_maximum(size_t k) {
  if (k > maxima_.size()) return -kInfinity;
  std::ranges::copy(maxima_, order_.begin());
  const auto kth = order_.begin() + static_cast<std::ptrdiff_t>(k - 1);
  std::nth_element(order_.begin(), kth, order_.end(), std::greater<>());
  return *kth;
}

// The ids whose key is at least `bound` and above -infinity, ascending. No key of a block is above its bound.
std::span<int32_t> Sampler::collect(std::span<const float> keys, std::span<const float> block_bounds,
                                    float bound) {
  const float least = std::max(bound, std::numeric_limits<float>::lowest());
  size_t count = 0;
  for (size_t b = 0; b < block_bounds.size(); ++b) {
    if (block_bounds[b] < least) continue;
    const BlockRange range = block_range(b, work_.size());
    for (size_t i = range.begin; i < range.end; ++i) {
      members_[count] = static_cast<int32_t>(i);
      count += keys[i] >= least ? 1 : 0;
    }
  }
  return std::span(members_).first(count);
}

void Sampler::fill_top(std::span<const float> logits, int top, double total) {
  top_.clear();
  if (top == 0) return;
  const std::span<int32_t> likely = collect(logits, maxima_, kth_maximum(static_cast<size_t>(top)));
  sort_by_value(logits, likely);
  for (const int32_t id : likely.first(std::min(likely.size(), static_cast<size_t>(top)))) {
    const double logit = static_cast<double>(logits[static_cast<size_t>(id)]);
    top_.push_back({id, static_cast<float>(logit - total)});
  }
}

}  // namespace chorus
