#include "kernels/cpu/training_tasks.h"

#include <algorithm>
#include <cassert>

namespace chorus {
namespace {

using Range = TeamMember::Range;

int64_t blocks_of(int64_t count, int64_t block) { return (count + block - 1) / block; }

void pack_rows(const BaseProduct& base, TeamMember& member, const LinearBackwardArgs& args) {
  std::byte* packed = args.shared;
  const int64_t blocks = blocks_of(args.rows, kStripRows);
  for (const LinearBackwardTask& task : args.tasks) {
    const int n = task.weight->rows;
    member.for_chunks(blocks, [&](int64_t block) {
      const int64_t row = block * kStripRows;
      base.pack(task.dy + row * task.dy_stride, task.dy_stride,
                static_cast<int>(std::min<int64_t>(kStripRows, args.rows - row)), n,
                packed + block * packed_dy_bytes(n));
    });
    packed += blocks * packed_dy_bytes(n);
  }
  member.barrier();
}

WeightTile tile_of(const PackedMatrix& w, int n, int count, int column, int columns) {
  WeightTile tile;
  tile.strip_bytes = strip_bytes(w.layout, w.has_min, w.cols);
  tile.strips = w.data + tile.strip_bytes * static_cast<size_t>(n / kStripRows);
  tile.layout = w.layout;
  tile.has_min = w.has_min;
  tile.rows_left = w.rows - n;
  tile.count = count;
  tile.column = column;
  tile.columns = columns;
  return tile;
}

// dx of the columns [column, column + columns), as many as a tile has at most.
void multiply_columns(const BaseProduct& base, const LinearBackwardArgs& args, int column, int columns) {
  const int k = args.tasks[0].weight->cols;
  const int64_t blocks = blocks_of(args.rows, kStripRows);
  BaseProduct::Args product;
  product.packed = args.shared;
  product.columns = columns;
  product.rows = args.rows;
  product.tile = args.own;
  product.dx = args.dx + column;
  product.dx_stride = k;
  product.add = args.accumulate;
  for (const LinearBackwardTask& task : args.tasks) {
    const int n = task.weight->rows;
    product.task = &task;
    product.block_bytes = packed_dy_bytes(n);
    for (product.n = 0; product.n < n; product.n += base.piece) {
      product.count = std::min(base.piece, n - product.n);
      base.unpack(tile_of(*task.weight, product.n, product.count, column, columns), args.own);
      base.multiply(product);
      product.add = true;
    }
    product.packed += blocks * product.block_bytes;
  }
}

}  // namespace

void run_linear_backward(const BaseProduct& base, TeamMember& member, const LinearBackwardArgs& args) {
  assert(!args.tasks.empty() && args.tasks.size() <= kMaxGroup);
  if (base.pack != nullptr) pack_rows(base, member, args);
  const int k = args.tasks[0].weight->cols;
  const Range share = member.share(k, kUnit);
  for (int64_t column = share.begin; column < share.end; column += base.columns) {
    multiply_columns(base, args, static_cast<int>(column),
                     static_cast<int>(std::min<int64_t>(base.columns, share.end - column)));
  }
}

namespace {

// One member's part of the products of an adapter.
class LoraBackward {
 public:
  LoraBackward(const TrainingLeaves& leaves, const LoraBackwardArgs& args)
      : leaves_(leaves), args_(args), u_(args.work), du_(args.work + int64_t{args.rows} * args.rank) {}

  // u = scale x A^T
  void shrink_x(int64_t row) const { shrink(args_.x + row * args_.k, args_.k, args_.k, args_.at, row, u_); }
  // du = scale dy B
  void shrink_dy(int64_t row) const {
    shrink(args_.dy + row * args_.dy_stride, args_.dy_stride, args_.n, args_.b, row, du_);
  }

  // dA += du^T x in the columns of a chunk.
  void add_da(int64_t column) const {
    outer(du_, args_.rank, args_.x + column, args_.k, args_.da + column, args_.k, args_.rank,
          std::min<int64_t>(leaves_.adapter_columns, args_.k - column), true);
  }

  // dB += dy^T u in the rows of a chunk. Transposed first: the rows of dy are contiguous.
  void add_db(int64_t row) const {
    constexpr int kRanks = 64;
    alignas(64) float sums[kRanks * kMostAdapterColumns];
    const int64_t count = std::min<int64_t>(leaves_.adapter_columns, args_.n - row);
    for (int rank = 0; rank < args_.rank; rank += kRanks) {
      const int ranks = std::min(kRanks, args_.rank - rank);
      outer(u_ + rank, args_.rank, args_.dy + row, args_.dy_stride, sums, kMostAdapterColumns, ranks, count,
            false);
      leaves_.transpose(sums, kMostAdapterColumns, ranks, static_cast<int>(count), true,
                        args_.db + row * args_.rank + rank, args_.rank);
    }
  }

  // dx += du A
  void add_dx(int64_t row) const {
    leaves_.adapter_product({.a = du_ + row * args_.rank,
                             .a_row = args_.rank,
                             .a_col = 1,
                             .b = args_.a,
                             .b_stride = args_.k,
                             .c = args_.dx + row * args_.k,
                             .c_stride = args_.k,
                             .m = rows_from(row),
                             .n = args_.k,
                             .depth = args_.rank,
                             .add = true});
  }

 private:
  int rows_from(int64_t row) const {
    return static_cast<int>(std::min<int64_t>(leaves_.adapter_rows, args_.rows - row));
  }

  void shrink(const float* x, int64_t x_stride, int depth, const float* matrix, int64_t row,
              float* to) const {
    leaves_.adapter_product({.a = x,
                             .a_row = x_stride,
                             .a_col = 1,
                             .b = matrix,
                             .b_stride = args_.rank,
                             .c = to + row * args_.rank,
                             .c_stride = args_.rank,
                             .m = rows_from(row),
                             .n = args_.rank,
                             .depth = depth,
                             .scale = args_.scale});
  }

  // to [ranks, columns] (+)= the sum over rows of shrunk[row, rank] * x[row, column].
  void outer(const float* shrunk, int rank_stride, const float* x, int64_t x_stride, float* to,
             int64_t to_stride, int ranks, int64_t columns, bool add) const {
    leaves_.adapter_product({.a = shrunk,
                             .a_row = 1,
                             .a_col = rank_stride,
                             .b = x,
                             .b_stride = x_stride,
                             .c = to,
                             .c_stride = to_stride,
                             .m = ranks,
                             .n = static_cast<int>(columns),
                             .depth = args_.rows,
                             .add = add});
  }

  const TrainingLeaves& leaves_;
  const LoraBackwardArgs& args_;
  float *u_, *du_;
};

}  // namespace

void run_lora_backward(const TrainingLeaves& leaves, TeamMember& member, const LoraBackwardArgs& args) {
  const LoraBackward lora(leaves, args);
  const int64_t rows = leaves.adapter_rows, columns = leaves.adapter_columns;
  const int64_t row_chunks = blocks_of(args.rows, rows);
  member.for_chunks(row_chunks, [&](int64_t i) { lora.shrink_dy(i * rows); });
  member.for_chunks(row_chunks, [&](int64_t i) { lora.shrink_x(i * rows); });
  member.barrier();
  member.for_chunks(blocks_of(args.n, columns), [&](int64_t i) { lora.add_db(i * columns); });
  member.for_chunks(blocks_of(args.k, columns), [&](int64_t i) { lora.add_da(i * columns); });
  if (args.dx == nullptr) return;
  member.for_chunks(row_chunks, [&](int64_t i) { lora.add_dx(i * rows); });
}

}  // namespace chorus
