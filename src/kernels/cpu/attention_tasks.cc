#include "kernels/cpu/attention_tasks.h"

#include <algorithm>
#include <cassert>

namespace chorus {
namespace {

// Rows of a step that may be cut into pieces; with more there are tiles enough, and the workspace stays
// small.
constexpr int kSplitRows = 64;

// The tiles of a step: per sequence and kv head, the queries (row, head of the group) in chunks of at most
// kMaxQueries, whole rows where they fit.
class Tiles {
 public:
  explicit Tiles(const AttentionArgs& args) : args_(args), group_(args.heads / args.kv.kv_heads) {
    queries_per_tile_ = group_ < kMaxQueries ? kMaxQueries / group_ * group_ : kMaxQueries;
    for (const AttentionSequence& sequence : args.sequences) {
      count_ += count_of(sequence);
      rows_ += sequence.row_end - sequence.row_begin;
      pieces_ = std::max(pieces_, round_up(sequence.context_length, kAttentionPiece) / kAttentionPiece);
    }
  }

  int64_t count() const { return count_; }
  int rows() const { return rows_; }
  int pieces() const { return pieces_; }  // of the longest context

  // Tile `index`, which must not be less than at the last call. outputs[i] is set to query i's place, counted
  // in heads, in y.
  AttentionTile at(int64_t index, int64_t* outputs) {
    while (index - passed_ >= count_of(args_.sequences[sequence_])) {
      passed_ += count_of(args_.sequences[sequence_++]);
    }
    const AttentionSequence& sequence = args_.sequences[sequence_];
    const int64_t in_sequence = index - passed_;
    AttentionTile tile = {.kv = args_.kv,
                          .kv_head = static_cast<int>(in_sequence % args_.kv.kv_heads),
                          .block_table = sequence.block_table,
                          .scale = args_.scale,
                          .soft_cap = args_.soft_cap,
                          .queries = 0,
                          .q = {},
                          .first = {},
                          .last = {}};
    const int rows = sequence.row_end - sequence.row_begin;
    const int64_t begin = in_sequence / args_.kv.kv_heads * queries_per_tile_;
    const int64_t end = std::min<int64_t>(begin + queries_per_tile_, int64_t{rows} * group_);
    for (int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<int>(i / group_);
      const int64_t head = tile.kv_head * group_ + i % group_;
      const int64_t batch_row = sequence.row_begin + row;
      const int query = tile.queries++;
      outputs[query] = batch_row * args_.heads + head;
      tile.q[query] = args_.q + batch_row * args_.q_stride + head * args_.kv.dim;
      tile.last[query] = sequence.context_length - rows + row;
      tile.first[query] = args_.window > 0 ? std::max(0, tile.last[query] + 1 - args_.window) : 0;
    }
    return tile;
  }

 private:
  int64_t count_of(const AttentionSequence& sequence) const {
    const int64_t queries = int64_t{sequence.row_end - sequence.row_begin} * group_;
    return (queries + queries_per_tile_ - 1) / queries_per_tile_ * args_.kv.kv_heads;
  }

  const AttentionArgs& args_;
  int group_, queries_per_tile_ = 0;
  int64_t count_ = 0;
  int rows_ = 0, pieces_ = 0;
  // Where the last call to at() was: its sequence and the tiles before it.
  size_t sequence_ = 0;
  int64_t passed_ = 0;
};

// All pieces of a tile one after the other; each query's are merged as they come.
void run_tile(const Leaves& leaves, const AttentionTile& tile, const int64_t* outputs, float* y) {
  alignas(64) float merged[kMaxQueries][partial_floats(kMaxHeadDim)];
  alignas(64) float scratch[kMaxQueries][partial_floats(kMaxHeadDim)];
  const int dim = tile.kv.dim;
  const int first = *std::min_element(tile.first, tile.first + tile.queries) / kAttentionPiece;
  const int last = *std::max_element(tile.last, tile.last + tile.queries) / kAttentionPiece;
  for (int piece = first; piece <= last; ++piece) {
    float* partials[kMaxQueries];
    for (int i = 0; i < tile.queries; ++i) {
      partials[i] = piece == tile.first[i] / kAttentionPiece ? merged[i] : scratch[i];
    }
    leaves.attend_piece(tile, piece, partials);
    for (int i = 0; i < tile.queries; ++i) {
      if (piece > tile.first[i] / kAttentionPiece && piece <= tile.last[i] / kAttentionPiece) {
        leaves.merge_partials(merged[i], scratch[i], dim);
      }
    }
  }
  for (int i = 0; i < tile.queries; ++i) leaves.finish_partial(merged[i], dim, y + outputs[i] * dim);
}

// Pieces to the workspace, [row][head][piece], by whoever is free.
void run_pieces(const Leaves& leaves, TeamMember& member, const AttentionArgs& args, Tiles& tiles) {
  const int64_t pieces = tiles.pieces(), floats = partial_floats(args.kv.dim);
  member.for_chunks(tiles.count() * pieces, [&](int64_t task) {
    int64_t outputs[kMaxQueries];
    const AttentionTile tile = tiles.at(task / pieces, outputs);
    const auto piece = static_cast<int>(task % pieces);
    float* partials[kMaxQueries];
    for (int i = 0; i < tile.queries; ++i) {
      partials[i] = args.workspace + (outputs[i] * pieces + piece) * floats;
    }
    leaves.attend_piece(tile, piece, partials);
  });
}

void merge_pieces(const Leaves& leaves, TeamMember& member, const AttentionArgs& args, Tiles tiles) {
  const int64_t pieces = tiles.pieces(), floats = partial_floats(args.kv.dim);
  const TeamMember::Range range = member.share(tiles.count());
  for (int64_t index = range.begin; index < range.end; ++index) {
    int64_t outputs[kMaxQueries];
    const AttentionTile tile = tiles.at(index, outputs);
    for (int i = 0; i < tile.queries; ++i) {
      const int first = tile.first[i] / kAttentionPiece;
      float* of_query = args.workspace + outputs[i] * pieces * floats;
      float* merged = of_query + first * floats;
      for (int piece = first + 1; piece <= tile.last[i] / kAttentionPiece; ++piece) {
        leaves.merge_partials(merged, of_query + piece * floats, args.kv.dim);
      }
      leaves.finish_partial(merged, args.kv.dim, args.y + outputs[i] * args.kv.dim);
    }
  }
}

}  // namespace

size_t attention_workspace(int max_rows, int heads, int dim, int max_context) {
  const auto pieces = static_cast<size_t>(round_up(max_context, kAttentionPiece) / kAttentionPiece);
  return static_cast<size_t>(std::min(max_rows, kSplitRows)) * static_cast<size_t>(heads) * pieces *
         static_cast<size_t>(partial_floats(dim));
}

void run_attention(const Leaves& leaves, TeamMember& member, const AttentionArgs& args) {
  assert(args.kv.dim % 16 == 0 && args.kv.dim <= kMaxHeadDim && args.heads % args.kv.kv_heads == 0);
  Tiles tiles(args);
  if (tiles.pieces() > 1 && tiles.rows() <= kSplitRows && tiles.count() < 4 * member.count()) {
    const Tiles from_the_start = tiles;
    run_pieces(leaves, member, args, tiles);
    member.barrier();
    return merge_pieces(leaves, member, args, from_the_start);
  }
  member.for_chunks(tiles.count(), [&](int64_t index) {
    int64_t outputs[kMaxQueries];
    const AttentionTile tile = tiles.at(index, outputs);
    run_tile(leaves, tile, outputs, args.y);
  });
}

}  // namespace chorus
