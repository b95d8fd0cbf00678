#include "model/repack.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "formats/quant_blocks.h"
#include "kernels/pack.h"

namespace chorus {
namespace {

// GGML's blocks, as far as they become Q4Groups without going through floats. A nibble byte i of Q4_0 and
// Q4_1 holds elements i (low) and i + 16 (high).
float f16_at(const std::byte* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof bits);
  return f16_to_f32(bits);
}

uint8_t byte_at(const std::byte* p) { return std::to_integer<uint8_t>(*p); }

void split_nibbles(const std::byte* quants, uint8_t* q) {
  for (int i = 0; i < 16; ++i) {
    q[i] = byte_at(quants + i) & 15;
    q[16 + i] = byte_at(quants + i) >> 4;
  }
}

void read_q4_0(const std::byte* row, int group, Q4Group& out) {
  const std::byte* block = row + 18 * group;
  out.scale = f16_at(block);
  split_nibbles(block + 2, out.q);
}

void read_q4_1(const std::byte* row, int group, Q4Group& out) {
  const std::byte* block = row + 20 * group;
  out.scale = f16_at(block);
  out.min = f16_at(block + 2);
  split_nibbles(block + 4, out.q);
}

// 256 elements: f16 d, f16 dmin, eight 6-bit scales and mins in 12 bytes, 128 bytes of nibbles: of each 32
// bytes the low nibbles are one group of 32, the high ones the next. w = d scale q - dmin min.
void read_q4_k(const std::byte* row, int group, Q4Group& out) {
  const std::byte* block = row + 144 * (group / 8);
  const std::byte* packed = block + 4;
  const int g = group % 8;
  int scale = 0, min = 0;
  if (g < 4) {
    scale = byte_at(packed + g) & 63;
    min = byte_at(packed + g + 4) & 63;
  } else {
    scale = (byte_at(packed + g + 4) & 15) | (byte_at(packed + g - 4) >> 6) << 4;
    min = byte_at(packed + g + 4) >> 4 | (byte_at(packed + g) >> 6) << 4;
  }
  out.scale = f16_at(block) * static_cast<float>(scale);
  out.min = -f16_at(block + 2) * static_cast<float>(min);
  const std::byte* quants = block + 16 + 32 * (g / 2);
  for (int i = 0; i < kGroupCols; ++i) {
    out.q[i] = g % 2 == 0 ? byte_at(quants + i) & 15 : byte_at(quants + i) >> 4;
  }
}

using Q4Reader = void (*)(const std::byte* row, int group, Q4Group& out);

Q4Reader q4_reader(DType type) {
  switch (type) {
    case DType::kQ4_0:
      return read_q4_0;
    case DType::kQ4_1:
      return read_q4_1;
    default:
      return read_q4_k;
  }
}

void read_q8_0(const std::byte* row, int group, Q8Group& out) {
  const std::byte* block = row + 34 * group;
  out.scale = f16_at(block);
  std::memcpy(out.q, block + 2, kGroupCols);
}

// f16 d, 32 fifth bits, 16 bytes of nibbles as in Q4_0. w = d (q - 16).
void read_q5_0(const std::byte* row, int group, Q8Group& out) {
  const std::byte* block = row + 22 * group;
  out.scale = f16_at(block);
  uint32_t fifth = 0;
  std::memcpy(&fifth, block + 2, sizeof fifth);
  uint8_t low[kGroupCols];
  split_nibbles(block + 6, low);
  for (int i = 0; i < kGroupCols; ++i) {
    out.q[i] = static_cast<int8_t>(static_cast<int>(low[i] | (fifth >> i & 1) << 4) - 16);
  }
}

// A source matrix, and the rows it has in memory order.
struct Rows {
  const FileTensor& tensor;
  RowOrder order;
  int rows, cols;
  size_t row_bytes;
  explicit Rows(const FileTensor& t, RowOrder o)
      : tensor(t),
        order(o),
        rows(static_cast<int>(t.shape[0])),
        cols(static_cast<int>(t.shape[1])),
        row_bytes(t.data.size() / t.shape[0]) {}
  std::span<const std::byte> row(int r) const {
    return tensor.data.subspan(static_cast<size_t>(order.source(r)) * row_bytes, row_bytes);
  }
};

bool finite(const Q4Group& g) { return std::isfinite(g.scale) && std::isfinite(g.min); }
bool finite(const Q8Group& g) { return std::isfinite(g.scale); }

// Scratch of one thread.
struct StripScratch {
  std::vector<float> values;
  std::vector<Q4Group> q4;
  std::vector<Q8Group> q8;
};

// Each packs rows first..first + count - 1 and returns whether every scale and weight was finite.
bool pack_q4_strip(const Rows& source, int first, int count, bool has_min, StripScratch& scratch,
                   std::byte* out) {
  const int groups = source.cols / kGroupCols;
  scratch.q4.assign(static_cast<size_t>(count * groups), {});
  const Q4Reader read = q4_reader(source.tensor.type);
  bool ok = true;
  for (int r = 0; r < count; ++r) {
    const std::byte* row = source.row(first + r).data();
    for (int g = 0; g < groups; ++g) {
      Q4Group& group = scratch.q4[static_cast<size_t>(r * groups + g)];
      read(row, g, group);
      ok = ok && finite(group);
    }
  }
  pack_strip(scratch.q4.data(), count, source.cols, has_min, out);
  return ok;
}

bool pack_q8_strip(const Rows& source, int first, int count, StripScratch& scratch, std::byte* out) {
  const int groups = source.cols / kGroupCols;
  scratch.q8.assign(static_cast<size_t>(count * groups), {});
  scratch.values.resize(static_cast<size_t>(source.cols));
  bool ok = true;
  for (int r = 0; r < count; ++r) {
    const std::span<const std::byte> row = source.row(first + r);
    if (source.tensor.type == DType::kQ6_K) dequantize(source.tensor.type, row, scratch.values);
    for (int g = 0; g < groups; ++g) {
      Q8Group& group = scratch.q8[static_cast<size_t>(r * groups + g)];
      switch (source.tensor.type) {
        case DType::kQ8_0:
          read_q8_0(row.data(), g, group);
          break;
        case DType::kQ5_0:
          read_q5_0(row.data(), g, group);
          break;
        default:  // Q6_K, whose own scales are of 16 columns
          group = quantize_q8(scratch.values.data() + g * kGroupCols);
      }
      ok = ok && finite(group);
    }
  }
  pack_strip(scratch.q8.data(), count, source.cols, out);
  return ok;
}

bool pack_dense_strip(const Rows& source, int first, int count, MatrixLayout layout, StripScratch& scratch,
                      std::byte* out) {
  const auto cols = static_cast<size_t>(source.cols);
  scratch.values.resize(static_cast<size_t>(count) * cols);
  for (int r = 0; r < count; ++r) {
    dequantize(source.tensor.type, source.row(first + r),
               std::span(scratch.values).subspan(static_cast<size_t>(r) * cols, cols));
  }
  pack_strip(layout, scratch.values.data(), source.cols, count, source.cols, out);
  return std::ranges::all_of(scratch.values, [](float value) { return std::isfinite(value); });
}

bool pack_any_strip(const Rows& source, int strip, PackedForm form, StripScratch& scratch,
                    std::byte* matrix) {
  const int first = strip * kStripRows, count = std::min(kStripRows, source.rows - first);
  std::byte* out = matrix + strip_bytes(form.layout, form.has_min, source.cols) * static_cast<size_t>(strip);
  switch (form.layout) {
    case MatrixLayout::kQ4:
      return pack_q4_strip(source, first, count, form.has_min, scratch, out);
    case MatrixLayout::kQ8:
      return pack_q8_strip(source, first, count, scratch, out);
    default:
      return pack_dense_strip(source, first, count, form.layout, scratch, out);
  }
}

int strips_of(const Rows& source) { return (source.rows + kStripRows - 1) / kStripRows; }

}  // namespace

