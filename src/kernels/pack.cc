#include "kernels/pack.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/dtype.h"

namespace chorus {
namespace {

constexpr int kGroupsPerBlock = kBlockCols / kGroupCols;

// Parts of a quantized block, in bytes from its start.
size_t scale_offset(int group, int row) { return static_cast<size_t>(2 * (group * kStripRows + row)); }
constexpr size_t kScaleBytes = 2 * kGroupsPerBlock * kStripRows;

void put_f16(std::byte* to, float value) {
  const uint16_t bits = f32_to_f16(value);
  std::memcpy(to, &bits, sizeof bits);
}

float get_f16(const std::byte* from) {
  uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof bits);
  return f16_to_f32(bits);
}

// Where columns 4 line .. 4 line + 3 of a group and row lie among the block's quants.
size_t quad_offset(int lines_per_group, int group, int line, int row) {
  return static_cast<size_t>(((group * lines_per_group + line) * kStripRows + row) * 4);
}

constexpr int kQ4Lines = 4;  // of 64 bytes; two columns a byte
constexpr int kQ8Lines = 8;

// Of the block only the first `cols` columns are written.
void pack_group(const Q4Group& from, int group, int row, bool has_min, int, std::byte* block) {
  put_f16(block + scale_offset(group, row), from.scale);
  if (has_min) put_f16(block + kScaleBytes + scale_offset(group, row), from.min);
  std::byte* quants = block + kScaleBytes * (has_min ? 2 : 1);
  for (int line = 0; line < kQ4Lines; ++line) {
    for (int j = 0; j < 4; ++j) {
      const int low = from.q[4 * line + j], high = from.q[kGroupCols / 2 + 4 * line + j];
      assert(low < 16 && high < 16);
      quants[quad_offset(kQ4Lines, group, line, row) + static_cast<size_t>(j)] =
          static_cast<std::byte>(low | high << 4);
    }
  }
}

void pack_group(const Q8Group& from, int group, int row, bool, int cols, std::byte* block) {
  put_f16(block + scale_offset(group, row), from.scale);
  const int lines = std::min(kQ8Lines, (cols - group * kGroupCols + 3) / 4);
  for (int line = 0; line < lines; ++line) {
    for (int j = 0; j < 4; ++j) {
      block[kScaleBytes + quad_offset(kQ8Lines, group, line, row) + static_cast<size_t>(j)] =
          static_cast<std::byte>(from.q[4 * line + j] + 128);
    }
  }
}

template <typename Group>
void pack_groups(const Group* groups, int rows, int cols, MatrixLayout layout, bool has_min,
                 std::byte* strip) {
  assert(rows >= 1 && rows <= kStripRows);
  std::memset(strip, 0, strip_bytes(layout, has_min, cols));
  const int groups_per_row = round_up(cols, kGroupCols) / kGroupCols;
  for (int row = 0; row < rows; ++row) {
    for (int g = 0; g < groups_per_row; ++g) {
      std::byte* block = strip + block_bytes(layout, has_min) * static_cast<size_t>(g / kGroupsPerBlock);
      const int block_cols =
          layout == MatrixLayout::kQ8Short ? cols - g / kGroupsPerBlock * kBlockCols : kBlockCols;
      pack_group(groups[row * groups_per_row + g], g % kGroupsPerBlock, row, has_min, block_cols, block);
    }
  }
}

// The 64 columns of one row of a quantized block.
void unpack_q4_block(const std::byte* block, bool has_min, int row, float* out) {
  const std::byte* quants = block + kScaleBytes * (has_min ? 2 : 1);
  for (int g = 0; g < kGroupsPerBlock; ++g) {
    const float scale = get_f16(block + scale_offset(g, row));
    const float min = has_min ? get_f16(block + kScaleBytes + scale_offset(g, row)) : -8 * scale;
    for (int i = 0; i < kGroupCols / 2; ++i) {
      const std::byte pair = quants[quad_offset(kQ4Lines, g, i / 4, row) + static_cast<size_t>(i % 4)];
      const int low = std::to_integer<int>(pair) & 15, high = std::to_integer<int>(pair) >> 4;
      out[g * kGroupCols + i] = scale * static_cast<float>(low) + min;
      out[g * kGroupCols + kGroupCols / 2 + i] = scale * static_cast<float>(high) + min;
    }
  }
}

void unpack_q8_block(const std::byte* block, int row, int cols, float* out) {
  for (int g = 0; g < kGroupsPerBlock; ++g) {
    const float scale = get_f16(block + scale_offset(g, row));
    for (int i = 0; i < kGroupCols && g * kGroupCols + i < cols; ++i) {
      const std::byte q =
          block[kScaleBytes + quad_offset(kQ8Lines, g, i / 4, row) + static_cast<size_t>(i % 4)];
      out[g * kGroupCols + i] = scale * static_cast<float>(std::to_integer<int>(q) - 128);
    }
  }
}

float unpack_element(const std::byte* strip, MatrixLayout layout, int width, int row, int col) {
  const auto index = static_cast<size_t>(col) * static_cast<size_t>(width) + static_cast<size_t>(row);
  if (layout == MatrixLayout::kF32) {
    float value = 0;
    std::memcpy(&value, strip + 4 * index, sizeof value);
    return value;
  }
  uint16_t bits = 0;
  std::memcpy(&bits, strip + 2 * index, sizeof bits);
  return layout == MatrixLayout::kF16 ? f16_to_f32(bits) : bf16_to_f32(bits);
}

}  // namespace

