#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_manager.h"
#include "engine/engine.h"
#include "http/http_server.h"
#include "server/metrics_text.h"

namespace chorus {

// What is counted for the requests of one model name: the base, an adapter, a mix. Every method is relaxed
// atomic adds, for any thread; times are in seconds.
class Series {
 public:
  explicit Series(std::string_view name);

  void queued(double seconds);       // the request ran for the first time, so long after it was submitted
  void first_token(double seconds);  // so long after it was submitted; counts one generated token
  void inter_token(double seconds);  // so long after the one before; counts one generated token
  // Once a request, when its last sample has ended (`reason` is that one's). Tokens: of the prompt, those of
  // them found in the prefix cache, and of all samples' outputs. `seconds` since it was submitted.
  void finished(FinishReason reason, int prompt_tokens, int cached_tokens, int output_tokens, double seconds);

 private:
  friend class Metrics;
  static constexpr size_t kReasons = 4;  // kStop .. kError

  const std::string label_;  // adapter="NAME"
  std::array<std::string, kReasons> reason_labels_;
  Histogram queue_time_, time_to_first_token_, inter_token_, request_time_, prompt_lengths_, output_lengths_;
  std::atomic<uint64_t> prompt_tokens_{0}, cached_tokens_{0};
  std::array<std::atomic<uint64_t>, kReasons> finished_{};
};

// What /metrics says beside what Metrics counts itself; gathered anew for each render().
struct MetricsSources {
  EngineStats engine;
  int pages = 0;           // of the KV pool
  int page_positions = 0;  // of one page
  std::string kv_type;     // "int8", "f16"
  std::vector<AdapterStatus> adapters;
  int max_adapters = 0;
  size_t adapter_memory_bytes = 0;  // the budget; 0: no bound
  HttpServer::Stats http;
  size_t resident_bytes = 0;  // of the process
  int64_t now = 0;            // seconds since 1970
};

// The server's numbers in Prometheus' text format 0.0.4, with vLLM's names and labels where vLLM has them
// (so that the endpoint picker of the Gateway API reads them without configuration), and the
// program's own, by adapter, under "chorus:". Thread-safe; recording takes no lock.
class Metrics {
 public:
  static constexpr size_t kMaxNames = 1024;  // of adapters; those beyond count as "other"
  static constexpr size_t kMaxMixes = 64;    // of different texts; those beyond count as "mix"

  Metrics(std::string base_name, std::string version);

  // The series of a model name or of a mix's text, which must be one that exists: every new name takes a
  // series for good. It lives as long as this object. Takes a lock: once a request.
  Series& series_of(std::string_view name);

  std::string render(const MetricsSources& sources);

 private:
  template <typename Member>
  HistogramSum total(Member histogram) const;
  template <typename Value>
  uint64_t sum(Value value) const;
  void observe_loads(const std::vector<AdapterStatus>& adapters, HistogramSum& loads);
  void write_engine(MetricsText& text, const MetricsSources& sources) const;
  void write_requests(MetricsText& text) const;
  void write_adapters(MetricsText& text, const MetricsSources& sources);
  void write_series(MetricsText& text) const;
  void write_process(MetricsText& text, const MetricsSources& sources) const;
  Series& add_series(std::string_view name);

  // The base, adapters, mixes, "other" and "mix".
  static constexpr size_t kMaxSeries = 1 + kMaxNames + kMaxMixes + 2;

  const std::string labels_;      // of vLLM's series
  const std::string build_info_;  // labels
  // Only ever grows, so that a reader of the first size_ ones needs no lock.
  std::array<std::unique_ptr<Series>, kMaxSeries> series_;
  std::atomic<size_t> size_{0};

  std::mutex mutex_;  // of what follows
  std::map<std::string, Series*, std::less<>> by_name_;
  size_t names_ = 0, mixes_ = 0;
  std::map<std::string, uint64_t, std::less<>> loads_;  // by adapter: loads that load_seconds_ has counted
  Histogram load_seconds_;
};

}  // namespace chorus
