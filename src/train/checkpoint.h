#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "train/trainer.h"

namespace chorus {

// What a run must have in common with the one that it goes on from.
struct RunIdentity {
  std::string base;      // Model::id
  std::string kernels;   // their name: others round otherwise
  std::string settings;  // hash of tasks, their data, and limits; see settings_hash()
};

// Hex SHA-256 of all that decides what a run computes, but for model and kernels.
std::string settings_hash(const std::vector<TuneTask>& tasks, const TrainerLimits& limits);

// Writes DIRECTORY/step-NNNNNNNN: a file for each adapter (values, best values, moments) and, when those are
// whole, manifest.json with their hashes. What stood there without a manifest is no checkpoint. The two
// newest stay, older ones are removed. Error: it cannot be written, as on a full disk; the older ones then
// still stand.
void save_checkpoint(Trainer& trainer, const std::string& directory, const RunIdentity& identity);

// Sets the trainer to the newest checkpoint that is whole and returns its step; none: there is no checkpoint.
// Error: it is of a run with other data, settings, base or kernels, which is named.
std::optional<int64_t> load_checkpoint(Trainer& trainer, const std::string& directory,
                                       const RunIdentity& identity);

// Whether there is one to go on from.
bool has_checkpoint(const std::string& directory);

}  // namespace chorus
