#pragma once

// The numbers of the GGUF format that its reader and writer share.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/dtype.h"

namespace chorus {

enum class GgufType : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

constexpr std::string_view kGgufMagic = "GGUF";
constexpr std::string_view kGgufAlignmentKey = "general.alignment";
constexpr uint64_t kGgufDefaultAlignment = 32;
constexpr uint64_t kGgufMaxDims = 4;

// More than any model has (a vocabulary of 262,144 and its merges are the largest arrays known), and few
// enough that the small objects made of them stay within a few MiB of the header's size.
constexpr uint64_t kGgufMaxKeys = 65'536;
constexpr uint64_t kGgufMaxTensors = 100'000;
constexpr uint64_t kGgufMaxArrayElements = 16'777'216;  // of all arrays together
constexpr uint64_t kGgufMaxNarrowElements = 1'048'576;  // of those of 8 and 16 bits, which widen to 64

constexpr bool is_gguf_alignment(uint64_t value) {
  return value >= 8 && value <= 4096 && (value & (value - 1)) == 0;
}

// Keys and tensor names: not empty, UTF-8, no NUL.
bool is_gguf_name(std::string_view name);

std::optional<DType> dtype_of_ggml(uint32_t ggml_type);
uint32_t ggml_of_dtype(DType type);
std::string ggml_type_name(uint32_t ggml_type);  // "Q5_K", or "type 99"
std::string known_dtype_names();                 // "F32, F16, ..."

}  // namespace chorus
