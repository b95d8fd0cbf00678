#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace chorus {

// One bound of a histogram and the same number as its `le` label says it.
struct Bucket {
  double upper;
  std::string_view text;
};
constexpr size_t kMaxBuckets = 16;

// Counts values into buckets. Thread-safe, relaxed and without a lock; `buckets` (at most kMaxBuckets,
// ascending) must outlive it.
class Histogram {
 public:
  explicit Histogram(std::span<const Bucket> buckets) : buckets_(buckets) {}
  void observe(double value);
  std::span<const Bucket> buckets() const { return buckets_; }
  uint64_t count() const;

 private:
  friend class HistogramSum;
  std::span<const Bucket> buckets_;
  std::array<std::atomic<uint64_t>, kMaxBuckets + 1> counts_{};  // not cumulative; the last: above all bounds
  std::atomic<double> sum_{0};
};

// What several histograms of the same buckets hold together, read once: its parts fit each other however
// many threads count meanwhile.
class HistogramSum {
 public:
  explicit HistogramSum(std::span<const Bucket> buckets) : buckets_(buckets) {}
  void add(const Histogram& histogram);

 private:
  friend class MetricsText;
  std::span<const Bucket> buckets_;
  std::array<uint64_t, kMaxBuckets + 1> counts_{};
  double sum_ = 0;
};

// KEY="VALUE" with the value escaped as the format asks.
std::string label(std::string_view key, std::string_view value);

// Writes the Prometheus text format 0.0.4. Labels are passed as label() gives them, joined by commas.
class MetricsText {
 public:
  explicit MetricsText(size_t bytes) { text_.reserve(bytes); }

  // The samples that follow are of this family; `name` and `help` (plain text of one line) must outlive
  // them.
  void family(std::string_view name, std::string_view type, std::string_view help);
  void sample(std::string_view labels, uint64_t value);
  void sample(std::string_view labels, double value);
  void histogram(std::string_view labels, const HistogramSum& sum);
  // A family of one sample.
  template <typename Value>
  void single(std::string_view name, std::string_view type, std::string_view help, std::string_view labels,
              Value value) {
    family(name, type, help);
    sample(labels, value);
  }

  std::string take() { return std::move(text_); }

 private:
  void begin(std::string_view suffix, std::string_view labels, std::string_view le);
  void end(uint64_t value);
  void end(double value);

  std::string_view name_;
  std::string text_;
};

}  // namespace chorus
