#pragma once

#include "base/thread_team.h"
#include "formats/file_tensor.h"
#include "model/weights.h"

namespace chorus {

// Which row of the file becomes row r in memory. GGUF files of Llama hold each head of q and k with the two
// halves of its rotary pairs interleaved; in memory they lie apart, as in Hugging Face files.
struct RowOrder {
  int permuted_head_dim = 0;  // 0: as in the file
  int source(int row) const {
    if (permuted_head_dim == 0) return row;
    const int head = row / permuted_head_dim, in_head = row % permuted_head_dim, half = permuted_head_dim / 2;
    return head * permuted_head_dim + in_head % half * 2 + in_head / half;
  }
};

// The layout a tensor's type becomes in memory. Exact but for:
//   Q4_K  the products of its 8-bit scales are rounded to f16 (relative error 2^-12)
//   Q6_K  16-column scales become 32-column ones, values are rounded to 8 bits of the group's range
// which repack_test.cc measures.
struct PackedForm {
  MatrixLayout layout;
  bool has_min;
};
PackedForm packed_form(DType type);

// What a tensor [rows, cols] becomes, without its data.
PackedMatrix packed_shape(const FileTensor& tensor);

// Packs a matrix [rows, cols] on the team's threads, into packed_bytes() of memory of its own or at `out`.
// Error, with `what` and the tensor's name: a scale or weight that is not finite.
void repack(const FileTensor& tensor, RowOrder order, ThreadTeam& team, std::string_view what,
            std::byte* out);
OwnedMatrix repack(const FileTensor& tensor, RowOrder order, ThreadTeam& team, std::string_view what);

// Packs an f32, f16 or bf16 matrix as it is, into memory of packed_bytes(); returns the view.
PackedMatrix pack_dense(const FileTensor& tensor, RowOrder order, std::byte* out);

}  // namespace chorus
