#pragma once

// What the safetensors reader and writer share.

#include <cstddef>
#include <optional>
#include <string_view>

#include "base/dtype.h"

namespace chorus {

constexpr std::string_view kSafetensorsMetadataKey = "__metadata__";
constexpr size_t kSafetensorsMaxHeader = 100'000'000;
constexpr size_t kSafetensorsMaxTensors = 100'000;
constexpr size_t kSafetensorsMaxDims = 8;
constexpr size_t kSafetensorsMaxMetadata = 1u << 20;  // bytes of keys and values
constexpr size_t kSafetensorsMaxMetadataKeys = 1024;

inline bool is_safetensors_name(std::string_view name) {
  return !name.empty() && name.find('\0') == std::string_view::npos;
}

inline std::optional<DType> dtype_of_safetensors(std::string_view name) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16})
    if (dtype_info(type).name == name) return type;
  return std::nullopt;
}

}  // namespace chorus
