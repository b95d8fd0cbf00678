#pragma once

#include <string>
#include <vector>

#include "formats/json.h"
#include "train/trainer.h"

namespace chorus {

// One setting that a sweep goes through: "lr", "rank" or "alpha".
struct SweepAxis {
  std::string key;
  std::vector<double> values;
};

constexpr size_t kMaxSweep = 64;  // adapters of one run

// Of texts as "lr=1e-4,2e-4". Error: another key, one twice, a value that is out of range, too many in all.
std::vector<SweepAxis> parse_sweep(const std::vector<std::string>& texts);

// The task with each combination of the values, named "elf-lr0.0001-rank8"; without axes the task itself.
std::vector<TuneTask> sweep_tasks(const TuneTask& task, const std::vector<SweepAxis>& axes);

// Of a run that is done: what each adapter came to, the best first, and then the base. They share their data.
std::string sweep_text(Trainer& trainer);
json::value sweep_json(const Trainer& trainer, const std::string& output);

}  // namespace chorus
