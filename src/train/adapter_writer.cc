#include "train/adapter_writer.h"

#include <fmt/format.h>

#include <cstring>

#include "model/adapter_export.h"

namespace chorus {

namespace {

OwnedTensor short_elements(const FileTensor& tensor, DType type) {
  OwnedTensor out{tensor.name, type, tensor.shape, {}};
  out.bytes.resize(tensor.data.size() / 2);
  for (size_t i = 0; i < out.bytes.size() / 2; ++i) {
    float value = 0;
    std::memcpy(&value, &tensor.data[i * sizeof value], sizeof value);
    const uint16_t bits = type == DType::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
    std::memcpy(&out.bytes[i * sizeof bits], &bits, sizeof bits);
  }
  return out;
}

}  // namespace

std::string peft_name(const LoraLinear& linear, bool is_a) {
  return fmt::format("base_model.model.{}.lora_{}.weight", module_name(linear.layer, linear.target),
                     is_a ? 'A' : 'B');
}

void save_adapter(const std::string& directory, const LoraParameters& parameters, const ModelConfig& config,
                  const AdapterBase& base, double dropout, const ResultForm& form) {
  AdapterFile file = parameters.file();
  for (FilePair& pair : file.pairs) {
    if (form.elements == DType::kF32) break;
    pair.a = &file.own(short_elements(*pair.a, form.elements));
    pair.b = &file.own(short_elements(*pair.b, form.elements));
  }
  file.base = base;
  write_peft_adapter(directory, file, config, dropout);
  if (form.gguf) write_gguf_adapter(fmt::format("{}/{}", directory, kGgufResult), file, config);
}

}  // namespace chorus
