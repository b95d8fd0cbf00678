#include "server/metrics.h"

#include <gtest/gtest.h>

#include <charconv>
#include <map>
#include <set>
#include <sstream>
#include <thread>
#include <vector>

namespace chorus {
namespace {

// Name and labels as written -> value.
std::map<std::string, double> samples_of(const std::string& text) {
  std::map<std::string, double> samples;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# ")) continue;
    const size_t space = line.rfind(' ');
    const auto [entry, fresh] = samples.emplace(line.substr(0, space), std::stod(line.substr(space)));
    EXPECT_TRUE(fresh) << "twice: " << line;
  }
  return samples;
}

size_t count_of(const std::string& text, std::string_view needle) {
  size_t count = 0;
  for (size_t at = text.find(needle); at != std::string::npos; at = text.find(needle, at + 1)) ++count;
  return count;
}

AdapterStatus adapter(std::string name, Residency residency) {
  AdapterStatus status;
  status.name = std::move(name);
  status.residency = residency;
  status.rank = 8;
  status.loads = residency == Residency::kReady ? 1 : 0;
  status.load_seconds = 0.2;
  return status;
}

TEST(MetricsText, LabelsAreEscaped) {
  EXPECT_EQ(label("a", "plain"), "a=\"plain\"");
  EXPECT_EQ(label("a", "q\"b\\n\nend"), "a=\"q\\\"b\\\\n\\nend\"");
}

TEST(MetricsText, NumbersAreWhatTheFormatKnows) {
  MetricsText text(64);
  text.family("x", "gauge", "Help.");
  text.sample("", uint64_t{18446744073709551615u});
  text.sample("", 0.1);
  text.sample("a=\"1\"", 1.0 / 0.0);
  text.sample("", 0.0 / 0.0);
  EXPECT_EQ(text.take(),
            "# HELP x Help.\n# TYPE x gauge\nx 18446744073709551615\nx 0.1\nx{a=\"1\"} +Inf\nx NaN\n");
}

TEST(MetricsText, HistogramIsCumulativeAndItsBoundsInclusive) {
  constexpr std::array<Bucket, 2> kBuckets = {{{1, "1.0"}, {2, "2.0"}}};
  Histogram histogram(kBuckets);
  for (const double value : {0.5, 1.0, 1.5, 2.0, 2.5}) histogram.observe(value);
  HistogramSum sum(kBuckets);
  sum.add(histogram);
  MetricsText text(256);
  text.family("h", "histogram", "Help.");
  text.histogram("a=\"b\"", sum);
  text.histogram("", sum);
  EXPECT_EQ(
      text.take(),
      "# HELP h Help.\n# TYPE h histogram\n"
      "h_bucket{a=\"b\",le=\"1.0\"} 2\nh_bucket{a=\"b\",le=\"2.0\"} 4\n"
      "h_bucket{a=\"b\",le=\"+Inf\"} 5\nh_sum{a=\"b\"} 7.5\nh_count{a=\"b\"} 5\n"
      "h_bucket{le=\"1.0\"} 2\nh_bucket{le=\"2.0\"} 4\nh_bucket{le=\"+Inf\"} 5\nh_sum 7.5\nh_count 5\n");
}

TEST(Metrics, SaysWhatTheEndpointPickerReads) {
  Metrics metrics("smol\"lm2", "1.2");
  MetricsSources sources;
  sources.engine.waiting = 3;
  sources.engine.running = 2;
  sources.engine.pages_used = 5;
  sources.pages = 20;
  sources.page_positions = 16;
  sources.kv_type = "int8";
  sources.max_adapters = 7;
  sources.now = 1700000000;
  sources.adapters = {adapter("elf", Residency::kReady), adapter("far", Residency::kOnDisk),
                      adapter("orc", Residency::kReady), adapter("slow", Residency::kLoading)};
  sources.adapters[0].pinned = true;
  const std::string text = metrics.render(sources);
  const auto samples = samples_of(text);
  const std::string base = "{engine=\"0\",model_name=\"smol\\\"lm2\"}";
  EXPECT_EQ(samples.at("vllm:num_requests_waiting" + base), 3);
  EXPECT_EQ(samples.at("vllm:num_requests_running" + base), 2);
  EXPECT_EQ(samples.at("vllm:kv_cache_usage_perc" + base), 0.25);
  EXPECT_EQ(samples.at("vllm:lora_requests_info{max_lora=\"7\",running_lora_adapters=\"elf,orc\","
                       "waiting_lora_adapters=\"slow\"}"),
            1700000000);
  EXPECT_EQ(samples.at("vllm:cache_config_info{block_size=\"16\",cache_dtype=\"int8\","
                       "enable_prefix_caching=\"True\",engine=\"0\",num_gpu_blocks=\"20\"}"),
            1);
  EXPECT_EQ(
      samples.at("vllm:lora_adapter_loaded{adapter_name=\"elf\",level=\"cpu\",pinned=\"true\",rank=\"8\"}"),
      1);
  EXPECT_EQ(samples.at("vllm:num_cpu_loaded_lora_adapters" + base), 2);
  EXPECT_EQ(samples.at("vllm:num_gpu_loaded_lora_adapters" + base), 0);
  EXPECT_EQ(samples.at("chorus:build_info{version=\"1.2\"}"), 1);
  for (const char* name : {"vllm:num_requests_waiting", "vllm:num_requests_running",
                           "vllm:kv_cache_usage_perc", "vllm:lora_requests_info", "vllm:cache_config_info"}) {
    EXPECT_EQ(count_of(text, std::string("\n") + name + "{"), 1u) << name << " must be one series";
  }
}

TEST(Metrics, EveryFamilyIsAnnouncedOnceAndKeptTogether) {
  Metrics metrics("base", "1");
  metrics.series_of("elf");
  MetricsSources sources;
  sources.adapters = {adapter("elf", Residency::kReady)};
  std::istringstream lines(metrics.render(sources));
  std::set<std::string> families;
  std::string family;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# HELP ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(families.insert(family).second) << family;
      std::string type;
      std::getline(lines, type);
      EXPECT_TRUE(type.starts_with("# TYPE " + family + " ")) << type;
      EXPECT_EQ(type.ends_with(" counter"), family.ends_with("_total")) << family;
    } else {
      EXPECT_TRUE(line.starts_with(family)) << line;
    }
  }
  EXPECT_GT(families.size(), 30u);
}

