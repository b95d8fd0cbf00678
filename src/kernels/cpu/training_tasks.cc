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
    for (product.n = 0; product.n < n; product.n += base.piece) {
      product.count = std::min(base.piece, n - product.n);
      base.unpack(*task.weight, product.n, product.count, column, columns, args.own);
      base.multiply(product);
      product.add = true;
    }
    product.packed += blocks * packed_dy_bytes(n);
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

void run_lora_backward(const TrainingLeaves& leaves, TeamMember& member, const LoraBackwardArgs& args) {
  constexpr int kRows = 24, kColumns = 64;
  const int rank = args.rank;
  float* u = args.work;  // scale A x of each row
  float* du = args.work + int64_t{args.rows} * rank;
  const ProductArgs shrink = {.a = args.x,
                              .a_row = args.k,
                              .a_col = 1,
                              .b = args.at,
                              .b_stride = rank,
                              .c = u,
                              .c_stride = rank,
                              .n = rank,
                              .depth = args.k,
                              .scale = args.scale};
  ProductArgs shrink_dy = shrink;
  shrink_dy.a = args.dy;
  shrink_dy.a_row = args.dy_stride;
  shrink_dy.b = args.b;
  shrink_dy.c = du;
  shrink_dy.depth = args.n;
  const auto rows_of = [&](ProductArgs product, int64_t begin, int64_t rows, int64_t of) {
    product.a += begin * product.a_row;
    product.c += begin * product.c_stride;
    product.m = static_cast<int>(std::min(rows, of - begin));
    leaves.product(product);
  };
  const int64_t row_blocks = blocks_of(args.rows, kRows);
  member.for_chunks(2 * row_blocks, [&](int64_t i) {
    rows_of(i < row_blocks ? shrink_dy : shrink, i % row_blocks * kRows, kRows, args.rows);
  });
  member.barrier();

  const ProductArgs to_db = {.a = args.dy,
                             .a_row = 1,
                             .a_col = args.dy_stride,
                             .b = u,
                             .b_stride = rank,
                             .c = args.db,
                             .c_stride = rank,
                             .n = rank,
                             .depth = args.rows,
                             .add = true};
  const ProductArgs to_da = {.a = du,
                             .a_row = 1,
                             .a_col = rank,
                             .b = args.x,
                             .b_stride = args.k,
                             .c = args.da,
                             .c_stride = args.k,
                             .m = rank,
                             .depth = args.rows,
                             .add = true};
  const ProductArgs to_dx = {.a = du,
                             .a_row = rank,
                             .a_col = 1,
                             .b = args.a,
                             .b_stride = args.k,
                             .c = args.dx,
                             .c_stride = args.k,
                             .n = args.k,
                             .depth = rank,
                             .add = true};
  const int64_t n_blocks = blocks_of(args.n, kRows), k_blocks = blocks_of(args.k, kColumns);
  member.for_chunks(k_blocks + n_blocks + (args.dx == nullptr ? 0 : row_blocks), [&](int64_t i) {
    if (i < k_blocks) {
      ProductArgs product = to_da;
      product.b += i * kColumns;
      product.c += i * kColumns;
      product.n = static_cast<int>(std::min<int64_t>(kColumns, args.k - i * kColumns));
      leaves.product(product);
    } else if (i < k_blocks + n_blocks) {
      rows_of(to_db, (i - k_blocks) * kRows, kRows, args.n);
    } else {
      rows_of(to_dx, (i - k_blocks - n_blocks) * kRows, kRows, args.rows);
    }
  });
}

}  // namespace chorus
