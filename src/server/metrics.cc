#include "server/metrics.h"

#include <cassert>

namespace chorus {
namespace {

// From what a small model does on a fast machine to what a queue under load does.
constexpr std::array<Bucket, 14> kSeconds = {{{0.005, "0.005"},
                                              {0.01, "0.01"},
                                              {0.025, "0.025"},
                                              {0.05, "0.05"},
                                              {0.1, "0.1"},
                                              {0.25, "0.25"},
                                              {0.5, "0.5"},
                                              {1, "1.0"},
                                              {2.5, "2.5"},
                                              {5, "5.0"},
                                              {10, "10.0"},
                                              {30, "30.0"},
                                              {60, "60.0"},
                                              {120, "120.0"}}};
constexpr std::array<Bucket, 13> kTokenSeconds = {{{0.001, "0.001"},
                                                   {0.0025, "0.0025"},
                                                   {0.005, "0.005"},
                                                   {0.01, "0.01"},
                                                   {0.025, "0.025"},
                                                   {0.05, "0.05"},
                                                   {0.075, "0.075"},
                                                   {0.1, "0.1"},
                                                   {0.15, "0.15"},
                                                   {0.25, "0.25"},
                                                   {0.5, "0.5"},
                                                   {1, "1.0"},
                                                   {2.5, "2.5"}}};
constexpr std::array<Bucket, 15> kTokens = {{{1, "1.0"},
                                             {2, "2.0"},
                                             {5, "5.0"},
                                             {10, "10.0"},
                                             {20, "20.0"},
                                             {50, "50.0"},
                                             {100, "100.0"},
                                             {200, "200.0"},
                                             {500, "500.0"},
                                             {1000, "1000.0"},
                                             {2000, "2000.0"},
                                             {5000, "5000.0"},
                                             {10000, "10000.0"},
                                             {20000, "20000.0"},
                                             {50000, "50000.0"}}};

// vLLM's words, in the order of FinishReason from kStop on.
constexpr std::array<std::string_view, 4> kReasonNames = {"stop", "length", "abort", "error"};

constexpr size_t reason_index(FinishReason reason) {
  return static_cast<size_t>(reason) - static_cast<size_t>(FinishReason::kStop);
}

}  // namespace

Series::Series(std::string_view name)
    : label_(label("adapter", name)),
      queue_time_(kSeconds),
      time_to_first_token_(kSeconds),
      inter_token_(kTokenSeconds),
      request_time_(kSeconds),
      prompt_lengths_(kTokens),
      output_lengths_(kTokens) {
  for (size_t i = 0; i < kReasons; ++i) {
    reason_labels_[i] = label_ + "," + label("finished_reason", kReasonNames[i]);
  }
}

void Series::queued(double seconds) { queue_time_.observe(seconds); }
void Series::first_token(double seconds) { time_to_first_token_.observe(seconds); }
void Series::inter_token(double seconds) { inter_token_.observe(seconds); }

void Series::finished(FinishReason reason, int prompt_tokens, int cached_tokens, int output_tokens,
                      double seconds) {
  assert(reason != FinishReason::kNone);
  finished_[reason_index(reason)].fetch_add(1, std::memory_order_relaxed);
  prompt_tokens_.fetch_add(static_cast<uint64_t>(prompt_tokens), std::memory_order_relaxed);
  cached_tokens_.fetch_add(static_cast<uint64_t>(cached_tokens), std::memory_order_relaxed);
  request_time_.observe(seconds);
  prompt_lengths_.observe(prompt_tokens);
  output_lengths_.observe(output_tokens);
}

Metrics::Metrics(std::string base_name, std::string version)
    : labels_(label("engine", "0") + "," + label("model_name", base_name)),
      build_info_(label("version", version)),
      load_seconds_(kSeconds) {
  by_name_.emplace(base_name, &add_series(base_name));
}

Series& Metrics::add_series(std::string_view name) {
  const size_t index = size_.load(std::memory_order_relaxed);
  assert(index < kMaxSeries);
  series_[index] = std::make_unique<Series>(name);
  size_.store(index + 1, std::memory_order_release);
  return *series_[index];
}

Series& Metrics::series_of(std::string_view name) {
  const std::lock_guard lock(mutex_);
  if (const auto known = by_name_.find(name); known != by_name_.end()) return *known->second;
  // No adapter's name has these characters.
  const bool is_mix = name.find_first_of("+@") != std::string_view::npos;
  size_t& used = is_mix ? mixes_ : names_;
  if (used == (is_mix ? kMaxMixes : kMaxNames)) {
    const std::string_view rest = is_mix ? "mix" : "other";
    const auto known = by_name_.find(rest);
    if (known != by_name_.end()) return *known->second;
    return *by_name_.emplace(rest, &add_series(rest)).first->second;
  }
  ++used;
  return *by_name_.emplace(name, &add_series(name)).first->second;
}

template <typename Member>
HistogramSum Metrics::total(Member histogram) const {
  HistogramSum sum((series_[0].get()->*histogram).buckets());
  const size_t size = size_.load(std::memory_order_acquire);
  for (size_t i = 0; i < size; ++i) sum.add(series_[i].get()->*histogram);
  return sum;
}

template <typename Value>
uint64_t Metrics::sum(Value value) const {
  uint64_t sum = 0;
  const size_t size = size_.load(std::memory_order_acquire);
  for (size_t i = 0; i < size; ++i) sum += value(*series_[i]);
  return sum;
}

std::string Metrics::render(const MetricsSources& sources) {
  // What one histogram of an adapter takes, with names and labels of usual length, is under 2 KiB.
  MetricsText text((16 << 10) + (size_.load(std::memory_order_relaxed) << 13) +
                   (sources.adapters.size() << 9));
  write_engine(text, sources);
  write_requests(text);
  write_adapters(text, sources);
  write_series(text);
  write_process(text, sources);
  return text.take();
}

void Metrics::write_engine(MetricsText& text, const MetricsSources& sources) const {
  const EngineStats& engine = sources.engine;
  const auto used = static_cast<uint64_t>(engine.pages_used);
  text.single("vllm:num_requests_running", "gauge", "Requests in the batch.", labels_,
              static_cast<uint64_t>(engine.running));
  text.single("vllm:num_requests_waiting", "gauge", "Requests waiting to run.", labels_,
              static_cast<uint64_t>(engine.waiting));
  text.single("vllm:kv_cache_usage_perc", "gauge", "Share of the KV pages in use, 0 to 1.", labels_,
              sources.pages > 0 ? static_cast<double>(engine.pages_used) / sources.pages : 0.0);
  text.single("vllm:cache_config_info", "gauge", "The KV pool.",
              label("block_size", std::to_string(sources.page_positions)) + "," +
                  label("cache_dtype", sources.kv_type) + "," + label("enable_prefix_caching", "True") + "," +
                  label("engine", "0") + "," + label("num_gpu_blocks", std::to_string(sources.pages)),
              uint64_t{1});
  text.single("vllm:num_preemptions_total", "counter", "Sequences that gave their KV pages to others.",
              labels_, engine.preemptions);
  text.family("chorus:kv_pages", "gauge", "KV pages by what is in them.");
  text.sample("state=\"free\"", static_cast<uint64_t>(engine.pages_free));
  text.sample("state=\"cached\"", static_cast<uint64_t>(engine.pages_cached));
  text.sample("state=\"used\"", used);
  text.single("chorus:engine_steps_total", "counter", "Steps computed.", "", engine.steps);
  text.single("chorus:engine_rows_total", "counter", "Rows of all steps.", "", engine.rows);
  text.single("chorus:engine_prefill_tokens_total", "counter", "Prompt tokens computed.", "",
              engine.prefill_tokens);
  text.single("chorus:engine_decode_tokens_total", "counter", "Tokens sampled.", "", engine.decode_tokens);
}

void Metrics::write_requests(MetricsText& text) const {
  const uint64_t prompt =
      sum([](const Series& s) { return s.prompt_tokens_.load(std::memory_order_relaxed); });
  const uint64_t cached =
      sum([](const Series& s) { return s.cached_tokens_.load(std::memory_order_relaxed); });
  const uint64_t generated =
      sum([](const Series& s) { return s.time_to_first_token_.count() + s.inter_token_.count(); });
  text.single("vllm:prompt_tokens_total", "counter", "Prompt tokens of ended requests.", labels_, prompt);
  text.single("vllm:generation_tokens_total", "counter", "Tokens generated.", labels_, generated);
  text.single("vllm:prefix_cache_queries_total", "counter", "Prompt tokens looked up in the prefix cache.",
              labels_, prompt);
  text.single("vllm:prefix_cache_hits_total", "counter", "Prompt tokens found in the prefix cache.", labels_,
              cached);
  text.family("vllm:request_success_total", "counter", "Ended requests by why they ended.");
  for (size_t i = 0; i < kReasonNames.size(); ++i) {
    text.sample(labels_ + "," + label("finished_reason", kReasonNames[i]),
                sum([i](const Series& s) { return s.finished_[i].load(std::memory_order_relaxed); }));
  }
  const auto histogram = [&](std::string_view name, std::string_view help, auto member) {
    text.family(name, "histogram", help);
    text.histogram(labels_, total(member));
  };
  histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.",
            &Series::time_to_first_token_);
  histogram("vllm:inter_token_latency_seconds", "From one token to the next.", &Series::inter_token_);
  histogram("vllm:e2e_request_latency_seconds", "From arrival to the end.", &Series::request_time_);
  histogram("vllm:request_queue_time_seconds", "From arrival to the first step.", &Series::queue_time_);
  histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", &Series::prompt_lengths_);
  histogram("vllm:request_generation_tokens", "Generated tokens of a request.", &Series::output_lengths_);
}