TEST(Metrics, WhatOneModelDoesIsCountedForItAndForAll) {
  Metrics metrics("base", "1");
  Series& elf = metrics.series_of("elf");
  EXPECT_EQ(&elf, &metrics.series_of("elf"));
  elf.queued(0.002);
  elf.first_token(0.03);
  elf.inter_token(0.004);
  elf.inter_token(0.006);
  elf.finished(FinishReason::kLength, 40, 16, 3, 0.04);
  Series& base = metrics.series_of("base");
  base.first_token(0.3);
  base.finished(FinishReason::kCancelled, 10, 0, 1, 0.4);
  const auto samples = samples_of(metrics.render({}));
  const std::string all = "engine=\"0\",model_name=\"base\"";
  EXPECT_EQ(samples.at("vllm:prompt_tokens_total{" + all + "}"), 50);
  EXPECT_EQ(samples.at("vllm:generation_tokens_total{" + all + "}"), 4);
  EXPECT_EQ(samples.at("vllm:prefix_cache_queries_total{" + all + "}"), 50);
  EXPECT_EQ(samples.at("vllm:prefix_cache_hits_total{" + all + "}"), 16);
  EXPECT_EQ(samples.at("vllm:request_success_total{" + all + ",finished_reason=\"length\"}"), 1);
  EXPECT_EQ(samples.at("vllm:request_success_total{" + all + ",finished_reason=\"abort\"}"), 1);
  EXPECT_EQ(samples.at("vllm:request_success_total{" + all + ",finished_reason=\"stop\"}"), 0);
  EXPECT_EQ(samples.at("vllm:time_to_first_token_seconds_count{" + all + "}"), 2);
  EXPECT_NEAR(samples.at("vllm:time_to_first_token_seconds_sum{" + all + "}"), 0.33, 1e-12);
  EXPECT_EQ(samples.at("vllm:time_to_first_token_seconds_bucket{" + all + ",le=\"0.05\"}"), 1);
  EXPECT_EQ(samples.at("vllm:time_to_first_token_seconds_bucket{" + all + ",le=\"0.5\"}"), 2);
  EXPECT_EQ(samples.at("vllm:request_generation_tokens_sum{" + all + "}"), 4);
  EXPECT_EQ(samples.at("vllm:request_queue_time_seconds_count{" + all + "}"), 1);
  EXPECT_EQ(samples.at("vllm:e2e_request_latency_seconds_count{" + all + "}"), 2);
  EXPECT_EQ(samples.at("chorus:adapter_generation_tokens_total{adapter=\"elf\"}"), 3);
  EXPECT_EQ(samples.at("chorus:adapter_generation_tokens_total{adapter=\"base\"}"), 1);
  EXPECT_EQ(samples.at("chorus:adapter_prompt_tokens_total{adapter=\"elf\"}"), 40);
  EXPECT_EQ(samples.at("chorus:adapter_requests_total{adapter=\"elf\",finished_reason=\"length\"}"), 1);
  EXPECT_EQ(samples.at("chorus:adapter_inter_token_latency_seconds_bucket{adapter=\"elf\",le=\"0.005\"}"), 1);
  EXPECT_EQ(samples.at("chorus:adapter_inter_token_latency_seconds_bucket{adapter=\"elf\",le=\"+Inf\"}"), 2);
}

