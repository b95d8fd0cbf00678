#include "train/adapter_writer.h"

#include <algorithm>

#include "base/error.h"
#include "model/adapter_export.h"

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

}  // namespace

std::string peft_name(const LoraLinear& linear, bool is_a) {
  return fmt::format("base_model.model.{}.lora_{}.weight", module_name(linear.layer, linear.target),
                     is_a ? 'A' : 'B');
}

void save_adapter(const std::string& directory, const LoraParameters& parameters, const ModelConfig& config,
                  const AdapterBase& base, double dropout, bool gguf) {
  AdapterFile file = parameters.file();
  file.base = base;
  write_peft_adapter(directory, file, config, dropout);
  if (gguf) write_gguf_adapter(fmt::format("{}/{}", directory, kGgufResult), file, config);
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
