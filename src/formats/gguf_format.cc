#include "formats/gguf_format.h"

#include <fmt/format.h>

#include "formats/text_check.h"

namespace chorus {
namespace {

struct GgmlType {
  uint32_t id;
  std::string_view name;
};

// enum ggml_type. Those that we lack have a name here so that the error can say it.
constexpr GgmlType kGgmlTypes[] = {
    {0, "F32"},     {1, "F16"},    {2, "Q4_0"},     {3, "Q4_1"},    {6, "Q5_0"},     {7, "Q5_1"},
    {8, "Q8_0"},    {9, "Q8_1"},   {10, "Q2_K"},    {11, "Q3_K"},   {12, "Q4_K"},    {13, "Q5_K"},
    {14, "Q6_K"},   {15, "Q8_K"},  {16, "IQ2_XXS"}, {17, "IQ2_XS"}, {18, "IQ3_XXS"}, {19, "IQ1_S"},
    {20, "IQ4_NL"}, {21, "IQ3_S"}, {22, "IQ2_S"},   {23, "IQ4_XS"}, {24, "I8"},      {25, "I16"},
    {26, "I32"},    {27, "I64"},   {28, "F64"},     {29, "IQ1_M"},  {30, "BF16"},    {34, "TQ1_0"},
    {35, "TQ2_0"},  {39, "MXFP4"}, {40, "NVFP4"}};

constexpr DType kDTypes[] = {DType::kF32,  DType::kF16,  DType::kBF16, DType::kQ4_0, DType::kQ4_1,
                             DType::kQ5_0, DType::kQ8_0, DType::kQ4_K, DType::kQ6_K};

}  // namespace

bool is_gguf_name(std::string_view name) { return !name.empty() && is_clean_text(name); }

std::optional<DType> dtype_of_ggml(uint32_t ggml_type) {
  for (const DType type : kDTypes)
    if (ggml_of_dtype(type) == ggml_type) return type;
  return std::nullopt;
}

uint32_t ggml_of_dtype(DType type) {
  for (const GgmlType& known : kGgmlTypes)
    if (known.name == dtype_info(type).name) return known.id;
  return 0;  // not reached: every DType is in the table
}

std::string ggml_type_name(uint32_t ggml_type) {
  for (const GgmlType& known : kGgmlTypes)
    if (known.id == ggml_type) return std::string(known.name);
  return fmt::format("type {}", ggml_type);
}

std::string known_dtype_names() {
  std::string names;
  for (const DType type : kDTypes) names += (names.empty() ? "" : ", ") + std::string(dtype_info(type).name);
  return names;
}

}  // namespace chorus
