#include "server/api_model.h"

#include <utility>

namespace chorus {

namespace {

AdapterSelection acquire(Runtime& runtime, const AdapterRequest& wanted) {
  for (const MixPart& part : wanted.parts) {
    if (runtime.adapters().find(part.name) == nullptr) refuse_model(part.name, "model");
  }
  return runtime.adapters().select(wanted.parts);
}

}  // namespace

ApiModel api_model(Runtime& runtime, const std::string& name, LoraIds* lora, const AdapterManager* adapters) {
  ApiModel model{
      .name = name,
      .tokenizer = runtime.tokenizer(),
      .limits = runtime.engine().limits(),
      .names = {.base_names = {name, "base"}, .name_of_id = {}, .base_default = {}},
      .acquire = [&runtime](const AdapterRequest& wanted) { return acquire(runtime, wanted); },
      .render_chat =
          [&runtime](json::object variables, bool add_generation_prompt, const ChatTemplate* own) {
            return runtime.render_chat(std::move(variables), add_generation_prompt, own);
          },
      .encode_rendered = [&runtime](std::string_view text) { return runtime.encode_rendered(text); },
      .encode_text = [&runtime](std::string_view text) { return runtime.encode_text(text); },
      .compile =
          [&runtime](const OutputShape& shape) {
            return runtime.constraints().compile(shape.key, shape.make);
          },
  };
  if (lora != nullptr) {
    model.names.name_of_id = [lora](int64_t id) { return lora->name_of(id); };
    model.names.base_default = [lora] { return lora->defaults(); };
  }
  if (adapters != nullptr)
    model.names.is_adapter = [adapters](std::string_view text) { return adapters->known(text); };
  return model;
}

}  // namespace chorus