TEST(Metrics, NamesAndMixesAreBounded) {
  const auto metrics = std::make_unique<Metrics>("base", "1");
  for (size_t i = 0; i < Metrics::kMaxNames; ++i) metrics->series_of("a" + std::to_string(i));
  Series& other = metrics->series_of("one-more");
  EXPECT_EQ(&other, &metrics->series_of("and-another"));
  EXPECT_NE(&other, &metrics->series_of("a1023"));
  for (size_t i = 0; i < Metrics::kMaxMixes; ++i) metrics->series_of("a0@0." + std::to_string(i));
  Series& mix = metrics->series_of("a0+a1");
  EXPECT_EQ(&mix, &metrics->series_of("a0@7"));
  EXPECT_NE(&mix, &other);
  EXPECT_NE(&mix, &metrics->series_of("a0@0.63"));
  other.first_token(1);
  mix.first_token(1);
  const auto samples = samples_of(metrics->render({}));
  EXPECT_EQ(samples.at("chorus:adapter_generation_tokens_total{adapter=\"other\"}"), 1);
  EXPECT_EQ(samples.at("chorus:adapter_generation_tokens_total{adapter=\"mix\"}"), 1);
}

TEST(Metrics, ALoadIsObservedOnce) {
  Metrics metrics("base", "1");
  MetricsSources sources;
  sources.adapters = {adapter("elf", Residency::kReady), adapter("new", Residency::kLoading)};
  const std::string count = "vllm:lora_adapter_load_seconds_count{engine=\"0\",model_name=\"base\"}";
  EXPECT_EQ(samples_of(metrics.render(sources)).at(count), 1);
  EXPECT_EQ(samples_of(metrics.render(sources)).at(count), 1);
  sources.adapters[1].loads = 1;
  EXPECT_EQ(samples_of(metrics.render(sources)).at(count), 2);
  sources.adapters.clear();  // unloaded, and loaded again under the same name
  EXPECT_EQ(samples_of(metrics.render(sources)).at(count), 2);
  sources.adapters = {adapter("elf", Residency::kReady)};
  EXPECT_EQ(samples_of(metrics.render(sources)).at(count), 3);
}

TEST(Metrics, ThreadsRecordWhileOthersRender) {
  Metrics metrics("base", "1");
  constexpr int kThreads = 4, kEach = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&metrics, t] {
      for (int i = 0; i < kEach; ++i) {
        metrics.series_of("a" + std::to_string((t * kEach + i) % 40)).inter_token(0.001 * (i % 100));
      }
    });
  }
  for (int i = 0; i < 20; ++i) {
    const auto samples = samples_of(metrics.render({}));
    const std::string labels = "{engine=\"0\",model_name=\"base\"";
    EXPECT_EQ(samples.at("vllm:inter_token_latency_seconds_count" + labels + "}"),
              samples.at("vllm:inter_token_latency_seconds_bucket" + labels + ",le=\"+Inf\"}"));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(
      samples_of(metrics.render({})).at("vllm:generation_tokens_total{engine=\"0\",model_name=\"base\"}"),
      kThreads * kEach);
}

}  // namespace
}  // namespace chorus
