#pragma once

// Looks at training data before a run does: what is wrong, what is odd, what will be learned.

#include <optional>
#include <string>
#include <vector>

#include "train/data_split.h"

namespace chorus {

enum class Verdict : uint8_t { kFine, kLook, kStop };
std::string_view name_of(Verdict verdict);  // "fine", "look at this", "stops the run"

struct Finding {
  Verdict verdict = Verdict::kFine;
  std::string name;  // of the check, such as "duplicates"
  std::string text;
  std::vector<std::string> places;  // "FILE:LINE" and more, the first few
};

// Sequences of [from, to) tokens.
struct LengthBucket {
  int from = 0, to = 0;
  int64_t count = 0;
};

struct SetSummary {
  int64_t sequences = 0, tokens = 0, labels = 0;
  int shortest = 0, median = 0, longest = 0;  // in tokens
  std::vector<LengthBucket> lengths;          // without gaps; empty of no sequences
};

// What is expected of a run, before it.
struct Forecast {
  double seconds = 0;
  double epochs = 0;
  double tokens_per_second = 0;
  size_t memory_bytes = 0;  // of the process
};

// A stretch of text that is learned or not.
struct ShownSpan {
  std::string text;
  bool learned = false;
};

struct DoctorReport {
  struct File {
    std::string path;
    DataFormat format;
    int64_t examples = 0;
  };
  std::vector<File> files;
  SetSummary train, validation;
  std::string shown_place;  // of the sequence that is shown
  std::vector<ShownSpan> shown;
  std::vector<Finding> findings;
  std::optional<Forecast> forecast;  // where somebody has made one

  Verdict verdict() const;  // the gravest
};

struct DoctorInput {
  const Dataset& dataset;
  const TokenizedDataset& tokens;
  const Split& split;
  const std::vector<ContentKeys>& keys;
  const Tokenizer& tokenizer;
  TokenizeOptions options;
  bool wants_validation = false;
};

DoctorReport examine(const DoctorInput& input);

// "5 min for 3 epochs at 1200 tokens/s, 0.62 GB"
std::string forecast_text(const Forecast& forecast);
// For people, lines with ends. Without colour what is learned stands in ⟦brackets⟧.
std::string report_text(const DoctorReport& report, bool colour);
json::object report_json(const DoctorReport& report);

}  // namespace chorus
