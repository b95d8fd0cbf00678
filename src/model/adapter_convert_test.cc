// Adapters in other formats against what PEFT computes with the originals, and against the GGUF files that
// were made beside them.

#include "model/adapter_convert.h"

#include <gtest/gtest.h>

#include <fstream>

#include "formats/test_files.h"
#include "model/adapter_io.h"
#include "model/adapter_pack.h"
#include "model/golden_test_util.h"

namespace chorus {
namespace {

struct ConvertCase {
  std::string name, base;
};

const std::vector<ConvertCase> kCases = {
    {"all_linear", "llama_tied"}, {"qv", "llama_tied"},       {"regex", "llama_tied"},
    {"patterns", "llama_tied"},   {"ranks", "llama_tied"},    {"rslora", "llama_tied"},
    {"layers", "llama_tied"},     {"excluded", "llama_tied"}, {"rank1", "llama_tied"},
    {"rank64", "llama_tied"},     {"head", "llama_untied"},   {"qwen3", "qwen3"},
    {"gemma3", "gemma3"}};

template <typename Action>
void expect_error(Action action, const std::string& part) {
  const std::string error = error_of(action);
  EXPECT_NE(error.find(part), std::string::npos) << error;
}

// A directory for one test.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(testing::TempDir() + "chorus_convert_" + name + "_" + std::to_string(getpid())) {
    std::filesystem::remove_all(path_);
    std::filesystem::create_directory(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  size_t entries() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path_), {}));
  }

 private:
  std::string path_;
};

class Convert : public testing::TestWithParam<ConvertCase> {
 protected:
  ConversionCheck convert(const std::string& from, const std::string& to, AdapterFormat format) {
    return convert_adapter(read_adapter_file(FileRoot(), from), to, format, model_, team_);
  }
  void expect_golden(const std::string& path) const {
    const AdapterHandle adapter = load_adapter(path, model_.config);
    const std::vector<float> logits =
        run_sequence(model_, *available_kernels().front(), {golden_.tokens, {{adapter.get(), 1}}});
    EXPECT_LE(relative_error(logits, golden_.logits), 1e-4) << path;
  }

  ThreadTeam team_{2};
  const Model model_ = load_golden_model(GetParam().base);
  const Golden golden_ = read_golden("adapters/" + GetParam().name);
  const std::string from_ = golden_path("adapters/" + GetParam().name);
  const Folder folder_{GetParam().name};
};

TEST_P(Convert, ThereAndBack) {
  const ConversionCheck there = convert(from_, folder_ / "a.gguf", AdapterFormat::kGguf);
  const ConversionCheck back = convert(folder_ / "a.gguf", folder_ / "b", AdapterFormat::kPeft);
  const ConversionCheck same = convert(from_, folder_ / "c", AdapterFormat::kPeft);
  EXPECT_EQ(back.difference, 0);
  EXPECT_EQ(same.difference, 0);
  EXPECT_LT(there.difference, 1e-4);
  EXPECT_GT(there.effect, 1);
  for (const char* name : {"a.gguf", "b", "c"}) expect_golden(folder_ / name);
  EXPECT_EQ(folder_.entries(), 3u);  // nothing else is left
  EXPECT_EQ(load_adapter(folder_ / "c", model_.config)->id(), load_adapter(from_, model_.config)->id());
}

INSTANTIATE_TEST_SUITE_P(Adapters, Convert, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.name; });

class ConvertFiles : public testing::Test {
 protected:
  AdapterFile read(const std::string& path) const { return read_adapter_file(FileRoot(), path); }
  AdapterFile golden(const std::string& name) const { return read(golden_path("adapters/" + name)); }

  ThreadTeam team_{2};
  const Model model_ = load_golden_model("llama_tied");
  const Folder folder_{"files"};
};

TEST_F(ConvertFiles, DoraGoesToPeftOnly) {
  const std::string out = folder_ / "dora";
  const ConversionCheck same = convert_adapter(golden("dora"), out, AdapterFormat::kPeft, model_, team_);
  EXPECT_EQ(same.difference, 0);
  EXPECT_EQ(load_adapter(out, model_.config, &model_)->id(),
            load_adapter(golden_path("adapters/dora"), model_.config, &model_)->id());
  expect_error(
      [&] { convert_adapter(golden("dora"), folder_ / "d.gguf", AdapterFormat::kGguf, model_, team_); },
      "DoRA");
}

