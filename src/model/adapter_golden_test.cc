// Adapters against what PEFT computes with the same files.

#include <gtest/gtest.h>

#include "model/adapter_io.h"
#include "model/adapter_pack.h"
#include "model/adapter_probe.h"
#include "model/golden_test_util.h"

namespace chorus {
namespace {

struct AdapterCase {
  std::string name;  // in tests/golden/adapters
  std::string base;  // in tests/golden/models
  bool has_gguf;
};

const std::vector<AdapterCase> kCases = {
    {"all_linear", "llama_tied", true}, {"qv", "llama_tied", true},
    {"regex", "llama_tied", false},     {"patterns", "llama_tied", false},
    {"ranks", "llama_tied", true},      {"rslora", "llama_tied", false},
    {"layers", "llama_tied", true},     {"excluded", "llama_tied", false},
    {"rank1", "llama_tied", true},      {"rank64", "llama_tied", true},
    {"tied_head", "llama_tied", false}, {"head", "llama_untied", true},
    {"qwen3", "qwen3", true},           {"gemma3", "gemma3", true},
    {"dora", "llama_tied", false},      {"dora_head", "llama_untied", false},
    {"dora_even", "llama_tied", false}, {"dora_gemma3", "gemma3", false}};

AdapterHandle load(const std::string& name, const Model& model) {
  return load_adapter(golden_path("adapters/" + name), model.config, &model);
}

class AdapterGolden : public testing::TestWithParam<AdapterCase> {
 protected:
  // Checks one file of the adapter on one file of its base, under every kernel table.
  void check(const std::string& adapter_file, const std::string& model_file) const {
    const Model model = load_golden_model(model_file);
    const AdapterHandle adapter = load(adapter_file, model);
    for (const Kernels* kernels : available_kernels()) {
      for (const int chunk : {1 << 20, 1, 5}) {
        const std::vector<float> logits =
            run_sequence(model, *kernels, {golden_.tokens, {{adapter.get(), 1}}}, {.chunk = chunk});
        EXPECT_LE(relative_error(logits, golden_.logits), 1e-4)
            << adapter_file << " on " << model_file << ", " << kernels->name << ", chunks of " << chunk;
      }
    }
  }

