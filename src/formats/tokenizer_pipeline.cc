#include "formats/tokenizer_pipeline.h"

#include "base/error.h"
#include "base/utf8.h"
#include "formats/byte_level.h"
#include "formats/json_fields.h"

namespace chorus {
namespace {

constexpr const char* kGpt2Pattern =
    R"re('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)re";

[[noreturn]] void refuse_type(std::string_view type, std::string_view where) {
  fail("{}: type '{}' is not supported", where, printable(type));
}

TextPattern read_pattern(const json::object& object, std::string_view where) {
  const std::string place = fmt::format("{}.pattern", where);
  const json::object& pattern = as_object(member(object, "pattern", where), place);
  if (find_member(pattern, "Regex") != nullptr) return Regex(string_member(pattern, "Regex", place), place);
  std::string literal(string_member(pattern, "String", place));
  if (literal.empty()) fail("{}: empty", place);
  return literal;
}

// The members of a Sequence under `key`, each with its place.
template <typename F>
void each_of(const json::object& object, std::string_view key, std::string_view where, const F& read) {
  const std::string place = fmt::format("{}.{}", where, key);
  const json::array& array = as_array(member(object, key, where), place);
  for (size_t i = 0; i < array.size(); ++i) read(array[i], fmt::format("{}[{}]", place, i));
}

void add_normalizer(const json::value& value, const std::string& where, Normalizer& out) {
  const json::object& object = as_object(value, where);
  const std::string_view type = string_member(object, "type", where);
  if (type == "Sequence") {
    each_of(object, "normalizers", where,
            [&out](const json::value& v, const std::string& place) { add_normalizer(v, place, out); });
  } else if (type == "NFC") {
    out.steps.emplace_back(NormalForm::kNfc);
  } else if (type == "NFD") {
    out.steps.emplace_back(NormalForm::kNfd);
  } else if (type == "NFKC") {
    out.steps.emplace_back(NormalForm::kNfkc);
  } else if (type == "NFKD") {
    out.steps.emplace_back(NormalForm::kNfkd);
  } else if (type == "Lowercase") {
    out.steps.emplace_back(LowercaseStep{});
  } else if (type == "Prepend") {
    out.steps.emplace_back(PrependStep{std::string(string_member(object, "prepend", where))});
  } else if (type == "Replace") {
    out.steps.emplace_back(
        ReplaceStep{read_pattern(object, where), std::string(string_member(object, "content", where))});
  } else if (type == "Strip") {
    out.steps.emplace_back(StripStep{bool_member(object, "strip_left", true, where),
                                     bool_member(object, "strip_right", true, where)});
  } else {
    refuse_type(type, where);
  }
}

SplitBehavior read_behavior(const json::object& object, std::string_view where) {
  const std::string_view name = string_member(object, "behavior", where);
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  fail("{}.behavior: '{}' is not supported", where, printable(name));
}

PrependScheme read_prepend_scheme(const json::object& object, std::string_view where) {
  if (find_member(object, "prepend_scheme") == nullptr) {  // files of before tokenizers 0.15
    return bool_member(object, "add_prefix_space", true, where) ? PrependScheme::kAlways
                                                                : PrependScheme::kNever;
  }
  const std::string_view name = string_member(object, "prepend_scheme", where);
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  fail("{}.prepend_scheme: '{}' is not supported", where, printable(name));
}

std::string read_replacement(const json::object& object, std::string_view where) {
  std::string text(string_member(object, "replacement", where));
  if (text.empty() || decode_utf8(text).length != text.size()) {
    fail("{}.replacement: '{}'; must be one character", where, printable(text));
  }
  return text;
}

void add_pre_tokenizer(const json::value& value, const std::string& where, PreTokenizerSpec& out) {
  const json::object& object = as_object(value, where);
  const std::string_view type = string_member(object, "type", where);
  auto& steps = out.pre_tokenizer.steps;
  if (type == "Sequence") {
    each_of(object, "pretokenizers", where,
            [&out](const json::value& v, const std::string& place) { add_pre_tokenizer(v, place, out); });
    return;
  }
  if (out.byte_level) fail("{}: '{}' after ByteLevel is not supported", where, printable(type));
  if (type == "ByteLevel") {
    out.byte_level = true;
    if (bool_member(object, "add_prefix_space", true, where)) steps.emplace_back(PrefixSpaceStep{});
    if (bool_member(object, "use_regex", true, where)) {
      steps.emplace_back(SplitStep{Regex(kGpt2Pattern, where), SplitBehavior::kIsolated, false});
    }
  } else if (type == "Split") {
    steps.emplace_back(SplitStep{read_pattern(object, where), read_behavior(object, where),
                                 bool_member(object, "invert", false, where)});
  } else if (type == "Digits") {
    const bool individual = bool_member(object, "individual_digits", false, where);
    steps.emplace_back(SplitStep{Regex(R"re(\p{N})re", where),
                                 individual ? SplitBehavior::kIsolated : SplitBehavior::kContiguous, false});
  } else if (type == "Metaspace") {
    steps.emplace_back(MetaspaceStep{read_replacement(object, where), read_prepend_scheme(object, where),
                                     bool_member(object, "split", true, where)});
  } else if (type == "Whitespace") {
    // Rust's \w, which has the joiners too.
    steps.emplace_back(SplitStep{Regex(R"re([\w\x{200C}\x{200D}]+|[^\w\s\x{200C}\x{200D}]+)re", where),
                                 SplitBehavior::kRemoved, true});
  } else if (type == "WhitespaceSplit") {
    steps.emplace_back(SplitStep{Regex(R"re(\s)re", where), SplitBehavior::kRemoved, false});
  } else {
    refuse_type(type, where);
  }
}

void check_strip(const json::object& object, const std::string& where) {
  const bool one_space = string_member(object, "content", where) == " " &&
                         as_integer(member(object, "start", where), 0, INT32_MAX, where + ".start") == 1 &&
                         as_integer(member(object, "stop", where), 0, INT32_MAX, where + ".stop") == 0;
  if (!one_space) fail("{}: Strip of other than one space at the start is not supported", where);
}

struct DecoderState {
  Decoder decoder;
  bool fused = false;
};

void add_replacement(const json::object& object, const std::string& where, Decoder& out) {
  const TextPattern pattern = read_pattern(object, where);
  const auto* literal = std::get_if<std::string>(&pattern);
  if (literal == nullptr) fail("{}: Replace of a Regex in a decoder is not supported", where);
  out.replacements.emplace_back(*literal, string_member(object, "content", where));
}

void add_decoder(const json::value& value, const std::string& where, DecoderState& out) {
  const json::object& object = as_object(value, where);
  const std::string_view type = string_member(object, "type", where);
  if (type == "Sequence") {
    each_of(object, "decoders", where,
            [&out](const json::value& v, const std::string& place) { add_decoder(v, place, out); });
    return;
  }
  if (type == "Strip" && out.fused) {
    check_strip(object, where);
    out.decoder.leading_space = LeadingSpace::kStripOne;
    return;
  }
  if (out.fused || type == "Strip") fail("{}: '{}' in this place is not supported", where, printable(type));
  if (type == "ByteLevel") {
    out.decoder.byte_level = true;
  } else if (type == "ByteFallback") {
    out.decoder.byte_fallback = true;
  } else if (type == "Fuse") {
    out.fused = true;
  } else if (type == "Replace") {
    add_replacement(object, where, out.decoder);
  } else if (type == "Metaspace") {
    out.decoder.replacements.emplace_back(read_replacement(object, where), " ");
    if (read_prepend_scheme(object, where) != PrependScheme::kNever) {
      out.decoder.leading_space = LeadingSpace::kStripFirstToken;
    }
  } else {
    refuse_type(type, where);
  }
}

std::string replace_all(std::string text, const std::string& from, const std::string& to) {
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done).append(to);
    done = at + from.size();
  }
  return out.append(text, done, text.size() - done);
}

}  // namespace

Normalizer read_normalizer(const json::value* value, std::string_view where) {
  Normalizer out;
  if (value != nullptr) add_normalizer(*value, std::string(where), out);
  return out;
}

PreTokenizerSpec read_pre_tokenizer(const json::value* value, std::string_view where) {
  PreTokenizerSpec out;
  if (value != nullptr) add_pre_tokenizer(*value, std::string(where), out);
  return out;
}

Decoder read_decoder(const json::value* value, std::string_view where) {
  if (value == nullptr) fail("{}: none; a decoder is needed", where);
  DecoderState state;
  add_decoder(*value, std::string(where), state);
  return std::move(state.decoder);
}

std::string Decoder::bytes(std::string_view token) const {
  if (byte_level) return from_byte_level(token).value_or(std::string(token));
  std::string text(token);
  for (const auto& [from, to] : replacements) text = replace_all(std::move(text), from, to);
  if (byte_fallback) {
    if (const auto byte = parse_byte_token(text)) return std::string(1, static_cast<char>(*byte));
  }
  return text;
}

}  // namespace chorus
