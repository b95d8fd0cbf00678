#include "formats/bpe.h"

#include <algorithm>

#include "base/utf8.h"
#include "formats/byte_level.h"

namespace chorus {
namespace {

// A heap's front is its greatest: the candidate of the lowest rank, leftmost among equals.
bool comes_later(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) {
  return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

void add_symbol(Bpe::Scratch& scratch, int32_t id) {
  const auto at = static_cast<int32_t>(scratch.symbols.size());
  scratch.symbols.push_back({id, at - 1, at + 1});
}

}  // namespace

Bpe::Bpe(const BpeSettings& settings, const TokenIds& vocabulary, const std::vector<BpeMerge>& merges)
    : settings_(settings), merges_(merges.size()) {
  bytes_.fill(-1);
  for (const auto& [text, id] : vocabulary) {
    if (settings_.byte_level) {
      const std::optional<std::string> bytes = from_byte_level(text);
      if (!bytes || bytes->empty()) continue;
      if (bytes->size() == 1) bytes_[static_cast<unsigned char>((*bytes)[0])] = id;
      if (settings_.ignore_merges) whole_pieces_.emplace(*bytes, id);
      continue;
    }
    if (const std::optional<unsigned char> byte = parse_byte_token(text)) bytes_[*byte] = id;
    if (text.empty()) continue;
    const Utf8Char c = decode_utf8(text);
    if (c.valid && c.length == text.size()) characters_[c.code_point] = id;
    if (settings_.ignore_merges) whole_pieces_.emplace(text, id);
  }
  for (const BpeMerge& merge : merges)
    merges_[pair_key(merge.left, merge.right)] = {merge.rank, merge.result};
}

const Bpe::Target* Bpe::find_merge(int32_t left, int32_t right) const {
  return merges_.find(pair_key(left, right));
}

bool Bpe::add_byte_tokens(std::string_view character, Scratch& scratch) const {
  const auto token = [this](char c) { return bytes_[static_cast<unsigned char>(c)]; };
  if (!std::all_of(character.begin(), character.end(), [&](char c) { return token(c) >= 0; })) return false;
  for (const char c : character) add_symbol(scratch, token(c));
  return true;
}

void Bpe::add_symbols(std::string_view piece, Scratch& scratch) const {
  bool pending_unknown = false;
  const auto flush = [&] {
    if (pending_unknown) add_symbol(scratch, *settings_.unknown);
    pending_unknown = false;
  };
  for (size_t i = 0; i < piece.size();) {
    const Utf8Char c = settings_.byte_level ? Utf8Char{0, 1, true, false} : decode_utf8(piece.substr(i));
    const int32_t* found =
        settings_.byte_level ? &bytes_[static_cast<unsigned char>(piece[i])] : characters_.find(c.code_point);
    const std::string_view character = piece.substr(i, c.length);
    i += c.length;
    if (found != nullptr && *found >= 0) {
      flush();
      add_symbol(scratch, *found);
    } else if (settings_.byte_fallback && add_byte_tokens(character, scratch)) {
      continue;
    } else if (settings_.unknown) {
      if (!settings_.fuse_unknown) flush();
      pending_unknown = true;
    }
  }
  flush();
}

void Bpe::consider(Scratch& scratch, int32_t left) const {
  const auto& symbol = scratch.symbols[static_cast<size_t>(left)];
  const Target* target = find_merge(symbol.id, scratch.symbols[static_cast<size_t>(symbol.next)].id);
  if (target == nullptr) return;
  scratch.heap.push_back({target->rank, left, target->result});
}

void Bpe::merge(Scratch& scratch) const {
  auto& symbols = scratch.symbols;
  auto& heap = scratch.heap;
  heap.clear();
  const auto count = static_cast<int32_t>(symbols.size());
  for (int32_t i = 0; i + 1 < count; ++i) consider(scratch, i);
  std::make_heap(heap.begin(), heap.end(), comes_later);
  const auto push = [&](int32_t left) {
    const size_t before = heap.size();
    consider(scratch, left);
    if (heap.size() > before) std::push_heap(heap.begin(), heap.end(), comes_later);
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), comes_later);
    const Scratch::Candidate candidate = heap.back();
    heap.pop_back();
    auto& left = symbols[static_cast<size_t>(candidate.position)];
    if (left.id < 0 || left.next == count) continue;
    auto& right = symbols[static_cast<size_t>(left.next)];
    // The pair may have changed since it was queued.
    const Target* target = find_merge(left.id, right.id);
    if (target == nullptr || target->result != candidate.result) continue;
    left.id = candidate.result;
    left.next = right.next;
    right.id = -1;
    if (left.next != count) {
      symbols[static_cast<size_t>(left.next)].previous = candidate.position;
      push(candidate.position);
    }
    if (left.previous >= 0) push(left.previous);
  }
}

void Bpe::encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const {
  if (settings_.ignore_merges) {
    if (const auto whole = whole_pieces_.find(piece); whole != whole_pieces_.end()) {
      ids.push_back(whole->second);
      return;
    }
  }
  scratch.symbols.clear();
  add_symbols(piece, scratch);
  merge(scratch);
  for (const Scratch::Symbol& symbol : scratch.symbols) {
    if (symbol.id >= 0) ids.push_back(symbol.id);
  }
}

std::vector<BpeMerge> merges_from_scores(const TokenIds& vocabulary, const std::vector<double>& scores) {
  std::vector<double> order;
  order.reserve(vocabulary.size());
  for (const auto& [text, id] : vocabulary) order.push_back(scores[static_cast<size_t>(id)]);
  std::sort(order.begin(), order.end(), std::greater<>());
  order.erase(std::unique(order.begin(), order.end()), order.end());
  std::vector<BpeMerge> merges;
  for (const auto& [text, id] : vocabulary) {
    const auto rank =
        std::lower_bound(order.begin(), order.end(), scores[static_cast<size_t>(id)], std::greater<>());
    const std::string_view whole = text;
    for (size_t cut = decode_utf8(whole).length; cut < whole.size();
         cut += decode_utf8(whole.substr(cut)).length) {
      const auto left = vocabulary.find(whole.substr(0, cut));
      if (left == vocabulary.end()) continue;
      const auto right = vocabulary.find(whole.substr(cut));
      if (right == vocabulary.end()) continue;
      merges.push_back({left->second, right->second, static_cast<int32_t>(rank - order.begin()), id});
    }
  }
  return merges;
}

}  // namespace chorus