void pack_strip(MatrixLayout layout, const float* values, int64_t stride, int rows, int cols,
                std::byte* strip) {
  assert(!is_quantized(layout) && rows >= 1 && rows <= kStripRows);
  for (int col = 0; col < cols; ++col) {
    for (int row = 0; row < rows; ++row) {
      const float value = values[row * stride + col];
      const auto index = static_cast<size_t>(col * rows + row);
      if (layout == MatrixLayout::kF32) {
        std::memcpy(strip + 4 * index, &value, sizeof value);
        continue;
      }
      const uint16_t bits = layout == MatrixLayout::kF16 ? f32_to_f16(value) : f32_to_bf16(value);
      std::memcpy(strip + 2 * index, &bits, sizeof bits);
    }
  }
}

void pack_strip(const Q4Group* groups, int rows, int cols, bool has_min, std::byte* strip) {
  pack_groups(groups, rows, cols, MatrixLayout::kQ4, has_min, strip);
}

void pack_strip(const Q8Group* groups, int rows, int cols, std::byte* strip, MatrixLayout layout) {
  assert(layout == MatrixLayout::kQ8 || layout == MatrixLayout::kQ8Short);
  pack_groups(groups, rows, cols, layout, false, strip);
}

Q8Group quantize_q8(const float* values) {
  float largest = 0;
  for (int i = 0; i < kGroupCols; ++i) largest = std::max(largest, std::fabs(values[i]));
  Q8Group group;
  // The scale as the strip keeps it, so that the quants are the nearest for it.
  group.scale = f16_to_f32(f32_to_f16(largest / 127));
  if (group.scale == 0) return group;
  for (int i = 0; i < kGroupCols; ++i) {
    group.q[i] = static_cast<int8_t>(std::clamp(std::nearbyint(values[i] / group.scale), -127.0f, 127.0f));
  }
  return group;
}

void unpack_row(const PackedMatrix& matrix, int row, int begin, int end, float* out) {
  assert(row >= 0 && row < matrix.rows && begin % kBlockCols == 0 && end <= matrix.cols);
  const std::byte* strip = matrix.data + strip_bytes(matrix.layout, matrix.has_min, matrix.cols) *
                                             static_cast<size_t>(row / kStripRows);
  if (!is_quantized(matrix.layout)) {
    const int width = strip_width(matrix.rows, row / kStripRows);
    for (int col = begin; col < end; ++col) {
      out[col - begin] = unpack_element(strip, matrix.layout, width, row % kStripRows, col);
    }
    return;
  }
  for (int col = begin; col < end; col += kBlockCols) {
    float values[kBlockCols];
    const std::byte* block =
        strip + block_bytes(matrix.layout, matrix.has_min) * static_cast<size_t>(col / kBlockCols);
    if (matrix.layout == MatrixLayout::kQ4) {
      unpack_q4_block(block, matrix.has_min, row % kStripRows, values);
    } else {
      unpack_q8_block(block, row % kStripRows, matrix.cols - col, values);
    }
    std::copy_n(values, std::min(kBlockCols, end - col), out + (col - begin));
  }
}

}  // namespace chorus
