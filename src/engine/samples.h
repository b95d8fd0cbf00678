#pragma once

#include <chrono>
#include <vector>

namespace chorus {

// One measured stretch of work of a team of threads.
struct Sample {
  double seconds = 0;
  double cpu_share =
      0;  // processor time of this process / (seconds x threads): 1 if nobody else disturbed it
};

// Below this the machine was not ours: other processes, or other guests of the host, ran.
constexpr double kCleanShare = 0.97;

// Takes the wall clock and the process's processor time from here to stop(). Idle threads of a team spin for
// a while, so that short gaps between steps count as used.
class Stopwatch {
 public:
  explicit Stopwatch(int threads);
  Sample stop() const;
  double seconds() const;

 private:
  int threads_;
  std::chrono::steady_clock::time_point start_;
  double cpu_;
};

// What many samples of the same work come to.
struct Figure {
  double seconds = 0;       // median of the clean samples; of all, if too few were clean
  double mean_seconds = 0;  // of all samples, disturbances included
  double cpu_share = 0;     // median of the samples that `seconds` is of
  int samples = 0, clean_samples = 0;
  bool clean = false;  // `seconds` is of clean samples
};

// The median is of the clean samples if there are five, or a third of all. No samples: a Figure of zeros.
Figure summarize(const std::vector<Sample>& samples);

// The middle one, or the mean of the middle two; 0 of none.
double median(std::vector<double> values);

}  // namespace chorus
