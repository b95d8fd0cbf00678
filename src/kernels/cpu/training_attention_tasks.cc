// Attention's backward pass as products over blocks of query rows. One member does all the heads that read a
// kv head in a sequence, so each sum has one order.

#include <algorithm>

#include "kernels/cpu/training_tasks.h"

namespace chorus {
namespace {

constexpr int kBlockQueries = 48;

// A member's memory for a sequence of `rows`.
struct Scratch {
  int padded;  // rows, rounded up to 16
  float* k;    // [rows, dim]: normalised and rotated
  float* k_t;  // [dim, padded]: transposed
  float* v_t;
  float* dk;         // [rows, dim]
  float* q;          // [queries, dim]
  float* dq;         // likewise
  float* weights;    // [queries, padded]
  float* d_weights;  // likewise; then those of the products

  Scratch(float* own, int rows, int dim) : padded(round_up(rows, kStripRows)) {
    const int64_t by_row = int64_t{padded} * dim, by_query = int64_t{kBlockQueries} * dim;
    k = own;
    k_t = k + by_row;
    v_t = k_t + by_row;
    dk = v_t + by_row;
    q = dk + by_row;
    dq = q + by_query;
    weights = dq + by_query;
    d_weights = weights + int64_t{kBlockQueries} * padded;
  }
};

class HeadBackward {
 public:
  HeadBackward(const TrainingLeaves& leaves, const AttentionBackwardArgs& args,
               AttentionBackwardSequence sequence, int kv_head)
      : leaves_(leaves),
        args_(args),
        first_row_(sequence.row_begin),
        rows_(sequence.row_end - sequence.row_begin),
        kv_head_(kv_head),
        dim_(args.dim),
        q_stride_(int64_t{args.heads} * args.dim),
        kv_stride_(int64_t{args.kv_heads} * args.dim),
        scratch_(args.own, rows_, dim_) {}

  void run() {
    open();
    const int group = args_.heads / args_.kv_heads;
    for (int head = kv_head_ * group; head < (kv_head_ + 1) * group; ++head) {
      for (int row = 0; row < rows_; row += kBlockQueries) {
        add_queries(head, row, std::min(kBlockQueries, rows_ - row));
      }
    }
    for (int r = 0; r < rows_; ++r) {
      leaves_.prepare_head_backward(args_.k + kv_at(r), args_.k_norm, args_.norm_eps, rope(r), dim_,
                                    scratch_.dk + int64_t{r} * dim_, args_.dk + kv_at(r));
    }
  }

 private:
  int64_t q_at(int row, int head) const { return (first_row_ + row) * q_stride_ + int64_t{head} * dim_; }
  int64_t kv_at(int row) const { return (first_row_ + row) * kv_stride_ + int64_t{kv_head_} * dim_; }
  const float* rope(int row) const { return args_.rope + (first_row_ + row) * int64_t{dim_}; }
  int first_seen(int row) const { return args_.window > 0 ? std::max(0, row + 1 - args_.window) : 0; }

  void open() {
    for (int r = 0; r < rows_; ++r) {
      leaves_.prepare_head(args_.k + kv_at(r), args_.k_norm, args_.norm_eps, rope(r), dim_,
                           scratch_.k + int64_t{r} * dim_);
      std::fill_n(args_.dv + kv_at(r), dim_, 0.0f);
    }
    std::fill_n(scratch_.dk, int64_t{rows_} * dim_, 0.0f);
    leaves_.transpose(scratch_.k, dim_, rows_, dim_, false, scratch_.k_t, scratch_.padded);
    leaves_.transpose(args_.v + kv_at(0), kv_stride_, rows_, dim_, false, scratch_.v_t, scratch_.padded);
  }