  const Golden golden_ = read_golden("adapters/" + GetParam().name);
};

TEST_P(AdapterGolden, Peft) {
  check(GetParam().name, GetParam().base);
  check(GetParam().name, GetParam().base + ".gguf");
}

// These adapters are large beside their bases: rounding them to 8 bits moves the logits by up to 6 %. A wrong
// scale, strip or piece would move them by as much as they are.
TEST_P(AdapterGolden, Int8IsClose) {
  const Model model = load_golden_model(GetParam().base);
  const AdapterHandle exact = load(GetParam().name, model), int8 = to_int8(*exact);
  EXPECT_EQ(int8->id(), exact->id());
  EXPECT_NE(int8->form(), exact->form());
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> logits = run_sequence(model, *kernels, {golden_.tokens, {{int8.get(), 1}}});
    EXPECT_LE(relative_error(logits, golden_.logits), 0.08) << kernels->name;
  }
}

TEST_P(AdapterGolden, Gguf) {
  if (!GetParam().has_gguf) GTEST_SKIP() << "one alpha cannot say it, or the base has no output.weight";
  check(GetParam().name + ".gguf", GetParam().base);
  check(GetParam().name + ".gguf", GetParam().base + ".gguf");
}

INSTANTIATE_TEST_SUITE_P(Adapters, AdapterGolden, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class AdapterMix : public testing::Test {
 protected:
  const Model model_ = load_golden_model("llama_tied");
  const AdapterHandle a_ = load("all_linear", model_), b_ = load("ranks", model_);
};

TEST_F(AdapterMix, WeightedSumOfTwo) {
  const Golden golden = read_golden("adapters/mix");
  for (const Kernels* kernels : available_kernels()) {
    const TestSequence sequence = {golden.tokens, {{a_.get(), 0.75f}, {b_.get(), -0.5f}}};
    EXPECT_LE(relative_error(run_sequence(model_, *kernels, sequence), golden.logits), 1e-4) << kernels->name;
  }
}

// Rows of the base, of two adapters and of their mix in one batch; the adapters as they are and in int8.
void expect_each_as_alone(const Adapter& a, const Adapter& b) {
  for (const char* file : {"llama_tied", "llama_tied_q4_0.gguf"}) {
    const Model model = load_golden_model(file);
    const std::vector<int32_t> tokens = read_golden("adapters/mix").tokens;
    const auto first = [&](int count) {
      return std::vector<int32_t>(tokens.begin(), tokens.begin() + count);
    };
    const std::vector<TestSequence> sequences = {{first(9), {}},
                                                 {first(24), {{&a, 1}}},
                                                 {first(17), {{&a, 1}}},
                                                 {first(20), {{&b, 0.5f}}},
                                                 {first(3), {{&a, 0.75f}, {&b, -0.5f}}},
                                                 {first(18), {}}};
    for (const Kernels* kernels : available_kernels()) {
      for (const int chunk : {1 << 20, 4}) {
        const SequenceRunner::Logits together = run_sequences(model, *kernels, sequences, {.chunk = chunk});
        for (size_t i = 0; i < sequences.size(); ++i) {
          EXPECT_EQ(together[i], run_sequence(model, *kernels, sequences[i], {.threads = 1}))
              << file << ", " << kernels->name << ", sequence " << i << ", chunks of " << chunk;
        }
      }
    }
  }
}

TEST_F(AdapterMix, EachSequenceIsAsAlone) { expect_each_as_alone(*a_, *b_); }
TEST_F(AdapterMix, EachSequenceIsAsAloneInInt8) { expect_each_as_alone(*to_int8(*a_), *to_int8(*b_)); }

// DoRA's rows beside others', and in a mix: the gain is of their rows alone.
TEST_F(AdapterMix, EachSequenceIsAsAloneWithDora) {
  const AdapterHandle dora = load("dora", model_);
  expect_each_as_alone(*dora, *b_);
  expect_each_as_alone(*to_int8(*a_), *to_int8(*dora));
}

// With half the weight, half of what DoRA does to the one linear that is adapted and nothing is after: the
// head.
TEST(AdapterDora, GoesByItsWeight) {
  const Model model = load_golden_model("llama_untied");
  AdapterFile file = read_adapter_file(FileRoot(), golden_path("adapters/dora_head"));
  file.expects = {};
  std::erase_if(file.pairs, [](const FilePair& pair) { return pair.target != Target::kHead; });
  const AdapterHandle adapter = load_adapter(file, model.config, &model);
  const std::vector<int32_t> tokens = read_golden("adapters/dora_head").tokens;
  for (const Kernels* kernels : available_kernels()) {
    const auto logits = [&](std::vector<WeightedAdapter> uses) {
      return run_sequence(model, *kernels, {tokens, uses});
    };
    const std::vector<float> base = logits({}), whole = logits({{adapter.get(), 1}});
    std::vector<float> middle;
    for (size_t i = 0; i < base.size(); ++i) middle.push_back((base[i] + whole[i]) / 2);
    EXPECT_LE(relative_error(logits({{adapter.get(), 0.5f}}), middle), 1e-5) << kernels->name;
    EXPECT_GT(relative_error(base, whole), 0.01) << kernels->name;
  }
}

// Nothing between an adapter and itself; something, but little, between its forms; much between two.
TEST_F(AdapterMix, DivergenceTellsFormsApart) {
  const std::vector<int32_t> tokens = read_golden("adapters/mix").tokens;
  ThreadTeam team(2);
  EXPECT_EQ(adapter_divergence(model_, team, *a_, *a_, tokens), 0);
  const double forms = adapter_divergence(model_, team, *a_, *to_int8(*a_), tokens);
  EXPECT_GT(forms, 0);
  EXPECT_LT(forms * 100, adapter_divergence(model_, team, *a_, *b_, tokens));
}

// An adapter whose weight is 0 is the base; so is none.
TEST_F(AdapterMix, WeightZeroIsTheBase) {
  const std::vector<int32_t> tokens = read_golden("adapters/mix").tokens;
  for (const Kernels* kernels : available_kernels()) {
    EXPECT_EQ(run_sequence(model_, *kernels, {tokens, {{a_.get(), 0}}}),
              run_sequence(model_, *kernels, {tokens, {}}))
        << kernels->name;
  }
}

TEST(AdapterIdentity, FollowsContent) {
  const Model model = load_golden_model("llama_tied");
  EXPECT_EQ(load("qv", model)->id(), load("qv", model)->id());
  EXPECT_NE(load("qv", model)->id(), load("ranks", model)->id());
  EXPECT_EQ(load("qv", model)->id().size(), 64u);
}

// Memory goes by the true rank; each matrix may be padded to a cache line.
void expect_bytes_of_elements(const AdapterCase& c) {
  const AdapterSummary summary = summarize_adapter(golden_path("adapters/" + c.name));
  const Model model = load_golden_model(c.base);
  const AdapterHandle adapter = load(c.name, model);
  EXPECT_GE(adapter->bytes(), summary.bytes) << c.name;
  const size_t padding = 64 * static_cast<size_t>(summary.tensors) + 64;
  const size_t most = summary.bytes * (summary.dora ? 2 : 1);  // its B and gains are f32, whatever the file's
  EXPECT_LE(adapter->bytes(), most + most / 20 + padding) << c.name;
  const AdapterFile file = read_adapter_file(FileRoot(), golden_path("adapters/" + c.name));
  const PackedSize said = check_adapter(file, model.config);
  EXPECT_EQ(said.bytes, adapter->bytes()) << c.name;
  EXPECT_EQ(said.id, adapter->id()) << c.name;
}

TEST(AdapterMemory, IsThatOfItsElements) { expect_bytes_of_elements({"rank64", "llama_tied", true}); }

TEST(AdapterMemory, IsThatOfItsElementsAtAnyRank) {
  for (const AdapterCase& c : kCases) expect_bytes_of_elements(c);
}

TEST(AdapterSummary, SaysWhatTheFileHolds) {
  const AdapterSummary patterns = summarize_adapter(golden_path("adapters/patterns"));
  EXPECT_EQ(patterns.format, "PEFT");
  EXPECT_EQ(patterns.min_rank, 2);
  EXPECT_EQ(patterns.max_rank, 7);
  EXPECT_EQ(patterns.alpha, 8);
  EXPECT_EQ(patterns.tensors, 42);
  EXPECT_EQ(patterns.layers, 3);
  EXPECT_FALSE(patterns.rslora);
  EXPECT_TRUE(summarize_adapter(golden_path("adapters/rslora")).rslora);
  EXPECT_FALSE(patterns.dora);
  EXPECT_TRUE(summarize_adapter(golden_path("adapters/dora")).dora);
  EXPECT_EQ(summarize_adapter(golden_path("adapters/dora")).tensors, 63);

  const AdapterSummary layers = summarize_adapter(golden_path("adapters/layers.gguf"));
  EXPECT_EQ(layers.format, "GGUF");
  EXPECT_EQ(layers.layers, 1);
  EXPECT_EQ(layers.targets, (std::vector<std::string>{"v_proj", "up_proj"}));
}

TEST(RandomAdapter, IsOnEveryLinearAndKnownByItsSeed) {
  const Model model = load_golden_model("llama_tied");
  const AdapterHandle adapter = random_adapter(model.config, 5, 1);
  for (int layer = 0; layer < static_cast<int>(model.config.layers.size()); ++layer) {
    for (int t = 0; t < kLayerTargets; ++t) {
      const GroupPlace place = group_place(static_cast<Target>(t));
      EXPECT_EQ(adapter->group(layer, place.group).b[place.index].cols, 5);
    }
  }
  EXPECT_EQ(adapter->group(0, InputGroup::kHead).a.data, nullptr);
  EXPECT_EQ(adapter->id(), random_adapter(model.config, 5, 1)->id());
  EXPECT_NE(adapter->id(), random_adapter(model.config, 5, 2)->id());
}

}  // namespace
}  // namespace chorus
