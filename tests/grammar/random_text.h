#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "grammar/grammar.h"

namespace chorus {

// A text of the grammar, made by random choices that turn to the shortest way out after some depth. The
// grammar's every rule has a text.
class RandomText {
 public:
  RandomText(const Grammar& grammar, uint64_t seed);
  std::string next();

 private:
  void write(ExprId id, int depth, std::string& out);
  size_t pick(size_t count) { return std::uniform_int_distribution<size_t>(0, count - 1)(random_); }

  const Grammar& grammar_;
  std::mt19937_64 random_;
  std::vector<double> shortest_;  // of each expression, in steps
};

}  // namespace chorus