// The files that llama.cpp's own Python package wrote, tensor by tensor.
TEST_F(ConvertFiles, GgufIsAsItsOwnWriterMakesIt) {
  for (const std::string name : {"all_linear", "qv", "ranks", "layers", "rank1", "rank64"}) {
    const AdapterFile original = golden(name);
    write_gguf_adapter(folder_ / name, original, model_.config);
    const GgufFile ours = GgufFile::open(folder_ / name);
    const GgufFile theirs = GgufFile::open(golden_path("adapters/" + name + ".gguf"));
    EXPECT_EQ(ours.tensors().size(), theirs.tensors().size());
    EXPECT_EQ(ours.number("adapter.lora.alpha"), theirs.number("adapter.lora.alpha"));
    EXPECT_EQ(ours.string("general.architecture"), "llama");
    for (const FileTensor& tensor : theirs.tensors()) {
      const FileTensor* found = ours.find(tensor.name);
      ASSERT_NE(found, nullptr) << tensor.name;
      EXPECT_EQ(found->shape, tensor.shape) << tensor.name;
      EXPECT_EQ(values_of(*found), values_of(tensor)) << tensor.name;
    }
  }
}

// Linears with another alpha have the difference in their B; the others are left in their own type.
TEST_F(ConvertFiles, OneAlphaForAll) {
  write_gguf_adapter(folder_ / "patterns.gguf", golden("patterns"), model_.config);
  const GgufFile file = GgufFile::open(folder_ / "patterns.gguf");
  EXPECT_EQ(file.number("adapter.lora.alpha"), 8);
  const AdapterFile original = golden("patterns");
  const auto q = std::ranges::find(original.pairs, Target::kQ, &FilePair::target);
  std::vector<float> expected = values_of(*q->b);
  for (float& value : expected) value *= 0.25f;  // alpha 2 instead of 8
  std::vector<float> found = values_of(*file.find("blk.0.attn_q.weight.lora_b"));
  std::ranges::sort(expected);  // the rows are in another order
  std::ranges::sort(found);
  EXPECT_EQ(found, expected);

  AdapterFile half = golden("qv");  // f16
  half.pairs.back().scale *= 3;
  write_gguf_adapter(folder_ / "half.gguf", half, model_.config);
  const GgufFile mixed = GgufFile::open(folder_ / "half.gguf");
  EXPECT_EQ(mixed.find("blk.0.attn_q.weight.lora_b")->type, DType::kF16);
  EXPECT_EQ(mixed.find("blk.2.attn_v.weight.lora_b")->type, DType::kF32);
}

TEST_F(ConvertFiles, AlphaZeroIsScaleOne) {
  AdapterFile file = golden("qv.gguf");
  auto metadata = file.gguf->metadata();
  for (auto& [key, value] : metadata) {
    if (key == "adapter.lora.alpha") value = 0.0;
  }
  write_gguf(folder_ / "zero.gguf", metadata, file.gguf->tensors());
  for (const FilePair& pair : read(folder_ / "zero.gguf").pairs) EXPECT_EQ(pair.scale, 1);
}

TEST_F(ConvertFiles, WhatItWasMadeOnGoesAlong) {
  AdapterFile file = golden("qv");
  EXPECT_EQ(file.base.name, "tiny/llama_tied");
  file.base.id = "abc";
  file.base.chat_template = "def";
  convert_adapter(file, folder_ / "a.gguf", AdapterFormat::kGguf, model_, team_);
  convert_adapter(read(folder_ / "a.gguf"), folder_ / "b", AdapterFormat::kPeft, model_, team_);
  const AdapterBase base = read(folder_ / "b").base;
  EXPECT_EQ(base.name, "tiny/llama_tied");
  EXPECT_EQ(base.id, "abc");
  EXPECT_EQ(base.chat_template, "def");
}

TEST_F(ConvertFiles, Refusals) {
  const auto convert = [&](const std::string& name, const std::string& out) {
    convert_adapter(golden(name), folder_ / out, AdapterFormat::kGguf, model_, team_);
  };
  expect_error([&] { convert("tied_head", "a.gguf"); }, "GGUF has no name for that");
  expect_error([&] { convert("qwen3", "a.gguf"); }, "the base has");
  EXPECT_EQ(folder_.entries(), 0u);
  std::ofstream(folder_ / "a.gguf") << "mine";
  expect_error([&] { convert("qv", "a.gguf"); }, "is there already");
  expect_error([&] { convert("qv", "missing/a.gguf"); }, "cannot make a directory beside it");
}

