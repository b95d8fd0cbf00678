#include <algorithm>

#include "base/error.h"
#include "formats/json_fields.h"
#include "formats/tokenizer.h"
#include "formats/tokenizer_impl.h"
#include "formats/tokenizer_pipeline.h"

namespace chorus {
namespace {

// Ids may have gaps, but not so many that a small file makes a large table.
int64_t max_id(size_t tokens) { return 2 * static_cast<int64_t>(tokens) + 4096; }

struct Loader {
  std::string what;
  const json::object& file;
  TokenizerData* impl;
};

std::string at(const std::string& what, std::string_view field) { return fmt::format("{}: {}", what, field); }

TokenIds read_vocab(const json::object& model, const std::string& where) {
  const std::string place = where + ".vocab";
  const json::object& vocab = as_object(member(model, "vocab", where), place);
  if (vocab.empty()) fail("{}: empty", place);
  TokenIds ids;
  ids.reserve(vocab.size());
  for (const auto& entry : vocab) {
    const std::string_view text(entry.key().data(), entry.key().size());
    if (text.empty()) fail("{}: an empty token", place);
    const std::string name = fmt::format("{}['{}']", place, printable(text));
    ids.emplace(text, static_cast<int32_t>(as_integer(entry.value(), 0, max_id(vocab.size()), name)));
  }
  return ids;
}

int32_t merged_token(const TokenIds& vocab, std::string_view text, const std::string& place, size_t i) {
  const auto found = vocab.find(text);
  if (found == vocab.end()) fail("{}[{}]: '{}' is not in the vocabulary", place, i, printable(text));
  return found->second;
}

// "a b", or ["a", "b"] since tokenizers 0.20.
std::pair<std::string_view, std::string_view> split_merge(const json::value& merge, const std::string& place,
                                                          size_t i) {
  if (merge.is_array() && merge.get_array().size() == 2) {
    const json::array& pair = merge.get_array();
    return {as_string(pair[0], place), as_string(pair[1], place)};
  }
  const std::string_view text = as_string(merge, fmt::format("{}[{}]", place, i));
  const size_t space = text.find(' ');
  if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
    fail("{}[{}]: '{}'; must be two tokens with a space between", place, i, printable(text));
  }
  return {text.substr(0, space), text.substr(space + 1)};
}

std::vector<BpeMerge> read_merges(const json::object& model, const TokenIds& vocab,
                                  const std::string& where) {
  const std::string place = where + ".merges";
  const json::array& array = as_array(member(model, "merges", where), place);
  std::vector<BpeMerge> merges;
  merges.reserve(array.size());
  for (size_t i = 0; i < array.size(); ++i) {
    const auto [left, right] = split_merge(array[i], place, i);
    merges.push_back({merged_token(vocab, left, place, i), merged_token(vocab, right, place, i),
                      static_cast<int32_t>(i),
                      merged_token(vocab, std::string(left).append(right), place, i)});
  }
  return merges;
}

// Members whose work is not done here: they must be absent, null, or as good as.
void check_plain(const json::object& model, const std::string& where) {
  for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json::value* value = find_member(model, key);
    if (value != nullptr && !(value->is_string() && value->get_string().empty())) {
      fail("{}.{} is not supported", where, key);
    }
  }
  const json::value* dropout = find_member(model, "dropout");
  if (dropout != nullptr && !(dropout->is_number() && dropout->to_number<double>() == 0)) {
    fail("{}.dropout is not supported", where);
  }
}

BpeSettings read_settings(const json::object& model, const TokenIds& vocab, const std::string& where) {
  BpeSettings settings;
  settings.byte_fallback = bool_member(model, "byte_fallback", false, where);
  settings.fuse_unknown = bool_member(model, "fuse_unk", false, where);
  settings.ignore_merges = bool_member(model, "ignore_merges", false, where);
  if (find_member(model, "unk_token") != nullptr) {
    const std::string_view unknown = string_member(model, "unk_token", where);
    const auto found = vocab.find(unknown);
    if (found != vocab.end()) settings.unknown = found->second;
  }
  return settings;
}