PackedForm packed_form(DType type) {
  switch (type) {
    case DType::kF32:
      return {MatrixLayout::kF32, false};
    case DType::kF16:
      return {MatrixLayout::kF16, false};
    case DType::kBF16:
      return {MatrixLayout::kBF16, false};
    case DType::kQ4_0:
      return {MatrixLayout::kQ4, false};
    case DType::kQ4_1:
    case DType::kQ4_K:
      return {MatrixLayout::kQ4, true};
    case DType::kQ5_0:
    case DType::kQ8_0:
    case DType::kQ6_K:
      return {MatrixLayout::kQ8, false};
  }
  return {};
}

PackedMatrix packed_shape(const FileTensor& tensor) {
  const Rows source(tensor, {});
  const PackedForm form = packed_form(tensor.type);
  return {nullptr, source.rows, source.cols, form.layout, form.has_min};
}

void repack(const FileTensor& tensor, RowOrder order, ThreadTeam& team, std::string_view what,
            std::byte* out) {
  const Rows source(tensor, order);
  const PackedForm form = packed_form(tensor.type);
  std::atomic<bool> ok{true};
  team.run([&](TeamMember& member) {
    StripScratch scratch;
    member.for_chunks(strips_of(source), [&](int64_t strip) {
      if (!pack_any_strip(source, static_cast<int>(strip), form, scratch, out)) ok = false;
    });
  });
  if (!ok) fail("{}: tensor {} holds a value or scale that is not finite", what, printable(tensor.name));
}

OwnedMatrix repack(const FileTensor& tensor, RowOrder order, ThreadTeam& team, std::string_view what) {
  OwnedMatrix matrix;
  matrix.view = packed_shape(tensor);
  matrix.bytes = Buffer<std::byte>(packed_bytes(matrix.view));
  matrix.view.data = matrix.bytes.data();
  repack(tensor, order, team, what, matrix.bytes.data());
  return matrix;
}

PackedMatrix pack_dense(const FileTensor& tensor, RowOrder order, std::byte* out) {
  const Rows source(tensor, order);
  const PackedForm form = packed_form(tensor.type);
  assert(!is_quantized(form.layout));
  StripScratch scratch;
  for (int strip = 0; strip < strips_of(source); ++strip) pack_any_strip(source, strip, form, scratch, out);
  return {out, source.rows, source.cols, form.layout, false};
}

}  // namespace chorus
