#pragma once

#include <cstdint>
#include <vector>

#include "train/examples.h"

namespace chorus {

// What a sequence says, as hashes. Sequences of one example have the same; of a text that became several
// sequences, each has its own.
struct ContentKeys {
  uint64_t exact = 0;       // all turns, byte for byte
  uint64_t normalized = 0;  // all turns, without case, compatibility forms and runs of white space
  uint64_t prompt = 0;      // all turns before the last answer, normalized; of a text: `normalized`
};

// Of each sequence.
std::vector<ContentKeys> content_keys(const Dataset& dataset, const TokenizedDataset& tokens);

// Indices into TokenizedDataset::examples, ascending.
struct Split {
  std::vector<int> train, validation;
};

// Holds back about `share` of the sequences, in (0, 1), at least one and not all. What is chosen depends on
// content and seed only, not on order; sequences of one prompt stay together, unless a tenth of all share it:
// then those of the same whole. Fewer than two groups: nothing is held back.
Split split_validation(const std::vector<ContentKeys>& keys, double share, uint64_t seed);

// The sequences of the files from `first_file` on are for validation.
Split split_by_file(const TokenizedDataset& tokens, int first_file);

}  // namespace chorus