AddedToken read_added_token(const json::value& value, int64_t highest, const std::string& where) {
  const json::object& object = as_object(value, where);
  AddedToken token;
  token.content = string_member(object, "content", where);
  token.id = static_cast<int32_t>(as_integer(member(object, "id", where), 0, highest, where + ".id"));
  token.special = bool_member(object, "special", false, where);
  token.lstrip = bool_member(object, "lstrip", false, where);
  token.rstrip = bool_member(object, "rstrip", false, where);
  token.single_word = bool_member(object, "single_word", false, where);
  token.normalized = bool_member(object, "normalized", !token.special, where);
  return token;
}

std::vector<AddedToken> read_added_tokens(const Loader& load, size_t vocab_size) {
  std::vector<AddedToken> tokens;
  const json::value* value = find_member(load.file, "added_tokens");
  if (value == nullptr) return tokens;
  const std::string place = at(load.what, "added_tokens");
  const json::array& array = as_array(*value, place);
  for (size_t i = 0; i < array.size(); ++i) {
    const std::string where = fmt::format("{}[{}]", place, i);
    tokens.push_back(read_added_token(array[i], max_id(vocab_size + array.size()), where));
    if (tokens.back().content.empty()) tokens.pop_back();  // `tokenizers` ignores it
  }
  return tokens;
}

// The ids that a TemplateProcessing puts around the text ("single": a list of SpecialToken and Sequence A).
void read_template(const Loader& load, const json::object& object, const std::string& where) {
  const json::object& specials =
      as_object(member(object, "special_tokens", where), where + ".special_tokens");
  const json::array& single = as_array(member(object, "single", where), where + ".single");
  bool seen_text = false;
  for (const json::value& value : single) {
    const json::object& piece = as_object(value, where + ".single");
    if (find_member(piece, "Sequence") != nullptr) {
      if (seen_text) fail("{}.single: more than one Sequence is not supported", where);
      seen_text = true;
      continue;
    }
    const std::string place = where + ".single.SpecialToken";
    const std::string_view name =
        string_member(as_object(member(piece, "SpecialToken", where), place), "id", place);
    const std::string special = fmt::format("{}.special_tokens['{}']", where, printable(name));
    const json::object& entry = as_object(member(specials, name, where + ".special_tokens"), special);
    const json::array& ids = as_array(member(entry, "ids", special), special + ".ids");
    for (const json::value& id : ids) {
      const auto highest = static_cast<int64_t>(load.impl->tokens.size()) - 1;
      auto& side = seen_text ? load.impl->suffix : load.impl->prefix;
      side.push_back(static_cast<int32_t>(as_integer(id, 0, highest, special + ".ids")));
    }
  }
  if (!seen_text) fail("{}.single: no Sequence", where);
}

void read_post_processor(const Loader& load, const json::value& value, const std::string& where) {
  const json::object& object = as_object(value, where);
  const std::string_view type = string_member(object, "type", where);
  if (type == "ByteLevel") return;  // changes offsets only
  if (type == "Sequence") {
    const json::array& parts = as_array(member(object, "processors", where), where + ".processors");
    for (size_t i = 0; i < parts.size(); ++i) {
      read_post_processor(load, parts[i], fmt::format("{}.processors[{}]", where, i));
    }
  } else if (type == "TemplateProcessing") {
    if (!load.impl->prefix.empty() || !load.impl->suffix.empty()) {
      fail("{}: a second TemplateProcessing is not supported", where);
    }
    read_template(load, object, where);
  } else {
    fail("{}: type '{}' is not supported", where, printable(type));
  }
}

// A token that tokenizer_config.json names: a string, or an object with "content".
std::optional<int32_t> config_token(const Loader& load, const json::object& config, std::string_view key) {
  const json::value* value = find_member(config, key);
  if (value == nullptr) return std::nullopt;
  const std::string where = fmt::format("{}: tokenizer_config.{}", load.what, key);
  const std::string_view text =
      value->is_object() ? string_member(value->get_object(), "content", where) : as_string(*value, where);
  const auto found = load.impl->ids.find(text);
  if (found == load.impl->ids.end()) fail("{}: '{}' is not a token", where, printable(text));
  return found->second;
}

