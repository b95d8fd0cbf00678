#include "model/adapter_pack.h"

#include <algorithm>
#include <cassert>
#include <cstring>
#include <span>

#include "base/error.h"
#include "base/sha256.h"
#include "formats/quant_blocks.h"
#include "kernels/pack.h"
#include "model/adapter_dora.h"
#include "model/repack.h"

namespace chorus {
namespace {

// All there are of a group, in their order in memory.
std::vector<PackedMatrix*> matrices_of(LoraMatrices& group) {
  std::vector<PackedMatrix*> matrices;
  const auto add = [&](PackedMatrix& matrix) {
    if (matrix.rows > 0) matrices.push_back(&matrix);
  };
  add(group.a);
  for (size_t t = 0; t < group.b.size(); ++t) {
    add(group.gain[t]);
    add(group.b[t]);
  }
  return matrices;
}

size_t group_bytes(LoraMatrices group) {
  size_t bytes = 0;
  for (const PackedMatrix* matrix : matrices_of(group)) bytes += padded_bytes(*matrix);
  return bytes;
}

// Hands out the parts of one buffer that is as large as all groups need.
class Memory {
 public:
  explicit Memory(const std::vector<LoraMatrices>& groups) : buffer_(total(groups)), next_(buffer_.data()) {
    std::memset(buffer_.data(), 0, buffer_.size());  // the gaps too: a strip's slack is loaded
  }
  // Gives the matrix its memory.
  std::byte* place(PackedMatrix& matrix) {
    std::byte* at = next_;
    next_ += padded_bytes(matrix);
    matrix.data = at;
    return at;
  }
  Buffer<std::byte> take() { return std::move(buffer_); }

