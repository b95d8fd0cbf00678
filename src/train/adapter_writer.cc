#include "train/adapter_writer.h"

#include <algorithm>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"

namespace chorus {
namespace {

FileTensor tensor_of(const LoraParameters& parameters, const LoraLinear& linear, bool is_a) {
  const int rows = is_a ? parameters.rank() : linear.out, cols = is_a ? linear.in : parameters.rank();
  const auto count = static_cast<size_t>(rows) * static_cast<size_t>(cols);
  return {peft_name(linear, is_a),
          DType::kF32,
          {static_cast<uint64_t>(rows), static_cast<uint64_t>(cols)},
          std::as_bytes(parameters.values().subspan(is_a ? linear.a : linear.b, count))};
}

json::object configuration(const LoraParameters& parameters, const AdapterOrigin& origin) {
  const LoraShape& shape = parameters.shape();
  json::array targets;
  for (const Target target : shape.targets) targets.emplace_back(target_info(target).hf_name);
  json::object config = {{"peft_type", "LORA"},
                         {"task_type", "CAUSAL_LM"},
                         {"r", shape.rank},
                         {"lora_alpha", shape.alpha},
                         {"use_rslora", shape.rslora},
                         {"target_modules", targets},
                         {"bias", "none"},
                         {"lora_dropout", origin.dropout},
                         {"base_model_name_or_path", origin.base_name},
                         {"inference_mode", true}};
  if (!shape.layers.empty()) config["layers_to_transform"] = json::value_from(shape.layers);
  return config;
}

}  // namespace

std::string peft_name(const LoraLinear& linear, bool is_a) {
  return fmt::format("base_model.model.model.layers.{}.{}.lora_{}.weight", linear.layer,
                     target_info(linear.target).hf_module, is_a ? 'A' : 'B');
}

void save_peft(const std::string& directory, const LoraParameters& parameters, const AdapterOrigin& origin) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) fail("{}: cannot be made: {}", printable(directory, 300), error.message());
  std::vector<FileTensor> tensors;
  for (const LoraLinear& linear : parameters.linears()) {
    for (const bool is_a : {true, false}) tensors.push_back(tensor_of(parameters, linear, is_a));
  }
  write_safetensors(
      fmt::format("{}/{}", directory, kPeftTensors), tensors,
      {{"format", "pt"}, {"chorus.base", origin.base}, {"chorus.chat_template", origin.chat_template}});
  AtomicFile config(fmt::format("{}/{}", directory, kPeftConfig));
  config.write(json::serialize(configuration(parameters, origin)) + "\n");
  config.commit();
}

void read_values(LoraParameters& parameters, const SafetensorsFile& file, std::string_view what) {
  for (const LoraLinear& linear : parameters.linears()) {
    for (const bool is_a : {true, false}) {
      const FileTensor expected = tensor_of(parameters, linear, is_a);
      const FileTensor* found = file.find(expected.name);
      if (found == nullptr || found->type != DType::kF32 || found->shape != expected.shape) {
        fail("{}: {} must be an f32 tensor [{}, {}]", what, expected.name, expected.shape[0],
             expected.shape[1]);
      }
      std::ranges::copy(found->data, std::as_writable_bytes(
                                         parameters.values().subspan(is_a ? linear.a : linear.b,
                                                                     expected.data.size() / sizeof(float)))
                                         .begin());
    }
  }
}

}  // namespace chorus
