#include "engine/samples.h"

#include <algorithm>
#include <ctime>

namespace chorus {
namespace {

double process_seconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

}  // namespace

Stopwatch::Stopwatch(int threads)
    : threads_(threads), start_(std::chrono::steady_clock::now()), cpu_(process_seconds()) {}

double Stopwatch::seconds() const {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
}

Sample Stopwatch::stop() const {
  const double wall = seconds();
  return {wall, wall > 0 ? (process_seconds() - cpu_) / (wall * threads_) : 0};
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::ranges::sort(values);
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

Figure summarize(const std::vector<Sample>& samples) {
  Figure figure;
  figure.samples = static_cast<int>(samples.size());
  if (samples.empty()) return figure;
  std::vector<double> seconds, shares;
  const auto take = [&](double least_share) {
    seconds.clear();
    shares.clear();
    for (const Sample& sample : samples) {
      if (sample.cpu_share < least_share) continue;
      seconds.push_back(sample.seconds);
      shares.push_back(sample.cpu_share);
    }
  };
  take(0);
  for (const double value : seconds) figure.mean_seconds += value / static_cast<double>(samples.size());
  take(kCleanShare);
  figure.clean_samples = static_cast<int>(seconds.size());
  figure.clean =
      figure.clean_samples >= 5 || (figure.clean_samples > 0 && figure.clean_samples * 3 >= figure.samples);
  if (!figure.clean) take(0);
  figure.seconds = median(seconds);
  figure.cpu_share = median(shares);
  return figure;
}

}  // namespace chorus