// The manager tells of the newest load of a name only: of several between two scrapes, that one counts.
void Metrics::observe_loads(const std::vector<AdapterStatus>& adapters, HistogramSum& loads) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, uint64_t, std::less<>> seen;
  for (const AdapterStatus& adapter : adapters) {
    const auto before = loads_.find(adapter.name);
    const uint64_t counted = before == loads_.end() ? 0 : before->second;
    if (adapter.loads != counted && adapter.loads > 0) load_seconds_.observe(adapter.load_seconds);
    seen.emplace_hint(seen.end(), adapter.name, adapter.loads);
  }
  loads_.swap(seen);
  loads.add(load_seconds_);
}

void Metrics::write_adapters(MetricsText& text, const MetricsSources& sources) {
  std::string ready, loading;
  uint64_t loaded = 0;
  for (const AdapterStatus& adapter : sources.adapters) {
    if (adapter.residency != Residency::kReady && adapter.residency != Residency::kLoading) continue;
    std::string& names = adapter.residency == Residency::kReady ? ready : loading;
    if (!names.empty()) names += ',';
    names += adapter.name;
    loaded += adapter.residency == Residency::kReady;
  }
  // The picker takes the series with the largest value: there must be one only, and newer is larger.
  text.single("vllm:lora_requests_info", "gauge", "Adapters in memory and ready, and those being loaded.",
              label("max_lora", std::to_string(sources.max_adapters)) + "," +
                  label("running_lora_adapters", ready) + "," + label("waiting_lora_adapters", loading),
              static_cast<uint64_t>(sources.now));
  text.family("vllm:lora_adapter_loaded", "gauge", "1 for each adapter in memory.");
  for (const AdapterStatus& adapter : sources.adapters) {
    if (adapter.residency != Residency::kReady) continue;
    text.sample(label("adapter_name", adapter.name) + "," + label("level", "cpu") + "," +
                    label("pinned", adapter.pinned ? "true" : "false") + "," +
                    label("rank", std::to_string(adapter.rank)),
                uint64_t{1});
  }
  text.single("vllm:num_cpu_loaded_lora_adapters", "gauge", "Adapters in memory.", labels_, loaded);
  text.single("vllm:num_gpu_loaded_lora_adapters", "gauge", "Adapters in a GPU's memory.", labels_,
              uint64_t{0});
  text.single("vllm:max_gpu_lora_adapters", "gauge", "Adapters that a GPU may hold.", labels_, uint64_t{0});
  HistogramSum loads(kSeconds);
  observe_loads(sources.adapters, loads);
  text.family("vllm:lora_adapter_load_seconds", "histogram", "Loads of adapters, as scrapes have seen them.");
  text.histogram(labels_, loads);

  const auto each = [&](std::string_view name, std::string_view type, std::string_view help, auto value) {
    text.family(name, type, help);
    for (const AdapterStatus& adapter : sources.adapters) {
      text.sample(label("adapter", adapter.name), value(adapter));
    }
  };
  each("chorus:adapter_bytes", "gauge", "Memory of an adapter.",
       [](const AdapterStatus& a) { return uint64_t{a.bytes}; });
  each("chorus:adapter_users", "gauge", "Requests that hold an adapter.",
       [](const AdapterStatus& a) { return static_cast<uint64_t>(a.users); });
  each("chorus:adapter_loads_total", "counter", "Loads of an adapter.",
       [](const AdapterStatus& a) { return a.loads; });
  each("chorus:adapter_load_seconds", "gauge", "How long the last load of an adapter took.",
       [](const AdapterStatus& a) { return a.load_seconds; });
  text.single("chorus:adapter_memory_limit_bytes", "gauge", "What adapters may take; 0: no bound.", "",
              uint64_t{sources.adapter_memory_bytes});
}