// add_bos_token and add_eos_token override the post-processor.
void apply_config(const Loader& load, const json::value& value) {
  TokenizerData& impl = *load.impl;
  if (value.is_null()) {
    if (!impl.prefix.empty()) impl.bos = impl.prefix.front();
    return;
  }
  const std::string where = at(load.what, "tokenizer_config");
  const json::object& config = as_object(value, where);
  impl.bos = config_token(load, config, "bos_token");
  impl.eos = config_token(load, config, "eos_token");
  if (impl.bos) {
    const bool has = !impl.prefix.empty() && impl.prefix.front() == *impl.bos;
    const bool wants = bool_member(config, "add_bos_token", has, where);
    if (wants && !has) impl.prefix.insert(impl.prefix.begin(), *impl.bos);
    if (!wants && has) impl.prefix.erase(impl.prefix.begin());
  }
  if (impl.eos) {
    const bool has = !impl.suffix.empty() && impl.suffix.back() == *impl.eos;
    const bool wants = bool_member(config, "add_eos_token", has, where);
    if (wants && !has) impl.suffix.push_back(*impl.eos);
    if (!wants && has) impl.suffix.pop_back();
  }
}

// Model and added tokens. What is special is never the model's own choice, so that text cannot become it.
void read_model(const Loader& load, bool byte_level, const Decoder& decoder) {
  const std::string where = at(load.what, "model");
  const json::object& model = as_object(member(load.file, "model", load.what), where);
  const json::value* type = find_member(model, "type");
  if (type != nullptr && as_string(*type, where + ".type") != "BPE") {
    fail("{}: type '{}' is not supported", where, printable(as_string(*type, where)));
  }
  check_plain(model, where);
  TokenizerData& impl = *load.impl;
  TokenIds vocab = read_vocab(model, where);
  for (const auto& [text, id] : vocab) impl.add_token(id, text, where + ".vocab");
  for (Token& token : impl.tokens) token.bytes = decoder.bytes(token.text);
  const std::vector<BpeMerge> merges = read_merges(model, vocab, where);
  BpeSettings settings = read_settings(model, vocab, where);
  settings.byte_level = byte_level;
  const std::string added_place = at(load.what, "added_tokens");
  for (const AddedToken& token : read_added_tokens(load, vocab.size())) {
    const auto known = impl.ids.find(token.content);
    if (known == impl.ids.end() || known->second != token.id)
      impl.add_token(token.id, token.content, added_place);
    const std::string pattern = impl.add_added(token, added_place);
    // `tokenizers` decodes a normalized token to its normalized text. A byte-level decoder would take
    // "\u00E9" in an added token for the byte E9; the text is the text.
    Token& entry = impl.tokens[static_cast<size_t>(token.id)];
    entry.bytes = decoder.byte_level ? pattern : decoder.bytes(pattern);
    if (token.special) vocab.erase(token.content);
  }
  impl.bpe.emplace(settings, vocab, merges);
}

}  // namespace

Tokenizer Tokenizer::from_json(const json::value& tokenizer, const json::value& config,
                               std::string_view what) {
  auto impl = std::make_unique<Impl>();
  const Loader load{std::string(what), as_object(tokenizer, what), impl.get()};
  impl->normalizer = read_normalizer(find_member(load.file, "normalizer"), at(load.what, "normalizer"));
  PreTokenizerSpec spec =
      read_pre_tokenizer(find_member(load.file, "pre_tokenizer"), at(load.what, "pre_tokenizer"));
  impl->pre_tokenizer = std::move(spec.pre_tokenizer);
  const Decoder decoder = read_decoder(find_member(load.file, "decoder"), at(load.what, "decoder"));
  impl->leading_space = decoder.leading_space;
  read_model(load, spec.byte_level, decoder);
  if (const json::value* post = find_member(load.file, "post_processor")) {
    read_post_processor(load, *post, at(load.what, "post_processor"));
  }
  apply_config(load, config);
  impl->finish();
  return Tokenizer(std::move(impl));
}

}  // namespace chorus
