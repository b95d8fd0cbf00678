#include "server/adapter_request.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

bool is_base(std::string_view name, const SelectionNames& names) {
  return name.empty() || std::ranges::find(names.base_names, name) != names.base_names.end();
}

std::vector<MixPart> read_mix(std::string_view text, std::string_view param, const SelectionNames& names) {
  if (text.size() > kMaxNameBytes)
    refuse(param, "{} has {} bytes; at most {}", param, text.size(), kMaxNameBytes);
  if (is_base(text, names)) return {};
  try {
    return parse_mix(text, names.is_adapter);
  } catch (const Error&) {
    // What cannot be a name is no name of ours: clients know how to handle that answer.
    refuse_model(text, param);
  }
}

void add_part(std::vector<MixPart>& parts, std::string_view name, float scale, std::string_view param,
              const SelectionNames& names) {
  const bool is_step = names.is_adapter && names.is_adapter(name);
  if (name.find_first_of("@+") != std::string_view::npos && !is_step)
    refuse(param, "{} must be one adapter's name; its weight stands apart", param);
  if (is_base(name, names)) refuse(param, "{}: {} is the base, no adapter", param, printable(name));
  if (std::ranges::find(parts, name, &MixPart::name) != parts.end())
    refuse(param, "{}: {} occurs twice", param, printable(name));
  MixPart part = read_mix(name, param, names).front();
  part.scale = scale;
  parts.push_back(std::move(part));
}

void check_members(const json::object& entry, std::string_view first, std::string_view second,
                   std::string_view param) {
  for (const auto& [key, unused] : entry) {
    if (key != first && key != second) refuse(param, "{}: unknown field: {}", param, printable(key));
  }
}

float read_scale(const json::object& entry, std::string_view param) {
  const json::value* scale = find_field(entry, "scale");
  return scale == nullptr ? 1 : static_cast<float>(read_number(*scale, "scale", param));
}

// [{"name", "scale"}]
std::vector<MixPart> read_adapters(const json::value& value, const SelectionNames& names) {
  std::vector<MixPart> parts;
  for (const json::value& element : read_array(value, "adapters", 0, kMaxAdapters)) {
    const json::object& entry = read_object(element, "adapters");
    check_members(entry, "name", "scale", "adapters");
    const json::value* name = find_field(entry, "name");
    if (name == nullptr) refuse("adapters.name", "adapters.name is missing");
    add_part(parts, read_string(*name, "adapters.name"), read_scale(entry, "adapters.scale"), "adapters.name",
             names);
  }
  return parts;
}

// [{"id", "scale"}]; a scale of 0 is how llama-server's clients leave an adapter out.
std::vector<MixPart> read_lora(const json::value& value, const SelectionNames& names) {
  std::vector<MixPart> parts;
  for (const json::value& element : read_array(value, "lora", 0, kMaxLoraEntries)) {
    const json::object& entry = read_object(element, "lora");
    check_members(entry, "id", "scale", "lora");
    const json::value* id_value = find_field(entry, "id");
    if (id_value == nullptr) refuse("lora.id", "lora.id is missing");
    const int64_t id = read_integer(*id_value, "adapter index", "lora.id");
    const auto name = names.name_of_id ? names.name_of_id(id) : std::nullopt;
    if (!name)
      throw ApiError(404, "not_found_error", fmt::format("lora.id: no adapter has the id {}", id), "lora.id");
    const float scale = read_scale(entry, "lora.scale");
    if (scale != 0) add_part(parts, *name, scale, "lora.id", names);
  }
  return parts;
}

// {"ids", "weights", "merge_strategy": "linear"}
std::vector<MixPart> read_adapter_parameters(const json::value& value, const SelectionNames& names) {
  constexpr std::string_view kParam = "adapter_parameters";
  const json::object& object = read_object(value, kParam);
  for (const auto& [key, unused] : object) {
    if (key != "ids" && key != "weights" && key != "merge_strategy")
      refuse(kParam, "adapter_parameters: {} is not supported", printable(key));
  }
  const json::value* strategy = find_field(object, "merge_strategy");
  if (strategy != nullptr && read_string(*strategy, "adapter_parameters.merge_strategy") != "linear")
    refuse("adapter_parameters.merge_strategy", "adapter_parameters.merge_strategy must be \"linear\"");
  const json::value* ids = find_field(object, "ids");
  if (ids == nullptr) refuse("adapter_parameters.ids", "adapter_parameters.ids is missing");
  const json::array& id_array = read_array(*ids, "adapter_parameters.ids", 1, kMaxAdapters);
  const json::value* weights = find_field(object, "weights");
  std::vector<float> scales(id_array.size(), 1.0F);
  if (weights != nullptr) {
    const json::array& array =
        read_array(*weights, "adapter_parameters.weights", id_array.size(), id_array.size());
    std::ranges::transform(array, scales.begin(), [](const json::value& weight) {
      return static_cast<float>(read_number(weight, "scale", "adapter_parameters.weights"));
    });
  }
  std::vector<MixPart> parts;
  for (size_t i = 0; i < id_array.size(); ++i) {
    add_part(parts, read_string(id_array[i], "adapter_parameters.ids"), scales[i], "adapter_parameters.ids",
             names);
  }
  return parts;
}

// LoRAX says where an adapter comes from; here all are the operator's own.
void check_adapter_source(const json::object& body) {
  const json::value* source = find_field(body, "adapter_source");
  if (source != nullptr && read_string(*source, "adapter_source") != "local")
    refuse("adapter_source", "adapter_source must be \"local\": nothing is downloaded");
}

}  // namespace

void refuse_model(std::string_view name, std::string_view param) {
  throw ApiError(404, "not_found_error", fmt::format("The model `{}` does not exist.", printable(name)),
                 std::string(param), "model_not_found");
}

AdapterRequest read_adapter_request(const json::object& body, const SelectionNames& names) {
  AdapterRequest wanted;
  if (const json::value* name = find_field(body, "model")) wanted.model = read_string(*name, "model");
  wanted.parts = read_mix(wanted.model, "model", names);
  if (wanted.model.empty()) wanted.model = names.base_names.front();
  check_adapter_source(body);

  std::string_view chosen;
  const auto choose = [&](std::string_view field) -> const json::value* {
    const json::value* value = find_field(body, field);
    if (value == nullptr) return nullptr;
    if (!chosen.empty()) refuse(field, "{} and {} say the same; give one", chosen, field);
    chosen = field;
    return value;
  };
  std::vector<MixPart> beside;
  if (const json::value* value = choose("adapters")) beside = read_adapters(*value, names);
  if (const json::value* value = choose("lora")) beside = read_lora(*value, names);
  if (const json::value* value = choose("adapter_id"))
    beside = read_mix(read_string(*value, "adapter_id"), "adapter_id", names);
  if (const json::value* value = choose("adapter_parameters"))
    beside = read_adapter_parameters(*value, names);
  if (!chosen.empty() && !wanted.parts.empty())
    refuse(chosen, "{} may stand beside the base only, and model names adapters", chosen);
  if (!chosen.empty()) {
    wanted.parts = std::move(beside);
  } else if (wanted.parts.empty() && names.base_default) {
    wanted.parts = names.base_default();
  }
  return wanted;
}

}  // namespace chorus
