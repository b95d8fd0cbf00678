#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/text_files.h"
#include "train/data_doctor.h"

namespace chorus {

// Where the data of one adapter come from.
struct TuneDataOptions {
  std::vector<std::string> validation;  // files or directories; empty: a share is held back
  double validation_share = 0;
  bool wants_share = false;  // it was asked for: not to be able to hold back any is worth a word
  TrainOn train_on = TrainOn::kAssistant;
  int max_tokens = 2048;
  uint64_t seed = 0;
};

// What the adapter of a file or directory is called: "adapters/elf/data.jsonl" is of elf, "pirate.jsonl" of
// pirate.
std::string adapter_name_of(const std::string& path);

// The data of one adapter, split, and what the doctor says of them.
struct TuneData {
  std::string name;  // of the file or directory, without its ending
  std::vector<TokenizedExample> train, validation;
  DoctorReport report;
};

// `chat_template` may be null if no example needs it.
TuneData read_tune_data(const std::string& path, const Tokenizer& tokenizer,
                        const ChatTemplate* chat_template, const TuneDataOptions& options);
TuneData read_tune_data(const std::string& path, const TextFiles& text, const TuneDataOptions& options);

}  // namespace chorus
