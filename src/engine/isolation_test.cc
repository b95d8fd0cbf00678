// Many adapters and the base in the same steps of a real model, while adapters are loaded, replaced and
// unloaded: every request gets the output of the adapters it was submitted with, bit for bit as alone.

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <random>
#include <set>
#include <thread>

#include "engine/runtime.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "model/golden_test_util.h"

namespace chorus {
namespace {

constexpr int kNames = 32, kVersions = 2, kRequests = 10000, kClients = 4, kPrompts = 12;
const std::string kBroken = "broken";  // its numbers are finite, what it computes is not

const ModelConfig& base_config() {
  static const ModelConfig config = config_from_gguf(GgufFile::open(golden_path("models/llama_tied.gguf")));
  return config;
}

// A golden model with a vocabulary, which a Runtime asks for.
void write_model(const std::string& path) {
  const GgufFile golden = GgufFile::open(golden_path("models/llama_tied_q4_0.gguf"));
  auto metadata = golden.metadata();
  std::erase_if(metadata, [](const auto& entry) { return entry.first.starts_with("tokenizer."); });
  std::vector<std::string> tokens;
  for (int i = 0; i < base_config().vocab; ++i) tokens.push_back(fmt::format("t{}", i));
  metadata.emplace_back("tokenizer.ggml.model", "gpt2");
  metadata.emplace_back("tokenizer.ggml.pre", "gpt-2");
  metadata.emplace_back("tokenizer.ggml.tokens", GgufArray(tokens));
  metadata.emplace_back("tokenizer.ggml.merges", GgufArray(std::vector<std::string>{}));
  write_gguf(path, metadata, golden.tensors());
}

// A random adapter of q, v and down in every layer, as a PEFT directory.
void write_adapter(const std::string& directory, uint32_t seed, int rank, float magnitude) {
  std::filesystem::create_directories(directory);
  const json::object fields = {{"peft_type", "LORA"},
                               {"r", rank},
                               {"lora_alpha", 2 * rank},
                               {"target_modules", {"q_proj", "v_proj", "down_proj"}}};
  std::ofstream(directory + "/adapter_config.json") << json::serialize(fields);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, magnitude);
  std::vector<std::vector<float>> values;
  std::vector<FileTensor> tensors;
  const auto add = [&](const std::string& name, int rows, int cols) {
    std::vector<float>& all = values.emplace_back(static_cast<size_t>(rows * cols));
    for (float& value : all) value = normal(random);
    tensors.push_back({name, DType::kF32, {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)}, {}});
  };
  for (size_t layer = 0; layer < base_config().layers.size(); ++layer) {
    for (const Target target : {Target::kQ, Target::kV, Target::kDown}) {
      const std::string module =
          fmt::format("base_model.model.model.layers.{}.{}", layer, target_info(target).hf_module);
      const LinearShape shape = target_shape(base_config(), target);
      add(module + ".lora_A.weight", rank, shape.in);
      add(module + ".lora_B.weight", shape.out, rank);
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i) tensors[i].data = std::as_bytes(std::span(values[i]));
  write_safetensors(directory + "/adapter_model.safetensors", tensors, {});
}

// The model, and for each name two adapters that take turns under it.
class Files {
 public:
  Files() : directory_(fmt::format("{}chorus_isolation_{}", testing::TempDir(), getpid())) {
    std::filesystem::create_directories(directory_);
    write_model(model());
    for (int i = 0; i < kNames; ++i) {
      for (int version = 0; version < kVersions; ++version) {
        const auto seed = static_cast<uint32_t>(1 + i * kVersions + version);
        write_adapter(adapter(i, version), seed, 1 << (3 + i % 4), 0.15f);
      }
    }
    write_adapter(broken(), 1000, 8, 1e37f);
  }
  ~Files() { std::filesystem::remove_all(directory_); }
  std::string model() const { return directory_ + "/model.gguf"; }
  std::string adapter(int i, int version) const { return fmt::format("{}/{}_{}", directory_, i, version); }
  std::string broken() const { return directory_ + "/broken"; }
  static std::string name(int i) { return fmt::format("voice{}", i); }

