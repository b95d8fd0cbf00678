// Whole models against what transformers computes in float32 on the same (dequantized) weights.

#include <gtest/gtest.h>

#include "model/golden_test_util.h"

namespace chorus {
namespace {

struct ModelCase {
  std::string file;    // in tests/golden/models: a directory or a GGUF file
  std::string golden;  // the name of its golden file
  double tolerance = 1e-4;
};

std::string case_name(const testing::TestParamInfo<ModelCase>& info) {
  std::string name = info.param.file;
  std::ranges::replace(name, '.', '_');
  return name;
}

class TransformerGolden : public testing::TestWithParam<ModelCase> {
 protected:
  static constexpr int kWhole = 1 << 20;

  std::vector<float> run(const Kernels& kernels, const RunOptions& options) const {
    return run_sequence(model_, kernels, {golden_.tokens, {}}, options);
  }
  bool quantized() const { return is_quantized(model_.layers[0].linears[0].view.layout); }

  const Model model_ = load_golden_model(GetParam().file);
  const Golden golden_ = read_golden("models/" + GetParam().golden);
};

TEST_P(TransformerGolden, ReferenceIsExact) {
  const Kernels& reference = *find_kernels("reference");
  for (const int chunk : {kWhole, 1, 7}) {
    const double error = relative_error(run(reference, {.chunk = chunk}), golden_.logits);
    EXPECT_LE(error, GetParam().tolerance) << "in chunks of " << chunk;
  }
}

TEST_P(TransformerGolden, EveryTableIsNear) {
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> logits = run(*kernels, {.kv = kernels->exact_kv});
    const double kl = mean_kl(logits, golden_.logits, static_cast<size_t>(model_.config.vocab));
    EXPECT_LE(kl, quantized() ? 0.02 : 5e-5) << kernels->name;
    const std::vector<float> int8_kv = run(*kernels, {.kv = KvType::kI8});
    EXPECT_LE(mean_kl(int8_kv, logits, static_cast<size_t>(model_.config.vocab)), 0.02) << kernels->name;
    if (quantized() && kernels->int8_activations) continue;
    EXPECT_LE(relative_error(run(*kernels, {}), golden_.logits), GetParam().tolerance) << kernels->name;
  }
}

TEST_P(TransformerGolden, ChunksAndThreadsChangeNoBit) {
  for (const Kernels* kernels : available_kernels()) {
    const std::vector<float> whole = run(*kernels, {.threads = 1});
    for (const int chunk : {1, 7, 16}) {
      EXPECT_EQ(run(*kernels, {.chunk = chunk, .threads = 3}), whole)
          << kernels->name << " in chunks of " << chunk;
    }
  }
}

// Q6_K alone is not kept exactly: its scales of 16 columns become scales of 32.
INSTANTIATE_TEST_SUITE_P(Models, TransformerGolden,
                         testing::Values(ModelCase{"llama_tied", "llama_tied"},
                                         ModelCase{"llama_tied.gguf", "llama_tied"},
                                         ModelCase{"llama_tied_q4_0.gguf", "llama_tied_q4_0"},
                                         ModelCase{"llama_tied_q4_1.gguf", "llama_tied_q4_1"},
                                         ModelCase{"llama_tied_q8_0.gguf", "llama_tied_q8_0"},
                                         ModelCase{"llama_untied", "llama_untied"},
                                         ModelCase{"llama_untied.gguf", "llama_untied"},
                                         ModelCase{"qwen3", "qwen3"}, ModelCase{"qwen3.gguf", "qwen3"},
                                         ModelCase{"gemma3", "gemma3"}, ModelCase{"gemma3.gguf", "gemma3"},
                                         ModelCase{"llama_q4_k.gguf", "llama_q4_k"},
                                         ModelCase{"llama_q6_k.gguf", "llama_q6_k", 0.1}),
                         case_name);

// Sequences of different lengths in one batch.
TEST(TransformerBatch, EachSequenceIsAsAlone) {
  const Model model = load_golden_model("gemma3");
  const std::vector<int32_t> tokens = read_golden("models/gemma3").tokens;
  std::vector<TestSequence> sequences;
  for (const int length : {40, 1, 17, 33}) {
    sequences.push_back({{tokens.begin(), tokens.begin() + length}, {}});
  }
  for (const Kernels* kernels : available_kernels()) {
    const SequenceRunner::Logits together = run_sequences(model, *kernels, sequences, {.chunk = 5});
    for (size_t i = 0; i < sequences.size(); ++i) {
      EXPECT_EQ(together[i], run_sequence(model, *kernels, sequences[i])) << kernels->name << ", " << i;
    }
  }
}

}  // namespace
}  // namespace chorus
