#pragma once

#include <string>

#include "formats/json.h"
#include "train/tuner.h"
#include "tuning/tune_samples.h"

namespace chorus {

// Tells on stderr how a run goes: a line that is written over, on a terminal; else now and then a new one.
class TuneProgress {
 public:
  explicit TuneProgress(const Trainer& trainer);
  void stepped(double tokens_per_second, double seconds_left);
  void evaluated(size_t index) const;
  void samples(const std::vector<TuneSample>& samples) const;
  void note(const std::string& text) const;

 private:
  const Trainer& trainer_;
  const bool terminal_;
};

// Held-out losses: who reads what how well.
std::string verdict_text(const Trainer& trainer, const TuneVerdict& verdict);
json::value verdict_json(const Trainer& trainer, const TuneVerdict& verdict, const std::string& output);

}  // namespace chorus
