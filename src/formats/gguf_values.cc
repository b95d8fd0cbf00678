// The typed reads of GGUF metadata.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/gguf.h"

namespace chorus {
namespace {

std::string describe(const GgufValue& value) {
  struct {
    std::string operator()(int64_t v) const { return fmt::format("the integer {}", v); }
    std::string operator()(double v) const { return fmt::format("the number {}", v); }
    std::string operator()(bool v) const { return v ? "true" : "false"; }
    std::string operator()(const std::string&) const { return "a string"; }
    std::string operator()(const GgufArray& array) const {
      constexpr const char* kNames[] = {"an array of integers", "an array of numbers", "an array of strings"};
      return kNames[array.index()];
    }
  } names;
  return std::visit(names, value);
}

[[noreturn]] void fail_type(const GgufFile& file, std::string_view key, const GgufValue& value,
                            std::string_view wanted) {
  fail("{}: metadata {} is {}; must be {}", printable(file.path(), 300), printable(key), describe(value),
       wanted);
}

const GgufValue& required(const GgufFile& file, std::string_view key) {
  const GgufValue* value = file.find_value(key);
  if (!value) fail("{}: metadata {} is missing", printable(file.path(), 300), printable(key));
  return *value;
}

template <typename T>
const std::vector<T>& array_of(const GgufFile& file, std::string_view key, std::string_view wanted) {
  const GgufValue& value = required(file, key);
  const GgufArray* array = std::get_if<GgufArray>(&value);
  const std::vector<T>* elements = array ? std::get_if<std::vector<T>>(array) : nullptr;
  if (!elements) fail_type(file, key, value, wanted);
  return *elements;
}

}  // namespace

const FileTensor* GgufFile::find(std::string_view tensor_name) const {
  return find_by_name(tensors_, by_name_, tensor_name);
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto found =
      std::ranges::find(metadata_, key, [](const auto& entry) -> std::string_view { return entry.first; });
  return found == metadata_.end() ? nullptr : &found->second;
}

int64_t GgufFile::integer(std::string_view key, int64_t min, int64_t max) const {
  const GgufValue& value = required(*this, key);
  const int64_t* number = std::get_if<int64_t>(&value);
  if (!number) fail_type(*this, key, value, "an integer");
  if (*number < min || *number > max)
    fail("{}: metadata {} is {}; must be {} to {}", printable(path(), 300), printable(key), *number, min,
         max);
  return *number;
}

int64_t GgufFile::integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  return find_value(key) ? integer(key, min, max) : fallback;
}

double GgufFile::number(std::string_view key) const {
  const GgufValue& value = required(*this, key);
  if (const int64_t* whole = std::get_if<int64_t>(&value)) return static_cast<double>(*whole);
  const double* real = std::get_if<double>(&value);
  if (!real || !std::isfinite(*real)) fail_type(*this, key, value, "a finite number");
  return *real;
}

double GgufFile::number_or(std::string_view key, double fallback) const {
  return find_value(key) ? number(key) : fallback;
}

bool GgufFile::boolean_or(std::string_view key, bool fallback) const {
  const GgufValue* value = find_value(key);
  if (!value) return fallback;
  const bool* boolean = std::get_if<bool>(value);
  if (!boolean) fail_type(*this, key, *value, "a bool");
  return *boolean;
}

const std::string& GgufFile::string(std::string_view key) const {
  const GgufValue& value = required(*this, key);
  const std::string* text = std::get_if<std::string>(&value);
  if (!text) fail_type(*this, key, value, "a string");
  return *text;
}

std::string GgufFile::string_or(std::string_view key, std::string fallback) const {
  return find_value(key) ? string(key) : fallback;
}

const std::vector<int64_t>& GgufFile::integers(std::string_view key) const {
  return array_of<int64_t>(*this, key, "an array of integers");
}

const std::vector<double>& GgufFile::numbers(std::string_view key) const {
  return array_of<double>(*this, key, "an array of floating-point numbers");
}

const std::vector<std::string>& GgufFile::strings(std::string_view key) const {
  return array_of<std::string>(*this, key, "an array of strings");
}

}  // namespace chorus
