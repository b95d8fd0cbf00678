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

// One member's part of the products of a slice.
class LoraBackward {
 public:
  LoraBackward(const TrainingLeaves& leaves, const LoraBackwardSlice& of, int k)
      : leaves_(leaves),
        of_(of),
        k_(k),
        ranks_(static_cast<int>(of.linears.size()) * of.rank),
        u_(of.work),
        du_(of.work + int64_t{of.rows} * ranks_) {}

  int64_t row_chunks() const { return blocks_of(of_.rows, leaves_.adapter_rows); }
  int64_t column_chunks(int64_t columns) const { return blocks_of(columns, leaves_.adapter_columns); }
  int64_t dy_chunks() const { return row_chunks() * static_cast<int64_t>(of_.linears.size()); }
  int64_t da_chunks() const { return column_chunks(k_); }
  int64_t db_chunks() const {
    int64_t chunks = 0;
    for (const LoraBackwardLinear& one : of_.linears) chunks += column_chunks(one.n);
    return chunks;
  }
  int64_t dx_chunks() const { return of_.dx == nullptr ? 0 : row_chunks(); }

  // u = scale x A^T
  void shrink_x(int64_t chunk) const { shrink(of_.x, k_, k_, of_.at, ranks_, chunk, u_); }
  // du = scale dy B
  void shrink_dy(int64_t chunk) const {
    const auto i = static_cast<size_t>(chunk / row_chunks());
    const LoraBackwardLinear& one = of_.linears[i];
    shrink(one.dy, one.dy_stride, one.n, one.b, of_.rank, chunk % row_chunks(),
           du_ + i * static_cast<size_t>(of_.rank));
  }

  // dA += du^T x in the columns of a chunk.
  void add_da(int64_t chunk) const {
    const int64_t column = chunk * leaves_.adapter_columns;
    outer(du_, of_.x + column, k_, of_.da + column, k_, ranks_,
          std::min<int64_t>(leaves_.adapter_columns, k_ - column), true);
  }

  // dB += dy^T u in the rows of a chunk. Transposed first: the rows of dy are contiguous.
  void add_db(int64_t chunk) const {
    size_t i = 0;
    for (; chunk >= column_chunks(of_.linears[i].n); ++i) chunk -= column_chunks(of_.linears[i].n);
    const LoraBackwardLinear& one = of_.linears[i];
    const float* u = u_ + i * static_cast<size_t>(of_.rank);
    constexpr int kRanks = 64;
    alignas(64) float sums[kRanks * kMostAdapterColumns];
    const int64_t row = chunk * leaves_.adapter_columns;
    const int64_t count = std::min<int64_t>(leaves_.adapter_columns, one.n - row);
    for (int rank = 0; rank < of_.rank; rank += kRanks) {
      const int ranks = std::min(kRanks, of_.rank - rank);
      outer(u + rank, one.dy + row, one.dy_stride, sums, kMostAdapterColumns, ranks, count, false);
      leaves_.transpose(sums, kMostAdapterColumns, ranks, static_cast<int>(count), true,
                        one.db + row * of_.rank + rank, of_.rank);
    }
  }

  // dx += du A
  void add_dx(int64_t chunk) const {
    const int64_t row = chunk * leaves_.adapter_rows;
    leaves_.adapter_product({.a = du_ + row * ranks_,
                             .a_row = ranks_,
                             .a_col = 1,
                             .b = of_.a,
                             .b_stride = k_,
                             .c = of_.dx + row * k_,
                             .c_stride = k_,
                             .m = rows_from(row),
                             .n = k_,
                             .depth = ranks_,
                             .add = true});
  }

 private:
  int rows_from(int64_t row) const {
    return static_cast<int>(std::min<int64_t>(leaves_.adapter_rows, of_.rows - row));
  }

