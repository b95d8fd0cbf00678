#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace chorus {

// A tensor as a file holds it. `data` is a view into the mapped file (or into the writer's caller's memory)
// and lives as long as that; its size always equals the shape's.
struct FileTensor {
  std::string name;
  DType type;
  std::vector<uint64_t> shape;  // outermost first (numpy order): a linear weight is [out, in]
  std::span<const std::byte> data;
};

// Bytes of a tensor of that type and shape. Error, beginning with `where`: a dimension of 0, an innermost
// dimension that is not a multiple of the type's block, a size beyond 64 bits.
uint64_t checked_tensor_bytes(DType type, std::span<const uint64_t> shape, std::string_view where);

// Indices of `tensors` in order of their names. Error, beginning with `where`: two tensors of one name.
std::vector<uint32_t> index_by_name(std::span<const FileTensor> tensors, std::string_view where);

// The tensor of that name by such an index; nullptr: none.
const FileTensor* find_by_name(std::span<const FileTensor> tensors, std::span<const uint32_t> by_name,
                               std::string_view name);

}  // namespace chorus
