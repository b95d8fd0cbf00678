#include "server/metrics_text.h"

#include <cassert>
#include <charconv>
#include <cmath>

namespace chorus {

void Histogram::observe(double value) {
  size_t index = 0;
  while (index < buckets_.size() && value > buckets_[index].upper) ++index;
  counts_[index].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(value, std::memory_order_relaxed);
}

uint64_t Histogram::count() const {
  uint64_t count = 0;
  for (size_t i = 0; i <= buckets_.size(); ++i) count += counts_[i].load(std::memory_order_relaxed);
  return count;
}

void HistogramSum::add(const Histogram& histogram) {
  assert(histogram.buckets_.data() == buckets_.data());
  for (size_t i = 0; i <= buckets_.size(); ++i) {
    counts_[i] += histogram.counts_[i].load(std::memory_order_relaxed);
  }
  sum_ += histogram.sum_.load(std::memory_order_relaxed);
}

std::string label(std::string_view key, std::string_view value) {
  std::string text(key);
  text += "=\"";
  for (const char c : value) {
    if (c == '\\' || c == '"') text += '\\';
    if (c == '\n') {
      text += "\\n";
    } else {
      text += c;
    }
  }
  text += '"';
  return text;
}

void MetricsText::family(std::string_view name, std::string_view type, std::string_view help) {
  name_ = name;
  text_.append("# HELP ").append(name).append(" ").append(help);
  text_.append("\n# TYPE ").append(name).append(" ").append(type).append("\n");
}

void MetricsText::begin(std::string_view suffix, std::string_view labels, std::string_view le) {
  text_.append(name_).append(suffix);
  if (!labels.empty() || !le.empty()) {
    text_.append("{").append(labels);
    if (!le.empty()) text_.append(labels.empty() ? "le=\"" : ",le=\"").append(le).append("\"");
    text_.append("}");
  }
  text_.append(" ");
}

void MetricsText::end(uint64_t value) {
  std::array<char, 24> digits;
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  text_.append(digits.data(), result.ptr).append("\n");
}

void MetricsText::end(double value) {
  if (!std::isfinite(value)) {
    text_.append(std::isnan(value) ? "NaN\n" : value > 0 ? "+Inf\n" : "-Inf\n");
    return;
  }
  std::array<char, 32> digits;  // the shortest form of a double has at most 24 characters
  const auto result = std::to_chars(digits.data(), digits.data() + digits.size(), value);
  text_.append(digits.data(), result.ptr).append("\n");
}

void MetricsText::sample(std::string_view labels, uint64_t value) {
  begin("", labels, "");
  end(value);
}

void MetricsText::sample(std::string_view labels, double value) {
  begin("", labels, "");
  end(value);
}

void MetricsText::histogram(std::string_view labels, const HistogramSum& sum) {
  uint64_t count = 0;
  for (size_t i = 0; i <= sum.buckets_.size(); ++i) {
    count += sum.counts_[i];
    begin("_bucket", labels, i < sum.buckets_.size() ? sum.buckets_[i].text : "+Inf");
    end(count);
  }
  begin("_sum", labels, "");
  end(sum.sum_);
  begin("_count", labels, "");
  end(count);
}

}  // namespace chorus
