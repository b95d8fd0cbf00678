// Everything about an adapter that is not applied as it says is refused, with the file and the tensor or
// field by name. Each case is a good adapter with one thing changed.

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>

#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/test_files.h"
#include "model/adapter_io.h"
#include "model/golden_test_util.h"

namespace chorus {
namespace {

const std::string kQ = "base_model.model.model.layers.1.self_attn.q_proj";
const std::string kGgufQ = "blk.1.attn_q.weight";

struct OwnTensor {
  std::string name;
  std::vector<uint64_t> shape;
  std::vector<float> values;
};

std::vector<OwnTensor> copy_of(const std::vector<FileTensor>& tensors) {
  std::vector<OwnTensor> out;
  for (const FileTensor& tensor : tensors) out.push_back({tensor.name, tensor.shape, values_of(tensor)});
  return out;
}

std::vector<FileTensor> views_of(const std::vector<OwnTensor>& tensors) {
  std::vector<FileTensor> out;
  for (const OwnTensor& t : tensors) {
    out.push_back({t.name, DType::kF32, t.shape, std::as_bytes(std::span(t.values))});
  }
  return out;
}

OwnTensor zeros(std::string name, uint64_t rows, uint64_t cols) {
  return {std::move(name), {rows, cols}, std::vector<float>(rows * cols)};
}

// What a test edits: the tensors of a good adapter.
struct Tensors {
  std::vector<OwnTensor> all;

  OwnTensor& at(const std::string& name) {
    return *std::ranges::find(all, name, [](const OwnTensor& t) -> const std::string& { return t.name; });
  }
  void erase(std::string_view part) {
    std::erase_if(all, [&](const OwnTensor& t) { return t.name.find(part) != std::string::npos; });
  }
  void replace(const std::string& name, uint64_t rows, uint64_t cols) { at(name) = zeros(name, rows, cols); }
};

class AdapterRefusal : public testing::Test {
 protected:
  AdapterRefusal() : directory_(testing::TempDir() + "chorus_adapter_refusal_" + std::to_string(getpid())) {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directory(directory_);
    const SafetensorsFile file = SafetensorsFile::open(golden_path("adapters/qv/adapter_model.safetensors"));
    peft_.all = copy_of(file.tensors());
    fields_ = read_json_file(golden_path("adapters/qv/adapter_config.json")).as_object();
    const GgufFile gguf_file = GgufFile::open(golden_path("adapters/qv.gguf"));
    gguf_.all = copy_of(gguf_file.tensors());
    metadata_ = gguf_file.metadata();
  }
  ~AdapterRefusal() override { std::filesystem::remove_all(directory_); }

  std::string config_path() const { return directory_ + "/adapter_config.json"; }
  std::string tensors_path() const { return directory_ + "/adapter_model.safetensors"; }
  std::string gguf_path() const { return directory_ + "/adapter.gguf"; }

  void write_config() const { std::ofstream(config_path()) << json::serialize(fields_); }
  void write_peft() const {
    write_config();
    write_safetensors(tensors_path(), views_of(peft_.all), {{"format", "pt"}});
  }
  AdapterHandle load_peft() const {
    write_peft();
    return load_adapter(directory_, base_, &model_);
  }
  AdapterHandle load_gguf() const {
    write_gguf(gguf_path(), metadata_, views_of(gguf_.all));
    return load_adapter(gguf_path(), base_);
  }

  static void expect_all(const std::string& error, const std::vector<std::string>& parts) {
    for (const std::string& part : parts) {
      EXPECT_NE(error.find(part), std::string::npos) << "\"" << error << "\" lacks \"" << part << "\"";
    }
  }
  void expect_peft_refused(const std::vector<std::string>& parts) const {
    expect_all(error_of([&] { load_peft(); }), parts);
  }
  void expect_gguf_refused(const std::vector<std::string>& parts) const {
    expect_all(error_of([&] { load_gguf(); }), parts);
  }
  // Sets a field of the configuration for one load.
  void expect_field_refused(const std::string& field, const std::string& value,
                            const std::vector<std::string>& more = {}) {
    SCOPED_TRACE(field + " = " + value);
    const json::object before = fields_;
    fields_[field] = json::parse(value);
    expect_peft_refused({config_path(), field});
    expect_peft_refused(more);
    fields_ = before;
  }
  GgufValue& metadata(const std::string& key) {
    return std::ranges::find(metadata_, key,
                             [](const auto& entry) -> const std::string& { return entry.first; })
        ->second;
  }

