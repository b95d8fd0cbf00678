#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "formats/normalizer.h"

namespace chorus {

// How a Split treats its matches (the names are `tokenizers`').
enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

struct SplitStep {
  TextPattern pattern;
  SplitBehavior behavior;
  bool invert;  // what lies between the matches is the separator
};

// ByteLevel's add_prefix_space: every piece begins with a space.
struct PrefixSpaceStep {};

enum class PrependScheme { kAlways, kFirst, kNever };

struct MetaspaceStep {
  std::string replacement;  // of a space: one character, U+2581 as a rule
  PrependScheme prepend;
  bool split;  // before every replacement
};

using PreTokenizerStep = std::variant<SplitStep, PrefixSpaceStep, MetaspaceStep>;

struct PreTokenizer {
  std::vector<PreTokenizerStep> steps;
};

// Text cut into pieces, none empty: merges never cross from one to the next.
struct Pieces {
  std::string text;
  std::vector<Span> spans;
  bool at_start = true;  // the text is the beginning of what is encoded (for PrependScheme::kFirst)
};

// Cuts one stretch of normalized text. Error: a Regex over its bounds.
void pre_tokenize(const PreTokenizer& pre_tokenizer, Pieces& pieces);

// A GGUF file names its pre-tokenizer (tokenizer.ggml.pre) where tokenizer.json spells it out.
struct GgufPreTokenizer {
  std::vector<SplitStep> splits;
  bool nfc = false;            // the tokenizer also has the NFC normalizer
  bool ignore_merges = false;  // a piece that is a token is that token, whatever the merges give
  bool add_bos = false;        // where the file does not say
};

// Error listing the known names: an unknown one. `what` names the file.
GgufPreTokenizer find_gguf_pre_tokenizer(std::string_view name, std::string_view what);

}  // namespace chorus