void Metrics::write_series(MetricsText& text) const {
  const size_t size = size_.load(std::memory_order_acquire);
  const auto counter = [&](std::string_view name, std::string_view help, auto value) {
    text.family(name, "counter", help);
    for (size_t i = 0; i < size; ++i) text.sample(series_[i]->label_, value(*series_[i]));
  };
  const auto histogram = [&](std::string_view name, std::string_view help, auto member) {
    text.family(name, "histogram", help);
    for (size_t i = 0; i < size; ++i) {
      HistogramSum sum((series_[i].get()->*member).buckets());
      sum.add(series_[i].get()->*member);
      text.histogram(series_[i]->label_, sum);
    }
  };
  counter("chorus:adapter_prompt_tokens_total", "Prompt tokens of ended requests, by model name.",
          [](const Series& s) { return s.prompt_tokens_.load(std::memory_order_relaxed); });
  counter("chorus:adapter_cached_tokens_total", "Prompt tokens from the prefix cache, by model name.",
          [](const Series& s) { return s.cached_tokens_.load(std::memory_order_relaxed); });
  counter("chorus:adapter_generation_tokens_total", "Tokens generated, by model name.",
          [](const Series& s) { return s.time_to_first_token_.count() + s.inter_token_.count(); });
  text.family("chorus:adapter_requests_total", "counter", "Ended requests by model name and why they ended.");
  for (size_t i = 0; i < size; ++i) {
    for (size_t reason = 0; reason < Series::kReasons; ++reason) {
      text.sample(series_[i]->reason_labels_[reason],
                  series_[i]->finished_[reason].load(std::memory_order_relaxed));
    }
  }
  histogram("chorus:adapter_time_to_first_token_seconds", "From arrival to the first token, by model name.",
            &Series::time_to_first_token_);
  histogram("chorus:adapter_inter_token_latency_seconds", "From one token to the next, by model name.",
            &Series::inter_token_);
  histogram("chorus:adapter_queue_time_seconds", "From arrival to the first step, by model name.",
            &Series::queue_time_);
}

void Metrics::write_process(MetricsText& text, const MetricsSources& sources) const {
  const HttpServer::Stats& http = sources.http;
  text.single("chorus:http_connections_total", "counter", "Connections accepted.", "", http.connections);
  text.single("chorus:http_requests_total", "counter", "Requests read whole.", "", http.requests);
  text.single("chorus:http_refused_total", "counter", "Connections and requests refused.", "", http.refused);
  text.single("chorus:http_open_connections", "gauge", "Connections open now.", "",
              static_cast<uint64_t>(http.open_connections));
  text.single("process_resident_memory_bytes", "gauge", "Resident memory.", "",
              uint64_t{sources.resident_bytes});
  text.single("chorus:build_info", "gauge", "The program.", build_info_, uint64_t{1});
}

}  // namespace chorus
