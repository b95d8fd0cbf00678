// The training pass against torch + PEFT (tests/golden/make_gradients.py).

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "model/golden_test_util.h"
#include "train/adapter_writer.h"
#include "train/training_pass.h"

namespace chorus {
namespace {

struct GoldenExample {
  std::vector<int32_t> tokens;
  std::vector<uint8_t> labels;
  std::vector<float> nll;
};

// A model, an adapter with a golden's values, and its examples.
struct GoldenCase {
  explicit GoldenCase(const std::string& name)
      : file(SafetensorsFile::open(golden_path("gradients/" + name + ".safetensors"))),
        model(load_golden_model(file.metadata().at("base"))),
        parameters(model.config, shape(), 1),
        dropout(std::stof(file.metadata().at("dropout"))) {
    set_values();
    for (const char* i : {"0", "1"}) {
      GoldenExample example;
      for (const float token : values("tokens_", i)) example.tokens.push_back(static_cast<int32_t>(token));
      for (const float label : values("labels_", i)) example.labels.push_back(label > 0);
      example.nll = values("nll_", i);
      labels += example.nll.size();
      examples.push_back(std::move(example));
    }
  }

  void set_values() {
    const AdapterFile adapter = peft();
    for (const FilePair& pair : adapter.pairs) {
      const LoraLinear& linear = *parameters.find(pair.layer, pair.target);
      const auto set = [&](const FileTensor& tensor, size_t at) {
        std::ranges::copy(values_of(tensor), parameters.values().begin() + static_cast<ptrdiff_t>(at));
      };
      set(*pair.a, linear.a);
      set(*pair.b, linear.b);
      if (pair.magnitude != nullptr) set(*pair.magnitude, linear.m);
    }
  }
  AdapterFile peft() const {
    return read_peft_adapter(FileRoot(), golden_path("adapters/" + file.metadata().at("adapter")));
  }
  std::vector<float> values(const std::string& name, const std::string& i) const {
    return values_of(*file.find(name + i));
  }
  LoraShape shape() const {
    const AdapterFile adapter = peft();
    LoraShape shape{.rank = static_cast<int>(adapter.pairs[0].a->shape[0]),
                    .alpha = adapter.alpha,
                    .rslora = adapter.rslora,
                    .dora = adapter.pairs[0].magnitude != nullptr};
    for (const FilePair& pair : adapter.pairs) {
      if (std::ranges::find(shape.targets, pair.target) == shape.targets.end())
        shape.targets.push_back(pair.target);
      if (pair.target == Target::kHead) continue;
      if (std::ranges::find(shape.layers, pair.layer) == shape.layers.end())
        shape.layers.push_back(pair.layer);
    }
    return shape;
  }