 private:
  std::string directory_;
};

// Prompts of 3 to 47 tokens. They begin alike, so that requests under the same adapters share pages, and
// under others would find each other's if a page's key lacked anything.
std::vector<int32_t> prompt_of(int index) {
  std::mt19937 random(7);
  std::vector<int32_t> prompt;
  for (int i = 0; i < 3 + 4 * index; ++i) prompt.push_back(static_cast<int32_t>(random() % 150));
  prompt.back() = 3 + index;
  return prompt;
}

Request make_request(int prompt, std::vector<AdapterUse> adapters) {
  Request request;
  request.prompt = prompt_of(prompt);
  request.adapters = std::move(adapters);
  request.sampling.temperature = 0;
  request.sampling.top_logprobs = 3;
  request.max_tokens = 6 + prompt % 5;
  return request;
}

struct Answer {
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;  // of the chosen and the likeliest tokens, step by step
  int ends = 0;
  FinishReason finish = FinishReason::kNone;
  std::string error;
  bool operator==(const Answer&) const = default;
};

void record(const TokenEvent& event, Answer& answer) {
  if (event.token >= 0) {
    answer.tokens.push_back(event.token);
    answer.logprobs.push_back(event.logprob);
    for (const TokenLogprob& top : event.top) answer.logprobs.push_back(top.logprob);
  }
  if (event.finish == FinishReason::kNone) return;
  ++answer.ends;
  answer.finish = event.finish;
  answer.error = event.error;
}

// How mixed the steps were.
struct StepCensus {
  int steps = 0, steps_with_base_and_adapters = 0, steps_with_mixes = 0;
  size_t most_adapters = 0, adapters = 0;

  void count(const Batch& batch) {
    std::set<const Adapter*> distinct;
    std::set<int> adapted;
    bool mixed = false;
    for (const LoraSegment& segment : batch.segments) {
      distinct.insert(segment.adapter);
      for (int row = segment.row_begin; row < segment.row_end; ++row) {
        mixed = !adapted.insert(row).second || mixed;
      }
    }
    ++steps;
    adapters += distinct.size();
    most_adapters = std::max(most_adapters, distinct.size());
    steps_with_mixes += mixed;
    steps_with_base_and_adapters += !distinct.empty() && static_cast<int>(adapted.size()) < batch.rows();
  }
};

class Isolation : public testing::Test {
 protected:
  // Few pages, so that they change hands all the time.
  explicit Isolation(size_t pages = 100) : runtime_(files_.model(), options(pages)) {}

  RuntimeOptions options(size_t pages) {
    RuntimeOptions options;
    options.threads = 2;
    options.context_length = 64;
    options.kv_bytes = pages * KvPages::page_bytes(base_config(), choose_kernels().default_kv);
    options.poison_freed_pages = true;
    options.observer = [this](const Batch& batch, std::span<const float>) { census_.count(batch); };
    return options;
  }

  void step(std::map<uint64_t, Answer>& answers) {
    Engine& engine = runtime_.engine();
    const auto sink = [&](const TokenEvent& event) { record(event, answers[event.request]); };
    if (!engine.step(sink)) engine.wait(std::chrono::milliseconds(1));
  }

  // Submits all at once and returns their answers, in order.
  std::vector<Answer> run(const std::vector<Request>& requests) {
    std::map<uint64_t, Answer> answers;
    std::vector<uint64_t> ids;
    for (const Request& request : requests) ids.push_back(runtime_.engine().submit(request));
    while (!runtime_.engine().idle()) step(answers);
    std::vector<Answer> ordered;
    for (const uint64_t id : ids) ordered.push_back(answers[id]);
    return ordered;
  }

  // Whether the tokens are the greedy ones of this request in a fresh Transformer that runs nothing else.
  bool is_answer_alone(const Request& request, const std::vector<int32_t>& output) const {
    TestSequence sequence{request.prompt, {}};
    sequence.tokens.insert(sequence.tokens.end(), output.begin(), output.end() - 1);
    for (const AdapterUse& use : request.adapters)
      sequence.adapters.push_back({use.adapter.get(), use.scale});
    const RunOptions alone{.threads = 1, .kv = choose_kernels().default_kv};
    const std::vector<float> logits = run_sequence(runtime_.model(), choose_kernels(), sequence, alone);
    const auto vocab = static_cast<size_t>(base_config().vocab);
    for (size_t i = 0; i < output.size(); ++i) {
      const float* row = logits.data() + (request.prompt.size() - 1 + i) * vocab;
      if (std::max_element(row, row + vocab) - row != output[i]) return false;
    }
    return true;
  }