  // `queries` rows from `row` on of one head, with the positions [from, row + queries).
  void add_queries(int head, int row, int queries) {
    const int from = first_seen(row) / kStripRows * kStripRows, count = row + queries - from;
    const float* dy = args_.dy + q_at(row, head);
    for (int i = 0; i < queries; ++i) {
      leaves_.prepare_head(args_.q + q_at(row + i, head), args_.q_norm, args_.norm_eps, rope(row + i), dim_,
                           scratch_.q + int64_t{i} * dim_);
    }
    score(scratch_.q, dim_, scratch_.k_t + from, queries, count, scratch_.weights);
    score(dy, q_stride_, scratch_.v_t + from, queries, count, scratch_.d_weights);
    for (int i = 0; i < queries; ++i) {
      const float mean = leaves_.dot(dy + i * q_stride_, args_.y + q_at(row + i, head), dim_);
      const int64_t at = int64_t{i} * scratch_.padded;
      leaves_.softmax_backward(scratch_.weights + at, scratch_.d_weights + at, first_seen(row + i) - from,
                               row + i + 1 - from, round_up(count, kStripRows), args_.scale, args_.soft_cap,
                               mean);
    }
    leaves_.product({.a = scratch_.d_weights,
                     .a_row = scratch_.padded,
                     .a_col = 1,
                     .b = scratch_.k + int64_t{from} * dim_,
                     .b_stride = dim_,
                     .c = scratch_.dq,
                     .c_stride = dim_,
                     .m = queries,
                     .n = dim_,
                     .depth = count});
    add_to_keys(scratch_.d_weights, scratch_.q, dim_, queries, count, scratch_.dk + int64_t{from} * dim_,
                dim_);
    add_to_keys(scratch_.weights, dy, q_stride_, queries, count, args_.dv + kv_at(from), kv_stride_);
    for (int i = 0; i < queries; ++i) {
      leaves_.prepare_head_backward(args_.q + q_at(row + i, head), args_.q_norm, args_.norm_eps,
                                    rope(row + i), dim_, scratch_.dq + int64_t{i} * dim_,
                                    args_.dq + q_at(row + i, head));
    }
  }

  // Of each query with each of `count` positions, whose columns are rows of `keys`.
  void score(const float* queries, int64_t stride, const float* keys, int m, int count, float* to) const {
    leaves_.product({.a = queries,
                     .a_row = stride,
                     .a_col = 1,
                     .b = keys,
                     .b_stride = scratch_.padded,
                     .c = to,
                     .c_stride = scratch_.padded,
                     .m = m,
                     .n = count,
                     .depth = dim_});
  }

  // to[position] += sum over queries of weights[query, position] * x[query].
  void add_to_keys(const float* weights, const float* x, int64_t x_stride, int queries, int count, float* to,
                   int64_t to_stride) const {
    leaves_.product({.a = weights,
                     .a_row = 1,
                     .a_col = scratch_.padded,
                     .b = x,
                     .b_stride = x_stride,
                     .c = to,
                     .c_stride = to_stride,
                     .m = count,
                     .n = dim_,
                     .depth = queries,
                     .add = true});
  }

  const TrainingLeaves& leaves_;
  const AttentionBackwardArgs& args_;
  const int first_row_, rows_, kv_head_, dim_;
  const int64_t q_stride_, kv_stride_;
  const Scratch scratch_;
};

}  // namespace

size_t attention_backward_floats(int max_sequence_rows, int, int, int dim) {
  const auto rows = static_cast<size_t>(round_up(max_sequence_rows, kStripRows));
  const auto columns = static_cast<size_t>(dim);
  const size_t blocked = 4 * rows * columns + 2 * kBlockQueries * (rows + columns);
  const size_t reference = 2 * (3 * rows * columns + 2 * rows);  // in double
  return std::max(blocked, reference);
}

void run_attention_backward(const TrainingLeaves& leaves, TeamMember& member,
                            const AttentionBackwardArgs& args) {
  const auto sequences = static_cast<int64_t>(args.sequences.size());
  member.for_chunks(sequences * args.kv_heads, [&](int64_t i) {
    HeadBackward(leaves, args, args.sequences[static_cast<size_t>(i / args.kv_heads)],
                 static_cast<int>(i % args.kv_heads))
        .run();
  });
}

}  // namespace chorus
