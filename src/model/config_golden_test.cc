// One model's configuration in its several written forms, and models that are refused.

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/test_files.h"
#include "model/golden_test_util.h"

namespace chorus {
namespace {

ModelConfig config_of_json(const std::string& file) {
  const std::string path = golden_path("models/" + file);
  return config_from_json(read_json_file(path).as_object(), path);
}

void expect_same(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.architecture, b.architecture);
  EXPECT_EQ(a.hidden, b.hidden);
  EXPECT_EQ(a.heads, b.heads);
  EXPECT_EQ(a.kv_heads, b.kv_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.ffn, b.ffn);
  EXPECT_EQ(a.vocab, b.vocab);
  EXPECT_EQ(a.context_length, b.context_length);
  EXPECT_EQ(a.norm_eps, b.norm_eps);
  EXPECT_EQ(a.activation, b.activation);
  EXPECT_EQ(a.qk_norm, b.qk_norm);
  EXPECT_EQ(a.post_norms, b.post_norms);
  EXPECT_EQ(a.tied_head, b.tied_head);
  EXPECT_EQ(a.embedding_scale, b.embedding_scale);
  EXPECT_EQ(a.attention_scale, b.attention_scale);
  EXPECT_EQ(a.attention_soft_cap, b.attention_soft_cap);
  EXPECT_EQ(a.final_soft_cap, b.final_soft_cap);
  ASSERT_EQ(a.ropes.size(), b.ropes.size());
  for (size_t i = 0; i < a.ropes.size(); ++i) {
    ASSERT_EQ(a.ropes[i].inv_freq.size(), b.ropes[i].inv_freq.size());
    for (size_t j = 0; j < a.ropes[i].inv_freq.size(); ++j) {
      EXPECT_FLOAT_EQ(a.ropes[i].inv_freq[j], b.ropes[i].inv_freq[j]) << "rope " << i << ", pair " << j;
    }
  }
  ASSERT_EQ(a.layers.size(), b.layers.size());
  for (size_t i = 0; i < a.layers.size(); ++i) {
    EXPECT_EQ(a.layers[i].window, b.layers[i].window) << "layer " << i;
    EXPECT_EQ(a.layers[i].rope, b.layers[i].rope) << "layer " << i;
  }
}

TEST(ConfigForms, SayTheSame) {
  for (const std::string model : {"llama_tied", "llama_untied", "qwen3", "gemma3"}) {
    SCOPED_TRACE(model);
    const ModelConfig config = config_of_json(model + "/config.json");
    expect_same(config, config_of_json(model + "/config_4x.json"));
    expect_same(config, config_from_gguf(GgufFile::open(golden_path("models/" + model + ".gguf"))));
  }
}

// Copies a good model, to be changed in one place.
class ModelRefusal : public testing::Test {
 protected:
  ModelRefusal() : gguf_(GgufFile::open(golden_path("models/llama_untied.gguf"))) {
    std::filesystem::remove_all(directory_);
    std::filesystem::copy(golden_path("models/llama_untied"), directory_);
  }
  ~ModelRefusal() override { std::filesystem::remove_all(directory_); }

  void expect_refused(const std::string& path, const std::vector<std::string>& parts) const {
    ThreadTeam team(1);
    const std::string error = error_of([&] { load_model(path, team); });
    for (const std::string& part : parts) {
      EXPECT_NE(error.find(part), std::string::npos) << "\"" << error << "\" lacks \"" << part << "\"";
    }
  }
  void expect_gguf_refused(const std::vector<std::string>& parts) const {
    write_gguf(gguf_path(), metadata_, tensors_);
    expect_refused(gguf_path(), parts);
  }
  std::string gguf_path() const { return directory_ + "/model.gguf"; }

  const std::string directory_ = testing::TempDir() + "chorus_model_refusal_" + std::to_string(getpid());
  const GgufFile gguf_;
  std::vector<std::pair<std::string, GgufValue>> metadata_ = gguf_.metadata();
  std::vector<FileTensor> tensors_ = gguf_.tensors();
};

TEST_F(ModelRefusal, UnknownArchitectureByName) {
  const std::string config_path = directory_ + "/config.json";
  json::object fields = read_json_file(config_path).as_object();
  fields["model_type"] = "mamba";
  std::ofstream(config_path) << json::serialize(fields);
  expect_refused(directory_, {config_path, "\"mamba\"", "gemma3", "llama", "qwen3"});

  for (auto& [key, value] : metadata_) {
    if (key == "general.architecture") value = std::string("mamba");
  }
  expect_gguf_refused({gguf_path(), "\"mamba\"", "gemma3", "llama", "qwen3"});
}

TEST_F(ModelRefusal, MissingTensor) {
  std::erase_if(tensors_, [](const FileTensor& t) { return t.name == "blk.1.ffn_up.weight"; });
  expect_gguf_refused({gguf_path(), "blk.1.ffn_up.weight"});
}

TEST_F(ModelRefusal, TensorWithoutPlace) {
  FileTensor extra = tensors_.front();
  extra.name = "blk.1.attn_q.bias";
  tensors_.push_back(extra);
  expect_gguf_refused({gguf_path(), "blk.1.attn_q.bias"});
}

TEST_F(ModelRefusal, WrongShape) {
  for (FileTensor& tensor : tensors_) {
    if (tensor.name == "blk.2.attn_k.weight") tensor.shape = {tensor.shape[0] / 2, tensor.shape[1] * 2};
  }
  expect_gguf_refused({gguf_path(), "blk.2.attn_k.weight", "[16, 64]", "[32, 32]"});
}

TEST_F(ModelRefusal, NotFinite) {
  std::vector<float> values;
  for (FileTensor& tensor : tensors_) {
    if (tensor.name != "blk.0.ffn_down.weight") continue;
    values = values_of(tensor);
    values[77] = NAN;
    tensor.data = std::as_bytes(std::span(values));
  }
  expect_gguf_refused({gguf_path(), "blk.0.ffn_down.weight"});
}

TEST_F(ModelRefusal, MissingShard) {
  std::filesystem::remove(directory_ + "/model-00002-of-00003.safetensors");
  expect_refused(directory_, {"model-00002-of-00003.safetensors"});
}

}  // namespace
}  // namespace chorus