  const Files files_;
  StepCensus census_;
  Runtime runtime_;
};

struct Sent {
  Request request;
  std::string mix;
  int prompt = 0;
};

// Submits requests from a thread of its own, each under whatever its name means at that moment.
class Client {
 public:
  Client(Runtime& runtime, uint32_t seed) : runtime_(runtime), random_(seed) {}

  void submit_all(int count) {
    while (static_cast<int>(sent.size()) < count) {
      Sent next;
      next.mix = choose();
      next.prompt = below(kPrompts);
      try {
        next.request = make_request(next.prompt, runtime_.adapters().resolve(next.mix));
      } catch (const Error&) {  // unloaded just now
        ++unknown;
        continue;
      }
      const uint64_t id = submit(next.request);
      sent[id] = std::move(next);
    }
  }

  std::map<uint64_t, Sent> sent;
  int unknown = 0, refused = 0;

 private:
  int below(int limit) { return static_cast<int>(random_() % static_cast<uint32_t>(limit)); }
  std::string choose() {
    const int kind = below(100);
    if (kind < 5) return "base";
    if (kind < 6) return kBroken;
    const int first = below(kNames), second = (first + 1 + below(kNames - 1)) % kNames;
    if (kind < 90) return Files::name(first);
    return fmt::format("{}@0.75+{}@-0.5", Files::name(first), Files::name(second));
  }
  uint64_t submit(const Request& request) {
    for (;;) {
      try {
        return runtime_.engine().submit(request);
      } catch (const QueueFull&) {
        ++refused;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  }

  Runtime& runtime_;
  std::mt19937 random_;
};

// Loads, replaces and unloads names until `active` is 0; returns how often.
int churn(Runtime& runtime, const Files& files, uint32_t seed, const std::atomic<int>& active) {
  std::mt19937 random(seed);
  int changes = 0;
  for (; active > 0; ++changes) {
    const int i = static_cast<int>(random() % kNames);
    if (random() % 4 == 0) runtime.adapters().unload(Files::name(i));
    runtime.adapters().load(Files::name(i), files.adapter(i, static_cast<int>(random() % kVersions)));
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  return changes;
}

std::string identity(const Request& request) {
  std::string text;
  for (const AdapterUse& use : request.adapters) text += fmt::format("{}@{} ", use.adapter->id(), use.scale);
  return text;
}

TEST_F(Isolation, TenThousandRequestsWhileAdaptersComeAndGo) {
  for (int i = 0; i < kNames; ++i) runtime_.adapters().load(Files::name(i), files_.adapter(i, 0));
  runtime_.adapters().load(kBroken, files_.broken());

  std::vector<Client> clients;
  for (uint32_t i = 0; i < kClients; ++i) clients.emplace_back(runtime_, i);
  std::atomic<int> active{kClients}, changes{0};
  std::vector<std::thread> threads;
  for (Client& client : clients) {
    threads.emplace_back([&] {
      client.submit_all(kRequests / kClients);
      --active;
    });
  }
  for (uint32_t i = 0; i < 2; ++i) {
    threads.emplace_back([&, i] { changes += churn(runtime_, files_, 100 + i, active); });
  }
  std::map<uint64_t, Answer> answers;
  while (active > 0 || !runtime_.engine().idle()) step(answers);
  for (std::thread& thread : threads) thread.join();

  std::map<uint64_t, Sent> sent;
  for (Client& client : clients) sent.merge(client.sent);
  ASSERT_EQ(sent.size(), size_t{kRequests});
  EXPECT_EQ(answers.size(), sent.size());

  std::map<int, std::map<std::string, std::vector<int32_t>>> outputs;  // by prompt and adapters
  int wrong = 0, broken = 0;
  for (const auto& [id, was] : sent) {
    const Answer& answer = answers[id];
    ASSERT_EQ(answer.ends, 1) << was.mix;
    if (was.mix == kBroken) {
      ++broken;
      EXPECT_EQ(answer.finish, FinishReason::kError);
      continue;
    }
    ASSERT_EQ(answer.finish, FinishReason::kLength) << was.mix << ": " << answer.error;
    ASSERT_EQ(answer.tokens.size(), static_cast<size_t>(was.request.max_tokens)) << was.mix;
    const auto [known, first] = outputs[was.prompt].try_emplace(identity(was.request), answer.tokens);
    if (first ? !is_answer_alone(was.request, answer.tokens) : known->second != answer.tokens) ++wrong;
  }
  EXPECT_EQ(wrong, 0) << "requests with the output of something else";

  // What was checked above could have failed: the outputs tell the adapters apart, and steps were mixed.
  size_t pairs = 0, alike = 0;
  for (const auto& [prompt, by_adapters] : outputs) {
    std::map<std::vector<int32_t>, size_t> equal;
    for (const auto& [adapters, tokens] : by_adapters) alike += equal[tokens]++;
    pairs += by_adapters.size() * (by_adapters.size() - 1) / 2;
  }
  EXPECT_LT(alike, pairs / 100);
  EXPECT_GT(broken, 0);
  EXPECT_GE(census_.most_adapters, 24u);
  EXPECT_GE(census_.adapters, static_cast<size_t>(census_.steps) * 8);
  EXPECT_GE(census_.steps_with_base_and_adapters, census_.steps / 4);
  EXPECT_GE(census_.steps_with_mixes, census_.steps / 4);
  EXPECT_GE(changes, 200);
  const EngineStats stats = runtime_.engine().stats();
  EXPECT_GT(stats.prefix_hit_tokens, 0u);
  EXPECT_EQ(stats.pages_used, 0);
  fmt::print(
      "{} steps, {:.1f} adapters a step, {} at most; {} changes of adapters; {} prefix tokens; {} of {} "
      "pairs of outputs alike\n",
      census_.steps, double(census_.adapters) / census_.steps, census_.most_adapters, changes.load(),
      stats.prefix_hit_tokens, alike, pairs);
}

TEST_F(Isolation, ABrokenAdapterIsItsOwnRequestsProblem) {
  for (int i = 0; i < 4; ++i) runtime_.adapters().load(Files::name(i), files_.adapter(i, 0));
  runtime_.adapters().load(kBroken, files_.broken());
  std::vector<Request> neighbours, all;
  for (int prompt = 0; prompt < kPrompts; ++prompt) {
    for (const std::string& mix :
         {std::string("base"), Files::name(prompt % 4), Files::name(0) + "+voice3"}) {
      neighbours.push_back(make_request(prompt, runtime_.adapters().resolve(mix)));
      all.push_back(neighbours.back());
      all.push_back(make_request(prompt, runtime_.adapters().resolve(kBroken)));
    }
  }
  const std::vector<Answer> without = run(neighbours);
  const std::vector<Answer> with = run(all);
  const std::vector<Answer> after = run(neighbours);  // in pages that the broken ones have left
  EXPECT_EQ(after, without);
  for (size_t i = 0; i < neighbours.size(); ++i) {
    EXPECT_EQ(with[2 * i], without[i]) << "request " << i;
    const Answer& broken = with[2 * i + 1];
    EXPECT_EQ(broken.finish, FinishReason::kError) << "request " << i;
    EXPECT_TRUE(broken.tokens.empty());
    EXPECT_FALSE(broken.error.empty());
  }
}

// A request keeps the adapter it was submitted with, though its name means another before the first step.
TEST_F(Isolation, ANameIsReadWhenTheRequestIsSubmitted) {
  const std::string name = Files::name(0);
  std::vector<Request> requests;
  for (int version = 0; version < kVersions; ++version) {
    runtime_.adapters().load(name, files_.adapter(0, version));
    requests.push_back(make_request(5, runtime_.adapters().resolve(name)));
  }
  runtime_.adapters().unload(name);
  EXPECT_THROW(runtime_.adapters().resolve(name), Error);
  const std::vector<Answer> answers = run(requests);
  EXPECT_NE(answers[0].tokens, answers[1].tokens);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_TRUE(is_answer_alone(requests[i], answers[i].tokens));
}

class IsolationWithoutRoom : public Isolation {
 protected:
  IsolationWithoutRoom() : Isolation(20) {}
};

// Their pages are taken in the middle of the answer, filled with NaN, and given to others.
TEST_F(IsolationWithoutRoom, PreemptedRequestsAnswerAsAlone) {
  std::vector<Request> requests;
  for (int i = 0; i < kNames; ++i) {
    runtime_.adapters().load(Files::name(i), files_.adapter(i, 0));
    requests.push_back(make_request(i % 3, runtime_.adapters().resolve(Files::name(i))));
    requests.back().max_tokens = 50;
  }
  const std::vector<Answer> answers = run(requests);
  EXPECT_GT(runtime_.engine().stats().preemptions, 10u);
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(answers[i].finish, FinishReason::kLength) << answers[i].error;
    EXPECT_TRUE(is_answer_alone(requests[i], answers[i].tokens)) << "request " << i;
  }
}

}  // namespace
}  // namespace chorus
