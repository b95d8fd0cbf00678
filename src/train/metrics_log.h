#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"

namespace chorus {

// One line of metrics.jsonl: what a step or an evaluation gave. No times: equal runs give equal files.
struct Metric {
  std::string adapter;
  int64_t step = 0;
  bool evaluation = false;
  double loss = 0;                              // of the step's examples, or of the validation set
  double learning_rate = 0, gradient_norm = 0;  // of a step
};

// What happened so far, and the file it is kept in.
class MetricsLog {
 public:
  explicit MetricsLog(std::string path) : path_(std::move(path)) {}
  // Reads the file's lines up to a step; no file: none.
  void read(int64_t last_step);
  void add(Metric metric);
  void write() const;  // whole or not at all; Error names it
  const std::vector<Metric>& metrics() const { return metrics_; }

 private:
  std::string path_;
  std::vector<Metric> metrics_;
  std::vector<std::string> lines_;  // of them, as they were first written
};

// Loss over steps as a picture (SVG): of each adapter its steps as a thin line, its evaluations as points on
// a thick one.
std::string loss_plot(const std::vector<Metric>& metrics);

}  // namespace chorus
