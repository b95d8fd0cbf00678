#include "train/adapter_writer.h"

#include <fmt/format.h>

#include "model/adapter_export.h"

namespace chorus {

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

}  // namespace chorus
