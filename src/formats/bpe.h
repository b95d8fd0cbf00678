#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/flat_map.h"

namespace chorus {

// Text -> value, looked up by string_view.
struct TextHash {
  using is_transparent = void;
  size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
};
using TokenIds = std::unordered_map<std::string, int32_t, TextHash, std::equal_to<>>;

struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t rank;  // lower merges first; equal ranks from left to right
  int32_t result;
};

struct BpeSettings {
  bool byte_level = false;         // the vocabulary is written in GPT-2's byte alphabet: symbols are bytes
  bool byte_fallback = false;      // an unknown character becomes its bytes' tokens, "<0xHH>"
  bool fuse_unknown = false;       // adjacent unknown characters become one unknown token
  bool ignore_merges = false;      // a piece that is a token is that token, whatever the merges give
  std::optional<int32_t> unknown;  // none: unknown characters vanish, as in `tokenizers`
};

// Byte-pair encoding of one piece of text. Immutable and thread-safe.
class Bpe {
 public:
  // Working memory of one thread, kept between pieces.
  struct Scratch {
    struct Symbol {
      int32_t id;  // -1: merged into the one before
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      int32_t rank;
      int32_t position;  // of the left symbol
      int32_t result;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
  };

  // `vocabulary`: the tokens that text can become, by their text as the file writes it. Of two merges of the
  // same pair the later holds.
  Bpe(const BpeSettings& settings, const TokenIds& vocabulary, const std::vector<BpeMerge>& merges);

  // Appends the ids of `piece`, less than 2^31 bytes of valid UTF-8 (or, byte-level, any bytes), in time
  // n log n.
  void encode(std::string_view piece, Scratch& scratch, std::vector<int32_t>& ids) const;

 private:
  struct Target {
    int32_t rank;
    int32_t result;
  };

  void add_symbols(std::string_view piece, Scratch& scratch) const;
  bool add_byte_tokens(std::string_view character, Scratch& scratch) const;
  void merge(Scratch& scratch) const;
  const Target* find_merge(int32_t left, int32_t right) const;
  void consider(Scratch& scratch, int32_t left) const;

  BpeSettings settings_;
  FlatMap<Target> merges_;          // left << 32 | right
  std::array<int32_t, 256> bytes_;  // byte-level: the byte's symbol; else its byte token; -1: none
  FlatMap<int32_t> characters_;     // code point -> id
  TokenIds whole_pieces_;           // with ignore_merges
};

// The merges of a SentencePiece vocabulary, which has scores instead: every way to cut a token into two
// tokens, those of the highest score first. `scores` by id. Tokens are at most kMaxScoredBytes long.
std::vector<BpeMerge> merges_from_scores(const TokenIds& vocabulary, const std::vector<double>& scores);

inline constexpr size_t kMaxScoredBytes = 1024;

}  // namespace chorus
