#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/adapter_registry.h"
#include "server/openai_fields.h"

namespace chorus {

// Which adapters a request asks for, before anybody looked whether they are there.
struct AdapterRequest {
  std::string model;           // as the client called it; without one, the base's name
  std::vector<MixPart> parts;  // in the client's order; empty: the base
};

// What the dialects refer to by other means than names.
struct SelectionNames {
  std::vector<std::string> base_names;  // the first is how answers call the base
  // The adapter of llama-server's "lora": [{"id"}]; null: no ids are known.
  std::function<std::optional<std::string>(int64_t id)> name_of_id;
  IsAdapter is_adapter = {};  // null: none is called NAME@STEP
  // What a request to the base gets that selects nothing; null: nothing.
  std::function<std::vector<MixPart>()> base_default;
};

// Reads "model" (a name or a mix) and, beside the base only, one of: "adapters": [{"name", "scale"}];
// llama-server's "lora": [{"id", "scale"}]; LoRAX's "adapter_id" or "adapter_parameters" with "linear"
// weights. ApiError: more than one of them, a malformed name or scale; 404 for an id that is not there.
AdapterRequest read_adapter_request(const json::object& body, const SelectionNames& names);

// 404, as vLLM and OpenAI call it.
[[noreturn]] void refuse_model(std::string_view name, std::string_view param);

}  // namespace chorus