TEST(ConversionCheck, IsCloseUpToRounding) {
  EXPECT_TRUE((ConversionCheck{.difference = 0, .effect = 0, .largest = 20}).close());
  EXPECT_TRUE((ConversionCheck{.difference = 1e-3, .effect = 10, .largest = 20}).close());
  EXPECT_FALSE((ConversionCheck{.difference = 0.1, .effect = 10, .largest = 20}).close());
  EXPECT_FALSE((ConversionCheck{.difference = 0.1, .effect = 0.1, .largest = 20}).close());
  EXPECT_FALSE((ConversionCheck{.difference = NAN, .effect = 10, .largest = 20}).close());
}

// An adapter as MLX-LM saves it: the golden one, transposed.
class MlxAdapter : public ConvertFiles {
 protected:
  MlxAdapter() {
    const AdapterFile original = golden("qv");
    for (const FilePair& pair : original.pairs) {
      const std::string name = module_name(pair.layer, pair.target);
      add(name + ".lora_a", *pair.a);
      add(name + ".lora_b", *pair.b);
    }
    std::filesystem::create_directory(folder_ / "mlx");
    write();
  }
  void add(std::string name, const FileTensor& tensor) {
    const std::vector<float> values = values_of(tensor);
    const size_t rows = tensor.shape[0], cols = tensor.shape[1];
    std::vector<float>& out = values_.emplace_back(values.size());
    for (size_t i = 0; i < values.size(); ++i) out[i % cols * rows + i / cols] = values[i];
    tensors_.push_back({std::move(name), DType::kF32, {cols, rows}, std::as_bytes(std::span(out))});
  }
  void write() const {
    write_safetensors(folder_ / "mlx/adapters.safetensors", tensors_, {});
    std::ofstream(folder_ / "mlx/adapter_config.json") << config_;
  }
  void expect_refused(const std::string& part) const {
    write();
    expect_error([&] { load_adapter(folder_ / "mlx", model_.config); }, part);
  }

  std::string config_ =
      R"({"fine_tune_type": "lora", "num_layers": 3, "model": "x", "iters": 100,
          "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0}})";
  std::vector<FileTensor> tensors_;
  std::deque<std::vector<float>> values_;
};

TEST_F(MlxAdapter, IsTheSame) {
  const Golden expected = read_golden("adapters/qv");
  const AdapterHandle adapter = load_adapter(folder_ / "mlx", model_.config);
  const std::vector<float> logits =
      run_sequence(model_, *available_kernels().front(), {expected.tokens, {{adapter.get(), 1}}});
  EXPECT_LE(relative_error(logits, expected.logits), 1e-4);
  EXPECT_EQ(summarize_adapter(folder_ / "mlx").format, "MLX");
  const ConversionCheck check =
      convert_adapter(read(folder_ / "mlx"), folder_ / "peft", AdapterFormat::kPeft, model_, team_);
  EXPECT_EQ(check.difference, 0);
}

TEST_F(MlxAdapter, Refusals) {
  const std::string good = config_;
  const auto with = [&](std::string_view from, std::string_view to) {
    config_ = good;
    config_.replace(config_.find(from), from.size(), to);
  };
  with("\"lora\"", "\"dora\"");
  expect_refused("fine_tune_type must be \"lora\"");
  with("\"scale\": 2.0, ", "");
  expect_refused("lora_parameters.scale must be a number");
  with("2.0", "1e40");
  expect_refused("lora_parameters.scale must be a number");
  with("lora_parameters", "parameters");
  expect_refused("lora_parameters is missing");
  config_ = good;
  tensors_.pop_back();
  expect_refused("has no lora_B beside it");
  tensors_.pop_back();
  expect_refused("v_proj: adapter_config.json adapts it, but the file has no tensors for it");
  tensors_.push_back({"model.embed_tokens.lora_a", DType::kF32, tensors_[0].shape, tensors_[0].data});
  expect_refused("adapts no linear");
}

}  // namespace
}  // namespace chorus
