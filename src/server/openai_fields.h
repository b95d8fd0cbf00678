#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/json.h"
#include "server/api_error.h"

namespace chorus {

enum class Endpoint : uint8_t { kChat, kCompletions };

// The range of a number in a request. Reals are compared with min and max, integers with the integer bounds.
struct NumberField {
  std::string_view name;
  bool integer;
  int64_t integer_min, integer_max;
  double min, max;
};

// Every number that a request may hold, with its range: the one table. What depends on the model (token ids,
// what of the context is left) is checked on top.
std::span<const NumberField> number_fields();

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 256;
constexpr size_t kMaxLogitBias = 1024;
constexpr size_t kMaxStopIds = 512;  // of the request, beside the model's own
constexpr size_t kMaxPrompts = 64;   // with n at its largest, still no more than the queue takes
constexpr size_t kMaxMessages = 4096;
constexpr size_t kMaxAdapters = 8;
constexpr size_t kMaxLoraEntries = 1024;  // of llama-server's "lora", most of them with scale 0
constexpr size_t kMaxGrammarBytes = size_t{64} << 10;
constexpr size_t kMaxNameBytes = 1024;

// ApiError for a field that is not supported yet or not known. Null counts as absent, everywhere.
void check_field_names(const json::object& body, Endpoint endpoint);

// Typed reads; ApiErrors name the field. Absent and null: nothing, or the fallback.
const json::value* find_field(const json::object& body, std::string_view name);
std::optional<int64_t> integer_field(const json::object& body, std::string_view name);
std::optional<double> number_field(const json::object& body, std::string_view name);
bool bool_field(const json::object& body, std::string_view name, bool fallback);

// A value whose range is that of `name` in the table; `param` is how an error calls it.
int64_t read_integer(const json::value& value, std::string_view name, std::string_view param);
double read_number(const json::value& value, std::string_view name, std::string_view param);
std::string_view read_string(const json::value& value, std::string_view param);
const json::object& read_object(const json::value& value, std::string_view param);
// An array of `min` to `max` elements.
const json::array& read_array(const json::value& value, std::string_view param, size_t min, size_t max);
std::vector<int32_t> read_token_ids(const json::array& array, std::string_view param, int vocab);

}  // namespace chorus