  SafetensorsFile file;
  Model model;
  LoraParameters parameters;
  float dropout;
  std::vector<GoldenExample> examples;
  std::vector<uint64_t> keys = {5, 6};  // of the examples
  size_t labels = 0;
};

struct PassResult {
  std::vector<float> gradient;  // of the trainees, one after the other
  std::vector<double> nll;
};

struct PassOptions {
  std::string kernels = "reference";
  int threads = 2;
  int label_rows = 5;
  int kept_layers = 1;
  bool separate = false;  // a pass an example
  size_t trainees = 1;    // alike, of an example each
};

PassResult run_pass(GoldenCase& golden, const PassOptions& options) {
  const PassLimits limits{.rows = 64,
                          .sequences = 4,
                          .sequence_rows = 32,
                          .rank = 3 * golden.parameters.rank(),
                          .label_rows = options.label_rows,
                          .dropout = golden.dropout > 0,
                          .dora = golden.parameters.shape().dora,
                          .kept_layers = options.kept_layers};
  ThreadTeam team(options.threads);
  TrainingPass pass(golden.model, *find_kernels(options.kernels), *find_training_kernels(options.kernels),
                    limits, options.threads);
  PassResult result;
  const size_t size = golden.parameters.values().size();
  result.gradient.resize(size * options.trainees);
  PackedLora packed(golden.parameters, golden.model, *find_kernels(options.kernels), team);
  golden.set_values();
  packed.update(team);
  std::vector<Trainee> trainees;
  for (size_t i = 0; i < options.trainees; ++i) {
    trainees.push_back({&golden.parameters, &packed, std::span(result.gradient).subspan(i * size, size),
                        golden.dropout, 77});
  }
  TrainingBatch batch;
  const auto finish = [&] {
    batch.finish();
    std::vector<double> nll(batch.labels.size());
    pass.run(team, batch, trainees, nll);
    result.nll.insert(result.nll.end(), nll.begin(), nll.end());
    batch.clear();
  };
  for (size_t i = 0; i < golden.examples.size(); ++i) {
    const GoldenExample& example = golden.examples[i];
    batch.add(static_cast<int>(i % options.trainees), example.tokens, example.labels,
              1 / static_cast<float>(golden.labels), golden.keys[i]);
    if (options.separate) finish();
  }
  if (!options.separate) finish();
  return result;
}

// The difference's length as a share of the golden gradient's, the worst of all tensors.
double worst_gradient(const GoldenCase& golden, const PassResult& result) {
  double worst = 0;
  const auto look_at = [&](const std::string& name, size_t at) {
    const std::vector<float> expected = values_of(*golden.file.find(name));
    double length = 0, apart = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      length += std::pow(double{expected[i]}, 2);
      apart += std::pow(double{result.gradient[at + i]} - expected[i], 2);
    }
    const double error = std::sqrt(apart / length);
    worst = std::isfinite(error) ? std::max(worst, error) : INFINITY;
  };
  for (const LoraLinear& linear : golden.parameters.linears()) {
    look_at(peft_name(linear, true), linear.a);
    look_at(peft_name(linear, false), linear.b);
    if (!golden.parameters.shape().dora) continue;
    look_at(fmt::format("base_model.model.{}{}", module_name(linear.layer, linear.target), kPeftMagnitude),
            linear.m);
  }
  return worst;
}

class GradientGolden : public testing::TestWithParam<const char*> {};

TEST_P(GradientGolden, AgreesWithPeft) {
  GoldenCase golden(GetParam());
  const PassResult result = run_pass(golden, {});
  EXPECT_LT(worst_gradient(golden, result), 1e-3);
  size_t at = 0;
  for (const GoldenExample& example : golden.examples) {
    for (const float nll : example.nll) EXPECT_NEAR(result.nll[at++], nll, 1e-3 * std::max(1.0f, nll));
  }
  EXPECT_EQ(at, result.nll.size());
}

// The fast kernels round activations to 8 bits going forward, and to bf16 going back where they can.
TEST_P(GradientGolden, FastKernelsAgreeRoughly) {
  GoldenCase golden(GetParam());
  for (const Kernels* kernels : available_kernels()) {
    const double error = worst_gradient(golden, run_pass(golden, {.kernels = kernels->name}));
    RecordProperty(kernels->name, std::to_string(error));
    EXPECT_LT(error, 0.2) << kernels->name;
  }
}

// However it is cut and kept: the same bits at any number of threads, with layers kept or run again, and
// nearly so example by example.
TEST_P(GradientGolden, DoesNotHangOnHowItIsRun) {
  GoldenCase golden(GetParam());
  for (const Kernels* kernels : available_kernels()) {
    const PassResult first = run_pass(golden, {.kernels = kernels->name});
    const auto same = [&](const PassOptions& options) {
      const PassResult other = run_pass(golden, options);
      return std::memcmp(first.gradient.data(), other.gradient.data(),
                         first.gradient.size() * sizeof(float)) == 0 &&
             first.nll == other.nll;
    };
    for (const int threads : {1, 3, 4}) EXPECT_TRUE(same({.kernels = kernels->name, .threads = threads}));
    for (const int kept : {0, 99}) EXPECT_TRUE(same({.kernels = kernels->name, .kept_layers = kept}));
    const PassResult apart = run_pass(golden, {.kernels = kernels->name, .separate = true});
    double length = 0, difference = 0;
    for (size_t i = 0; i < first.gradient.size(); ++i) {
      length += std::pow(double{first.gradient[i]}, 2);
      difference += std::pow(double{first.gradient[i]} - apart.gradient[i], 2);
    }
    EXPECT_LT(std::sqrt(difference / length), 1e-5) << kernels->name;
    EXPECT_EQ(first.nll, apart.nll);
  }
}

// An adapter of its own for each example: in one batch, each gets what it gets alone.
TEST_P(GradientGolden, AdaptersInOneBatchDoNotMeet) {
  GoldenCase golden(GetParam());
  const GoldenCase whole(GetParam());
  PassResult alone[2];
  for (const size_t i : {0, 1}) {
    golden.examples = {whole.examples[i]};
    golden.keys = {5 + i};
    alone[i] = run_pass(golden, {});
  }
  golden.examples = whole.examples;
  golden.keys = {5, 6};
  const PassResult together = run_pass(golden, {.trainees = 2});
  EXPECT_TRUE(std::ranges::equal(std::span(together.nll).first(alone[0].nll.size()), alone[0].nll));
  const size_t size = alone[0].gradient.size();
  for (const size_t i : {0, 1}) {
    double length = 0, difference = 0;
    for (size_t j = 0; j < size; ++j) {
      length += std::pow(double{alone[i].gradient[j]}, 2);
      difference += std::pow(double{alone[i].gradient[j]} - together.gradient[i * size + j], 2);
    }
    EXPECT_LT(std::sqrt(difference / length), 1e-5) << i;
  }
}

// Nothing is computed backward below it.
TEST(LowestLayer, IsTheFirstThatIsAdapted) {
  EXPECT_EQ(GoldenCase("llama_layer").parameters.lowest_layer(), 1);
  EXPECT_EQ(GoldenCase("llama_head").parameters.lowest_layer(), 0);
  EXPECT_EQ(GoldenCase("llama_tied_head").parameters.lowest_layer(), 3);
}

INSTANTIATE_TEST_SUITE_P(Golden, GradientGolden,
                         testing::Values("llama", "llama_dropout", "llama_q4_0", "llama_layer",
                                         "llama_rslora", "qwen3", "gemma3", "llama_head",
                                         "llama_head_dropout", "llama_tied_head", "llama_dora",
                                         "gemma3_dora"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace chorus