 private:
  static size_t total(const std::vector<LoraMatrices>& groups) {
    size_t bytes = 0;
    for (const LoraMatrices& group : groups) bytes += group_bytes(group);
    return bytes;
  }
  Buffer<std::byte> buffer_;
  std::byte* next_;
};

std::byte* strip_of(const PackedMatrix& matrix, std::byte* data, int row) {
  return data +
         strip_bytes(matrix.layout, matrix.has_min, matrix.cols) * static_cast<size_t>(row / kStripRows);
}

size_t group_index(const ModelConfig& config, const FilePair& pair) {
  const InputGroup group = group_place(pair.target).group;
  if (group == InputGroup::kHead) return config.layers.size() * kLayerGroups;
  return static_cast<size_t>(pair.layer) * kLayerGroups + static_cast<size_t>(group);
}

MatrixLayout layout_of(const FileTensor& tensor) { return packed_form(tensor.type).layout; }

// Everything of a group but the memory.
LoraMatrices describe(const GroupPairs& pairs) {
  LoraMatrices group;
  for (size_t t = 0; t < pairs.size(); ++t) {
    if (pairs[t] == nullptr) continue;
    const FileTensor &a = *pairs[t]->a, &b = *pairs[t]->b;
    const auto rank = static_cast<int>(a.shape[0]);
    const bool first = group.a.rows == 0;
    if (first) {
      group.a.layout = layout_of(a);
    } else if (group.a.layout != layout_of(a)) {
      group.a.layout = MatrixLayout::kF32;
    }
    group.a.rows += rank;
    group.a.cols = static_cast<int>(a.shape[1]);
    const bool dora = pairs[t]->magnitude != nullptr;  // then B holds products, which want no rounding
    const MatrixLayout b_layout = dora ? MatrixLayout::kF32 : layout_of(b);
    group.b[t] = {nullptr, static_cast<int>(b.shape[0]), rank, b_layout, false};
    if (dora) group.gain[t] = {nullptr, static_cast<int>(b.shape[0]), 1, MatrixLayout::kF32, false};
    group.scale[t] = pairs[t]->scale;
  }
  return group;
}

void pack_stacked(const GroupPairs& pairs, const PackedMatrix& a, std::byte* out) {
  const auto cols = static_cast<size_t>(a.cols);
  std::vector<float> values(static_cast<size_t>(a.rows) * cols);
  std::span<float> rest = values;
  for (const FilePair* pair : pairs) {
    if (pair == nullptr) continue;
    const size_t count = static_cast<size_t>(pair->a->shape[0]) * cols;
    dequantize(pair->a->type, pair->a->data, rest.first(count));
    rest = rest.subspan(count);
  }
  for (int row = 0; row < a.rows; row += kStripRows) {
    pack_strip(a.layout, values.data() + static_cast<size_t>(row) * cols, a.cols,
               std::min(kStripRows, a.rows - row), a.cols, strip_of(a, out, row));
  }
}

std::string content_id(const AdapterFile& file) {
  Sha256 hash;
  for (const FilePair& pair : file.pairs) {
    hash.add(fmt::format("{} {} {} {:.9g} {} {} {}\n", pair.layer, static_cast<int>(pair.target),
                         pair.a->shape[0], pair.scale, static_cast<int>(pair.a->type),
                         static_cast<int>(pair.b->type), file.permuted_qk));
    hash.add(pair.a->data);
    hash.add(pair.b->data);
    if (pair.magnitude == nullptr) continue;
    hash.add(fmt::format("DoRA {}\n", static_cast<int>(pair.magnitude->type)));
    hash.add(pair.magnitude->data);
  }
  return to_hex(hash.finish());
}

// Rows of any packed matrix as a strip of 8 bits.
void pack_int8_strip(const PackedMatrix& from, int first, PackedMatrix& to, std::byte* out) {
  const int rows = std::min(kStripRows, from.rows - first);
  const int groups = round_up(from.cols, kGroupCols) / kGroupCols;
  std::vector<float> row(static_cast<size_t>(groups * kGroupCols));
  std::vector<Q8Group> quants(static_cast<size_t>(rows * groups));
  for (int r = 0; r < rows; ++r) {
    unpack_row(from, first + r, 0, from.cols, row.data());
    for (int g = 0; g < groups; ++g) {
      quants[static_cast<size_t>(r * groups + g)] = quantize_q8(row.data() + g * kGroupCols);
    }
  }
  pack_strip(quants.data(), rows, from.cols, strip_of(to, out, first), to.layout);
}

void pack_int8(const PackedMatrix& from, PackedMatrix& to, std::byte* out) {
  for (int row = 0; row < from.rows; row += kStripRows) pack_int8_strip(from, row, to, out);
}

std::vector<GroupPairs> group_pairs(const AdapterFile& file, const ModelConfig& config) {
  std::vector<GroupPairs> pairs(config.layers.size() * kLayerGroups + 1);
  for (const FilePair& pair : file.pairs) {
    pairs[group_index(config, pair)][group_place(pair.target).index] = &pair;
  }
  return pairs;
}

std::vector<LoraMatrices> describe_all(const std::vector<GroupPairs>& pairs) {
  std::vector<LoraMatrices> groups;
  for (const GroupPairs& of_group : pairs) groups.push_back(describe(of_group));
  return groups;
}

// The gain less 1, and B times the gain: see LoraMatrices.
void pack_dora(const FilePair& pair, const std::vector<float>& gain, std::byte* gain_out,
               const PackedMatrix& b, std::byte* b_out) {
  std::vector<float> values = elements_of(*pair.b);
  for (int row = 0; row < b.rows; ++row) {
    const float factor = gain[static_cast<size_t>(row)], less_one = factor - 1;
    std::memcpy(gain_out + static_cast<size_t>(row) * sizeof(float), &less_one, sizeof less_one);
    for (int r = 0; r < b.cols; ++r) values[static_cast<size_t>(row * b.cols + r)] *= factor;
  }
  for (int row = 0; row < b.rows; row += kStripRows) {
    pack_strip(b.layout, values.data() + static_cast<size_t>(row) * static_cast<size_t>(b.cols), b.cols,
               std::min(kStripRows, b.rows - row), b.cols, strip_of(b, b_out, row));
  }
}

}  // namespace

PackedSize packed_size(const AdapterFile& file, const ModelConfig& config) {
  size_t bytes = 0;
  for (const LoraMatrices& group : describe_all(group_pairs(file, config))) bytes += group_bytes(group);
  return {content_id(file), bytes};
}

AdapterPacker::AdapterPacker(const AdapterFile& file, const ModelConfig& config, std::string id)
    : file_(&file), config_(&config), pairs_(group_pairs(file, config)) {
  std::vector<LoraMatrices> groups = describe_all(pairs_);
  Memory memory(groups);
  for (LoraMatrices& group : groups) {
    for (PackedMatrix* matrix : matrices_of(group)) memory.place(*matrix);
  }
  Buffer<std::byte> buffer = memory.take();
  memory_ = buffer.data();
  adapter_ =
      std::make_shared<Adapter>(std::move(id), AdapterForm::kExact, std::move(groups), std::move(buffer));
}

size_t AdapterPacker::groups() const { return pairs_.size(); }

void AdapterPacker::pack(size_t index, const Gain& gain) const {
  const LoraMatrices& group = adapter_->groups()[index];
  if (group.a.rows == 0) return;
  const auto place = [&](const PackedMatrix& matrix) { return memory_ + (matrix.data - memory_); };
  pack_stacked(pairs_[index], group.a, place(group.a));
  for (size_t t = 0; t < group.b.size(); ++t) {
    const FilePair* pair = pairs_[index][t];
    if (pair == nullptr) continue;
    if (pair->magnitude != nullptr) {
      assert(!file_->permuted_qk);
      pack_dora(*pair, gain(*pair), place(group.gain[t]), group.b[t], place(group.b[t]));
      continue;
    }
    const bool permuted = file_->permuted_qk && (pair->target == Target::kQ || pair->target == Target::kK);
    pack_dense(*pair->b, {permuted ? config_->head_dim : 0}, place(group.b[t]));
  }
}

AdapterHandle pack_adapter(const AdapterFile& file, const ModelConfig& config, const Model* model) {
  const AdapterPacker packer(file, config, content_id(file));
  const auto gain = [&](const FilePair& pair) {
    assert(model != nullptr);
    return dora_gain(
        pair, pair.target == Target::kHead ? model->head_matrix() : model->linear(pair.layer, pair.target));
  };
  for (size_t group = 0; group < packer.groups(); ++group) packer.pack(group, gain);
  return packer.adapter();
}

AdapterHandle to_int8(const Adapter& exact) {
  std::vector<LoraMatrices> groups = exact.groups();
  for (LoraMatrices& group : groups) {
    group.a.layout = MatrixLayout::kQ8;
    for (PackedMatrix& b : group.b) b.layout = MatrixLayout::kQ8Short;
  }
  Memory memory(groups);
  for (size_t g = 0; g < groups.size(); ++g) {
    const LoraMatrices& from = exact.groups()[g];
    LoraMatrices& to = groups[g];
    if (from.a.rows == 0) continue;
    pack_int8(from.a, to.a, memory.place(to.a));
    for (size_t t = 0; t < to.b.size(); ++t) {
      if (from.b[t].rows > 0) pack_int8(from.b[t], to.b[t], memory.place(to.b[t]));
      const PackedMatrix& gain = from.gain[t];
      if (gain.rows > 0) std::memcpy(memory.place(to.gain[t]), gain.data, packed_bytes(gain));
    }
  }
  return std::make_shared<Adapter>(exact.id(), AdapterForm::kInt8, std::move(groups), memory.take());
}

}  // namespace chorus
