#include "tuning/tune_data.h"

#include <filesystem>

namespace chorus {
namespace {

std::vector<TokenizedExample> chosen(const TokenizedDataset& tokens, const std::vector<int>& indices) {
  std::vector<TokenizedExample> out;
  for (const int index : indices) {
    const TokenizedExample& example = tokens.examples[static_cast<size_t>(index)];
    if (example.labels > 0 && example.tokens.size() > 1) out.push_back(example);
  }
  return out;
}

}  // namespace

std::string adapter_name_of(const std::string& path) {
  std::filesystem::path at = std::filesystem::path(path).lexically_normal();
  if (!at.has_filename()) at = at.parent_path();
  const std::string stem = at.stem().string();
  const std::string folder = at.parent_path().filename().string();
  return (stem == "data" || stem == "train") && !folder.empty() ? folder : stem;
}

TuneData read_tune_data(const std::string& path, const TextFiles& text, const TuneDataOptions& options) {
  return read_tune_data(path, text.tokenizer, text.chat_template ? &*text.chat_template : nullptr, options);
}

TuneData read_tune_data(const std::string& path, const Tokenizer& tokenizer,
                        const ChatTemplate* chat_template, const TuneDataOptions& options) {
  const TokenizeOptions tokenize{options.train_on, options.max_tokens};
  Dataset dataset = read_dataset({path});
  const int first_validation_file = static_cast<int>(dataset.files.size());
  if (!options.validation.empty()) append_dataset(dataset, read_dataset(options.validation));
  const TokenizedDataset tokens = tokenize_dataset(dataset, tokenizer, chat_template, tokenize);
  const std::vector<ContentKeys> keys = content_keys(dataset, tokens);
  const bool held_back = options.validation.empty() && options.validation_share > 0;
  const Split split = held_back ? split_validation(keys, options.validation_share, options.seed)
                                : split_by_file(tokens, first_validation_file);
  const bool wants_validation = (held_back && options.wants_share) || !options.validation.empty();
  return {.name = adapter_name_of(path),
          .train = chosen(tokens, split.train),
          .validation = chosen(tokens, split.validation),
          .report = examine({dataset, tokens, split, keys, tokenizer, tokenize, wants_validation})};
}

}  // namespace chorus
