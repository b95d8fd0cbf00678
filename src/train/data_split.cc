#include "train/data_split.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <unordered_map>

#include "base/sha256.h"
#include "formats/unicode.h"

namespace chorus {
namespace {

uint64_t first_bytes(const Digest& digest) {
  uint64_t value = 0;
  std::memcpy(&value, digest.data(), sizeof value);
  return value;
}

uint64_t hash_of(std::string_view text) {
  Sha256 hash;
  hash.add(text);
  return first_bytes(hash.finish());
}

// Keeps no difference that a reader would not call one.
std::string normalized(std::string_view text) {
  const std::string folded = lowercase(normal_form(to_valid_utf8(text), NormalForm::kNfkc));
  std::string out;
  std::string_view rest = folded;
  while (!rest.empty()) {
    if (const size_t space = white_space_prefix(rest); space > 0) {
      rest.remove_prefix(space);
      if (!out.empty() && !rest.empty()) out += ' ';
      continue;
    }
    const size_t length = decode_utf8(rest).length;
    out += rest.substr(0, length);
    rest.remove_prefix(length);
  }
  return out;
}

std::string normalized_turn(const json::value& value) {
  const json::object& turn = value.get_object();
  std::string text(turn.at("role").get_string());
  text += '\n';
  if (turn.at("content").is_string()) text += normalized(turn.at("content").get_string());
  if (const json::value* calls = turn.if_contains("tool_calls")) text += json::serialize(*calls);
  return text + '\0';
}

ContentKeys keys_of(const Example& example) {
  if (example.messages.empty()) {
    const uint64_t same = hash_of(normalized(example.text));
    return {hash_of(example.text), same, same};
  }
  std::string prompt;
  for (size_t i = 0; i + 1 < example.messages.size(); ++i) prompt += normalized_turn(example.messages[i]);
  const std::string whole = prompt + normalized_turn(example.messages.back());
  return {hash_of(json::serialize(example.messages)), hash_of(whole), hash_of(prompt)};
}

ContentKeys keys_of_tokens(const TokenizedExample& sequence) {
  Sha256 hash;
  hash.add(std::as_bytes(std::span(sequence.tokens)));
  const uint64_t key = first_bytes(hash.finish());
  return {key, key, key};
}

// What must stay together.
std::vector<uint64_t> group_keys(const std::vector<ContentKeys>& keys) {
  std::unordered_map<uint64_t, size_t> sharing;
  for (const ContentKeys& key : keys) ++sharing[key.prompt];
  std::vector<uint64_t> groups;
  for (const ContentKeys& key : keys)
    groups.push_back(sharing[key.prompt] * 10 > keys.size() ? key.normalized : key.prompt);
  return groups;
}

uint64_t seeded(uint64_t key, uint64_t seed) {
  Sha256 hash;
  hash.add_value(seed);
  hash.add_value(key);
  return first_bytes(hash.finish());
}

}  // namespace

std::vector<ContentKeys> content_keys(const Dataset& dataset, const TokenizedDataset& tokens) {
  std::vector<int> sequences(dataset.examples.size(), 0);
  for (const TokenizedExample& sequence : tokens.examples) ++sequences[static_cast<size_t>(sequence.example)];
  std::vector<ContentKeys> keys;
  for (const TokenizedExample& sequence : tokens.examples) {
    const auto index = static_cast<size_t>(sequence.example);
    const Example& example = dataset.examples[index];
    const bool again = !keys.empty() && tokens.examples[keys.size() - 1].example == sequence.example;
    if (example.messages.empty() && sequences[index] > 1) {
      keys.push_back(keys_of_tokens(sequence));
    } else {
      keys.push_back(again ? keys.back() : keys_of(example));
    }
  }
  return keys;
}

Split split_validation(const std::vector<ContentKeys>& keys, double share, uint64_t seed) {
  const std::vector<uint64_t> groups = group_keys(keys);
  std::map<uint64_t, std::vector<int>> ordered;  // by the seeded hash: in an order of chance
  for (size_t i = 0; i < groups.size(); ++i) ordered[seeded(groups[i], seed)].push_back(static_cast<int>(i));
  const double wanted = std::max(1.0, share * static_cast<double>(keys.size()));
  Split split;
  for (const auto& [hash, members] : ordered) {
    const bool held = ordered.size() > 1 && static_cast<double>(split.validation.size()) + 0.5 < wanted &&
                      split.validation.size() + members.size() < keys.size();
    std::vector<int>& part = held ? split.validation : split.train;
    part.insert(part.end(), members.begin(), members.end());
  }
  std::ranges::sort(split.train);
  std::ranges::sort(split.validation);
  return split;
}

Split split_by_file(const TokenizedDataset& tokens, int first_file) {
  Split split;
  for (size_t i = 0; i < tokens.examples.size(); ++i)
    (tokens.examples[i].file < first_file ? split.train : split.validation).push_back(static_cast<int>(i));
  return split;
}

}  // namespace chorus