  const std::string directory_;
  const Model model_ = load_golden_model("llama_tied");
  const ModelConfig& base_ = model_.config;
  Tensors peft_, gguf_;
  json::object fields_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
};

TEST_F(AdapterRefusal, UntouchedCopiesLoad) {
  EXPECT_GT(load_peft()->bytes(), 0u);
  EXPECT_EQ(load_gguf()->bytes(), load_peft()->bytes());
}

TEST_F(AdapterRefusal, MathematicsThatIsNotOurs) {
  expect_field_refused("use_qalora", "true");
  expect_field_refused("lora_bias", "true");
  expect_field_refused("bias", "\"all\"");
  expect_field_refused("bias", "\"lora_only\"");
  expect_field_refused("modules_to_save", "[\"embed_tokens\"]");
  expect_field_refused("fan_in_fan_out", "true");
  expect_field_refused("layer_replication", "[[0, 2], [1, 3]]");
  expect_field_refused("trainable_token_indices", "[1, 2]");
  expect_field_refused("trainable_token_indices", "{\"embed_tokens\": [1]}");
  expect_field_refused("target_parameters", "[\"mlp.experts.gate_up_proj\"]");
  expect_field_refused("alora_invocation_tokens", "[1, 2, 3]");
  expect_field_refused("arrow_config", "{\"top_k\": 2}");
  expect_field_refused("some_new_field", "0.5");
  expect_field_refused("some_new_field", "\"on\"");
  expect_field_refused("peft_type", "\"LOHA\"");
}

TEST_F(AdapterRefusal, StartsThatChangeTheBase) {
  for (const char* init :
       {"pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "something_new"}) {
    expect_field_refused("init_lora_weights", fmt::format("\"{}\"", init), {init});
  }
  for (const char* init : {"true", "false", "\"gaussian\"", "\"eva\"", "\"orthogonal\""}) {
    fields_["init_lora_weights"] = json::parse(init);
    EXPECT_NO_THROW(load_peft()) << init;
  }
}

TEST_F(AdapterRefusal, FieldsOutOfRange) {
  for (const char* rank : {"0", "-1", "1000000", "2.5", "\"4\"", "null", "1e300"}) {
    expect_field_refused("r", rank);
  }
  for (const char* alpha : {"null", "\"16\"", "1e38", "true", "[8]"})
    expect_field_refused("lora_alpha", alpha);
  expect_field_refused("use_rslora", "\"yes\"");
  expect_field_refused("rank_pattern", "{\"q_proj\": 0}");
  expect_field_refused("rank_pattern", "{\"q_proj\": \"4\"}");
  expect_field_refused("rank_pattern", "{\"(((\": 4}");
  expect_field_refused("rank_pattern", "[4]");
  expect_field_refused("alpha_pattern", "{\"q_proj\": null}");
  expect_field_refused("layers_to_transform", "[\"1\"]");
  expect_field_refused("layers_to_transform", "[-1]");
  expect_field_refused("target_modules", "null");
  expect_field_refused("target_modules", "[1]");
  expect_field_refused("target_modules", "\"(((\"");
}

TEST_F(AdapterRefusal, MissingFields) {
  for (const char* field : {"r", "lora_alpha", "target_modules", "peft_type"}) {
    const json::object before = fields_;
    fields_.erase(field);
    expect_peft_refused({config_path(), field});
    fields_ = before;
  }
}

// JSON has no NaN; what Python writes for it is no JSON.
TEST_F(AdapterRefusal, AlphaNotANumber) {
  write_peft();
  std::string text = json::serialize(fields_);
  text.replace(text.find("\"lora_alpha\":8"), 14, "\"lora_alpha\":NaN");
  std::ofstream(config_path()) << text;
  expect_all(error_of([&] { load_adapter(directory_, base_); }), {config_path()});
}

TEST_F(AdapterRefusal, ConfigurationAndTensorsDisagree) {
  expect_field_refused("target_modules", "[\"q_proj\", \"v_proj\", \"k_proj\"]", {"k_proj"});
  expect_field_refused("target_modules", "[\"q_proj\", \"v_proj\", \"embed_tokens\"]", {"embed_tokens"});
  fields_["target_modules"] = json::array();
  expect_peft_refused({directory_, "does not adapt it, but the file has tensors"});
  fields_["target_modules"] = {"q_proj"};
  expect_peft_refused({directory_, "v_proj"});
  fields_["target_modules"] = {"q_proj", "v_proj"};
  fields_["layers_to_transform"] = {0, 1};
  expect_peft_refused({directory_, "layer 2", "q_proj"});
  fields_["layers_to_transform"] = nullptr;
  fields_["r"] = 8;
  expect_peft_refused({tensors_path(), "q_proj.lora_A.weight", "rank 4", "8"});
}

TEST_F(AdapterRefusal, PartialAdapter) {
  peft_.erase("layers.1.self_attn.q_proj");
  expect_peft_refused({tensors_path(), "layer 1", "q_proj"});
  peft_.all.clear();
  expect_peft_refused({tensors_path()});
}

TEST_F(AdapterRefusal, HalfAPair) {
  peft_.erase(kQ + ".lora_B");
  expect_peft_refused({tensors_path(), kQ + ".lora_A.weight"});
  gguf_.erase(kGgufQ + ".lora_a");
  expect_gguf_refused({gguf_path(), kGgufQ + ".lora_b"});
}

TEST_F(AdapterRefusal, Shapes) {
  const Tensors good = peft_;
  const std::string a = kQ + ".lora_A.weight", b = kQ + ".lora_B.weight";
  const auto refused = [&](const std::string& name, uint64_t rows, uint64_t cols) {
    SCOPED_TRACE(fmt::format("{} [{}, {}]", name, rows, cols));
    peft_ = good;
    peft_.replace(name, rows, cols);
    expect_peft_refused({tensors_path(), name});
  };
  refused(a, 4, 63);
  refused(a, 5, 64);
  refused(a, 64, 4);  // transposed
  refused(b, 32, 4);
  refused(b, 4, 64);
  peft_ = good;
  peft_.at(a).shape = {4, 64, 1};
  expect_peft_refused({tensors_path(), a});
  gguf_.replace(kGgufQ + ".lora_b", 32, 4);
  expect_gguf_refused({gguf_path(), kGgufQ + ".lora_b"});
}

TEST_F(AdapterRefusal, DoraByHalves) {
  const Tensors plain = peft_;
  const std::string end = ".lora_magnitude_vector", name = kQ + end;
  expect_field_refused("use_dora", "1");
  fields_["use_dora"] = true;
  expect_peft_refused({config_path(), "q_proj has no lora_magnitude_vector"});
  for (const OwnTensor& tensor : plain.all) {
    if (!tensor.name.ends_with(".lora_B.weight")) continue;
    const std::string module = tensor.name.substr(0, tensor.name.size() - 14);
    peft_.all.push_back({module + end, {tensor.shape[0]}, std::vector<float>(tensor.shape[0], 1)});
  }
  const Tensors good = peft_;
  EXPECT_GT(load_peft()->bytes(), 0u);
  expect_all(error_of([&] { load_adapter(directory_, base_); }), {"DoRA", "weights"});
  fields_["use_dora"] = false;
  expect_peft_refused({config_path(), "use_dora is not true"});
  fields_["use_dora"] = true;
  peft_.at(name) = zeros(name, 1, 64);
  expect_peft_refused({tensors_path(), name, "[64]"});
  peft_.at(name) = {name, {63}, std::vector<float>(63)};
  expect_peft_refused({tensors_path(), name, "[64]"});
  peft_ = good;
  peft_.at(name).values[5] = NAN;
  expect_peft_refused({tensors_path(), name, "finite"});
  peft_ = good;
  peft_.at(name).values[5] = 1e30f;
  expect_all(error_of([&] { load_peft(); }), {name, "element 5", "length"});
  peft_ = good;
  peft_.erase(kQ + ".lora_A");
  expect_peft_refused({tensors_path(), kQ});
  peft_.erase(kQ + ".lora_B");
  expect_peft_refused({tensors_path(), name, "lora_A and lora_B"});
}

TEST_F(AdapterRefusal, TensorsOfNoLinear) {
  const Tensors good = peft_;
  const std::string prefix = "base_model.model.";
  for (const std::string& name :
       {prefix + "model.embed_tokens.lora_embedding_A",
        prefix + "model.layers.999.self_attn.q_proj.lora_A.weight",
        prefix + "model.layers.3.self_attn.q_proj.lora_A.weight",
        prefix + "model.layers.-1.self_attn.q_proj.lora_A.weight",
        prefix + "model.layers.99999999999999999999.self_attn.q_proj.lora_A.weight",
        prefix + "model.layers.1.self_attn.qkv_proj.lora_A.weight", prefix + "score.lora_A.weight",
        prefix + "lm_head.weight", kQ + ".lora_magnitude_vector", kQ + ".lora_A.default.weight",
        std::string("model.layers.1.self_attn.q_proj.lora_A.weight")}) {
    peft_ = good;
    peft_.all.push_back(zeros(name, 4, 64));
    if (name.ends_with("lora_A.weight")) {
      peft_.all.push_back(zeros(name.substr(0, name.size() - 13) + "lora_B.weight", 64, 4));
    }
    expect_peft_refused({tensors_path(), name.substr(0, name.size() - 13)});
  }
}

TEST_F(AdapterRefusal, GgufTensorsOfNoLinear) {
  const Tensors good = gguf_;
  for (const std::string name :
       {"token_embd.weight.lora_a", "blk.999.attn_q.weight.lora_a", "blk.1.attn_q.weight",
        "blk.1.attn_norm.weight", "blk.1.ffn_gate_exps.weight.lora_a", "junk"}) {
    gguf_ = good;
    gguf_.all.push_back(zeros(name, 4, 64));
    if (name.ends_with(".lora_a")) {
      gguf_.all.push_back(zeros(name.substr(0, name.size() - 1) + "b", 64, 4));
    }
    expect_gguf_refused({gguf_path(), name});
  }
}

TEST_F(AdapterRefusal, NotFinite) {
  const Tensors good = peft_;
  for (const float value : {NAN, INFINITY, -INFINITY}) {
    for (const char* part : {".lora_A.weight", ".lora_B.weight"}) {
      peft_ = good;
      peft_.at(kQ + part).values.back() = value;
      expect_peft_refused({tensors_path(), kQ + part});
    }
  }
  gguf_.at(kGgufQ + ".lora_a").values[3] = NAN;
  expect_gguf_refused({gguf_path(), kGgufQ + ".lora_a"});
}

TEST_F(AdapterRefusal, AnotherBase) {
  write_peft();
  for (const char* other : {"llama_untied", "qwen3", "gemma3"}) {
    const ModelConfig config = load_golden_model(other).config;
    expect_all(error_of([&] { load_adapter(directory_, config); }), {tensors_path(), "q_proj.lora_A.weight"});
  }
  const ModelConfig qwen3 = load_golden_model("qwen3").config;
  expect_all(error_of([&] { load_adapter(golden_path("adapters/qv.gguf"), qwen3); }),
             {"qv.gguf", "llama", "qwen3"});
}

TEST_F(AdapterRefusal, GgufMetadata) {
  const auto good = metadata_;
  const auto refused = [&](const std::string& key, GgufValue value) {
    SCOPED_TRACE(key);
    metadata_ = good;
    metadata(key) = std::move(value);
    expect_gguf_refused({gguf_path(), key});
  };
  refused("general.type", "model");
  refused("adapter.type", "control_vector");
  refused("adapter.lora.alpha", double{NAN});
  refused("adapter.lora.alpha", 1e30);
  refused("adapter.lora.alpha", "8");
  metadata_ = good;
  metadata_.emplace_back("adapter.alora.invocation_tokens", GgufArray(std::vector<int64_t>{1, 2}));
  expect_gguf_refused({gguf_path(), "adapter.alora.invocation_tokens"});
  for (const char* key : {"adapter.type", "adapter.lora.alpha", "general.architecture"}) {
    metadata_ = good;
    std::erase_if(metadata_, [&](const auto& entry) { return entry.first == key; });
    expect_gguf_refused({gguf_path(), key});
  }
}

TEST_F(AdapterRefusal, Files) {
  const auto refused = [&](const std::string& path) { return error_of([&] { load_adapter(path, base_); }); };
  expect_all(refused(directory_), {config_path()});
  expect_all(refused(directory_ + "/none"), {directory_ + "/none"});
  write_config();
  expect_all(refused(directory_), {tensors_path()});
  std::ofstream(directory_ + "/adapter_model.bin") << "pickle";
  expect_all(refused(directory_), {"adapter_model.bin", "safetensors"});
  std::filesystem::remove(directory_ + "/adapter_model.bin");
  std::ofstream(tensors_path()).flush();
  expect_all(refused(directory_), {tensors_path()});
  expect_all(refused(golden_path("models/llama_tied.gguf")), {"llama_tied.gguf", "general.type"});
  write_peft();
  std::ofstream(config_path()) << "[1, 2]";
  expect_all(refused(directory_), {config_path()});
}

}  // namespace
}  // namespace chorus