  // Of a chunk of rows: to [rows, rank] of [rows, ranks_] = scale x matrix, which is [depth, rank].
  void shrink(const float* x, int64_t x_stride, int depth, const float* matrix, int rank, int64_t chunk,
              float* to) const {
    const int64_t row = chunk * leaves_.adapter_rows;
    leaves_.adapter_product({.a = x + row * x_stride,
                             .a_row = x_stride,
                             .a_col = 1,
                             .b = matrix,
                             .b_stride = rank,
                             .c = to + row * ranks_,
                             .c_stride = ranks_,
                             .m = rows_from(row),
                             .n = rank,
                             .depth = depth,
                             .scale = of_.scale});
  }

  // to [ranks, columns] (+)= the sum over rows of shrunk[row, rank] * x[row, column].
  void outer(const float* shrunk, const float* x, int64_t x_stride, float* to, int64_t to_stride, int ranks,
             int64_t columns, bool add) const {
    leaves_.adapter_product({.a = shrunk,
                             .a_row = 1,
                             .a_col = ranks_,
                             .b = x,
                             .b_stride = x_stride,
                             .c = to,
                             .c_stride = to_stride,
                             .m = ranks,
                             .n = static_cast<int>(columns),
                             .depth = of_.rows,
                             .add = add});
  }

  const TrainingLeaves& leaves_;
  const LoraBackwardSlice& of_;
  const int k_, ranks_;
  float *u_, *du_;
};

// Calls (slice.*work)(chunk) for the (slice.*chunks)() chunks of every slice, on whichever member is free.
void for_slices(const TrainingLeaves& leaves, TeamMember& member, const LoraBackwardArgs& args,
                int64_t (LoraBackward::*chunks)() const, void (LoraBackward::*work)(int64_t) const) {
  int64_t total = 0;
  for (const LoraBackwardSlice& one : args.slices) total += (LoraBackward(leaves, one, args.k).*chunks)();
  member.for_chunks(total, [&](int64_t chunk) {
    for (const LoraBackwardSlice& one : args.slices) {
      const LoraBackward slice(leaves, one, args.k);
      const int64_t own = (slice.*chunks)();
      if (chunk < own) return (slice.*work)(chunk);
      chunk -= own;
    }
  });
}

}  // namespace

void run_lora_backward(const TrainingLeaves& leaves, TeamMember& member, const LoraBackwardArgs& args) {
  const auto run = [&](auto chunks, auto work) { for_slices(leaves, member, args, chunks, work); };
  run(&LoraBackward::dy_chunks, &LoraBackward::shrink_dy);
  run(&LoraBackward::row_chunks, &LoraBackward::shrink_x);
  member.barrier();
  run(&LoraBackward::dx_chunks, &LoraBackward::add_dx);  // the largest chunks, and the fewest
  run(&LoraBackward::db_chunks, &LoraBackward::add_db);
  run(&LoraBackward::da_chunks, &LoraBackward::add_da);
}

// Bound by memory: each element is read once and written once, so one code does for all instruction sets.
void run_dora_backward(TeamMember& member, const DoraBackwardArgs& args) {
  constexpr int kColumns = 64;
  const Range share = member.share(args.n, kStripRows);
  for (int64_t begin = share.begin; begin < share.end; begin += kColumns) {
    const int64_t count = std::min<int64_t>(kColumns, share.end - begin);
    float sums[kColumns] = {};
    for (int64_t row = 0; row < args.rows; ++row) {
      const int64_t at = row * args.n + begin;
      const float *y = args.y + at, *dy = args.dy + at;
      float* dz = args.dz + at;
      if (args.before == nullptr) {
        for (int64_t i = 0; i < count; ++i) sums[i] += dy[i] * y[i];
      } else {
        for (int64_t i = 0; i < count; ++i) sums[i] += dy[i] * (y[i] - args.before[at + i]);
      }
      for (int64_t i = 0; i < count; ++i) dz[i] = args.gain[begin + i] * dy[i];
    }
    for (int64_t i = 0; i < count; ++i) {
      const float magnitude = args.magnitude[begin + i];
      if (magnitude != 0) args.d_magnitude[begin + i] += sums[i] / magnitude;
    }
  }
}

}  // namespace chorus
