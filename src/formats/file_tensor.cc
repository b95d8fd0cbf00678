#include "formats/file_tensor.h"

#include <algorithm>
#include <numeric>

#include "base/checked_math.h"
#include "base/error.h"

namespace chorus {

uint64_t checked_tensor_bytes(DType type, std::span<const uint64_t> shape, std::string_view where) {
  const DTypeInfo info = dtype_info(type);
  std::optional<uint64_t> elements = 1;
  for (const uint64_t dim : shape) {
    if (dim == 0) fail("{}: a dimension of the shape is 0; at least 1", where);
    if (elements) elements = checked_mul(*elements, dim);
  }
  const uint64_t row = shape.empty() ? 1 : shape.back();
  if (row % info.block_elements != 0)
    fail("{}: rows of {} elements; {} needs a multiple of {}", where, row, info.name, info.block_elements);
  const auto bytes =
      elements ? checked_mul(*elements / info.block_elements, info.block_bytes) : std::optional<uint64_t>();
  if (!bytes) fail("{}: the product of the shape's dimensions does not fit 64 bits", where);
  return *bytes;
}

std::vector<uint32_t> index_by_name(std::span<const FileTensor> tensors, std::string_view where) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t i) { return std::string_view(tensors[i].name); });
  const auto twice =
      std::ranges::adjacent_find(order, {}, [&](uint32_t i) { return std::string_view(tensors[i].name); });
  if (twice != order.end())
    fail("{}: tensor {}: the name occurs twice", where, printable(tensors[*twice].name));
  return order;
}

const FileTensor* find_by_name(std::span<const FileTensor> tensors, std::span<const uint32_t> by_name,
                               std::string_view name) {
  const auto name_of = [&](uint32_t i) { return std::string_view(tensors[i].name); };
  const auto found = std::ranges::lower_bound(by_name, name, {}, name_of);
  return found != by_name.end() && name_of(*found) == name ? &tensors[*found] : nullptr;
}

}  // namespace chorus
