#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
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

}  // namespace chorus
