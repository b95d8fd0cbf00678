#include "kernels/cpu/attention_tasks.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>

#include "kernels/cpu/quantized_rows.h"

namespace chorus {
namespace {

// Steps of one row a sequence, and of no more rows than this, are cut into pieces; others have tiles enough,
// and the workspace stays small.
constexpr int kSplitRows = 64;

int group_of(const AttentionArgs& args) { return args.heads / args.kv.kv_heads; }
int rows_of(const AttentionSequence& sequence) { return sequence.row_end - sequence.row_begin; }

// Queries of a tile: whole rows of a group where they fit.
int queries_per_tile(int group) { return group < kMaxQueries ? kMaxQueries / group * group : kMaxQueries; }

Span positions_seen(const AttentionArgs& args, const AttentionSequence& sequence, int64_t row) {
  const int last = sequence.context_length - static_cast<int>(sequence.row_end - row);
  return {args.window > 0 ? std::max(0, last + 1 - args.window) : 0, last + 1};
}

void prepare_and_store(const Leaves& leaves, const AttentionArgs& args, int64_t row, int kv_head) {
  const int dim = args.kv.dim;
  const int64_t from = (row * args.kv.kv_heads + kv_head) * dim;
  const int64_t page = args.slots[row] / kPagePositions;
  alignas(64) float k[kMaxHeadDim];
  leaves.prepare_head(args.k + from, args.k_norm, args.norm_eps, args.rope + row * dim, dim, k);
  const size_t page_bytes = kv_page_bytes(args.kv.type, 1, dim);
  const auto index = static_cast<size_t>(page * args.kv.kv_heads + kv_head);
  leaves.store_kv(k, args.v + from, dim, args.kv.type, args.kv.data + index * page_bytes,
                  static_cast<int>(args.slots[row] % kPagePositions));
}

// A tile with what it needs besides: its queries made ready, and where they belong.
struct TileTask {
  AttentionTile tile;
  int64_t rows[kMaxQueries] = {};
  int heads[kMaxQueries] = {};
  alignas(64) float prepared[kMaxQueries * kMaxHeadDim];
};

// One more query of the tile. Its pages and positions are the sequence's.
void add_query(const Leaves& leaves, const AttentionArgs& args, const AttentionSequence& sequence,
               int64_t row, int head, TileTask& task) {
  const int i = task.tile.queries++, dim = args.kv.dim;
  float* q = task.prepared + i * dim;
  leaves.prepare_head(args.q + (row * args.heads + head) * dim, args.q_norm, args.norm_eps,
                      args.rope + row * dim, dim, q);
  task.rows[i] = row;
  task.heads[i] = head;
  task.tile.q[i] = q;
  task.tile.seen[i] = positions_seen(args, sequence, row);
}

void start_tile(const AttentionArgs& args, const AttentionSequence& sequence, int kv_head, TileTask& task) {
  task.tile.kv = args.kv;
  task.tile.page_bytes = static_cast<int64_t>(kv_page_bytes(args.kv.type, 1, args.kv.dim));
  task.tile.kv_head = kv_head;
  task.tile.block_table = sequence.block_table;
  task.tile.scale = args.scale;
  task.tile.soft_cap = args.soft_cap;
  task.tile.queries = 0;
}

// Whether the quantized form of a head's output is made of that head alone.
bool heads_are_groups(const AttentionArgs& args) { return args.kv.dim % kGroupCols == 0; }

// The output of one head, from all its positions.
void finish(const Leaves& leaves, const AttentionArgs& args, const float* partial, int64_t row, int head) {
  const int dim = args.kv.dim, cols = args.heads * dim, column = head * dim;
  float* y = args.y + row * cols + column;
  leaves.finish_partial(partial, dim, y);
  if (args.quantized.quants == nullptr || !heads_are_groups(args)) return;
  const bool is_last = head == args.heads - 1;  // it writes the padding as well
  const int groups = is_last ? padded_groups(cols) - column / kGroupCols : dim / kGroupCols;
  leaves.quantize(y, dim, groups, from_row(args.quantized, row, cols, column));
}

int64_t tiles_of(const AttentionArgs& args, const AttentionSequence& sequence) {
  const int group = group_of(args), per_tile = queries_per_tile(group);
  return int64_t{(rows_of(sequence) * group + per_tile - 1) / per_tile} * args.kv.kv_heads;
}

// All pieces of a tile one after the other; each query's are merged as they come.
void run_tile(const Leaves& leaves, const AttentionArgs& args, const TileTask& task) {
  alignas(64) float merged[kMaxQueries * partial_floats(kMaxHeadDim)];
  alignas(64) float scratch[kMaxQueries * partial_floats(kMaxHeadDim)];
  const AttentionTile& tile = task.tile;
  const int dim = args.kv.dim, floats = partial_floats(dim);
  Span any = tile.seen[0];
  for (int i = 1; i < tile.queries; ++i) {
    any = {std::min(any.begin, tile.seen[i].begin), std::max(any.end, tile.seen[i].end)};
  }
  for (int piece = any.begin / kAttentionPiece; piece * kAttentionPiece < any.end; ++piece) {
    float* partials[kMaxQueries];
    const auto is_first = [&](int i) { return piece == tile.seen[i].begin / kAttentionPiece; };
    for (int i = 0; i < tile.queries; ++i) partials[i] = (is_first(i) ? merged : scratch) + i * floats;
    leaves.attend_piece(tile, piece, partials);
    for (int i = 0; i < tile.queries; ++i) {
      const Span seen = tile.seen[i];
      if (is_first(i) || piece * kAttentionPiece < seen.begin || piece * kAttentionPiece >= seen.end)
        continue;
      leaves.merge_partials(merged + i * floats, scratch + i * floats, dim);
    }
  }
  for (int i = 0; i < tile.queries; ++i) {
    finish(leaves, args, merged + i * floats, task.rows[i], task.heads[i]);
  }
}

// Any step: keys and values first, then the tiles, by whoever is free.
void attend_tiles(const Leaves& leaves, TeamMember& member, const AttentionArgs& args) {
  const int kv_heads = args.kv.kv_heads, group = group_of(args), per_tile = queries_per_tile(group);
  const TeamMember::Range stores = member.share(int64_t{args.sequences.back().row_end} * kv_heads);
  for (int64_t i = stores.begin; i < stores.end; ++i) {
    prepare_and_store(leaves, args, i / kv_heads, static_cast<int>(i % kv_heads));
  }
  member.barrier();
  int64_t count = 0, passed = 0;
  for (const AttentionSequence& sequence : args.sequences) count += tiles_of(args, sequence);
  size_t at = 0;
  member.for_chunks(count, [&](int64_t index) {
    while (index - passed >= tiles_of(args, args.sequences[at]))
      passed += tiles_of(args, args.sequences[at++]);
    const AttentionSequence& sequence = args.sequences[at];
    const auto kv_head = static_cast<int>((index - passed) % kv_heads);
    const int64_t begin = (index - passed) / kv_heads * per_tile;
    const int64_t end = std::min<int64_t>(begin + per_tile, int64_t{rows_of(sequence)} * group);
    TileTask task;
    start_tile(args, sequence, kv_head, task);
    for (int64_t i = begin; i < end; ++i) {
      add_query(leaves, args, sequence, sequence.row_begin + i / group,
                kv_head * group + static_cast<int>(i % group), task);
    }
    run_tile(leaves, args, task);
  });
}

// A step of one row a sequence: sequence r has row r. Its tasks are pieces of contexts, each of one kv head;
// a piece whose pages several neighbours share is one task for all of them, so that it is read once.
class Pieces {
 public:
  explicit Pieces(const AttentionArgs& args) : args_(args) {
    for (const AttentionSequence& sequence : args.sequences) {
      pieces_ = std::max(pieces_, (sequence.context_length + kAttentionPiece - 1) / kAttentionPiece);
    }
    for (Run run = run_from(0, 0); run.begin < run.end; run = after(run)) count_ += tiles_of(run);
    run_ = run_from(0, 0);
  }

  int64_t count() const { return count_ * args_.kv.kv_heads; }
  int pieces() const { return pieces_; }  // of the longest context

  struct Task {
    int piece, begin, end;  // rows
    int kv_head;
  };
  // `index` must not be less than at the last call.
  Task at(int64_t index) {
    const int kv_heads = args_.kv.kv_heads;
    while (index / kv_heads - passed_ >= tiles_of(run_)) {
      passed_ += tiles_of(run_);
      run_ = after(run_);
    }
    const int begin = run_.begin + static_cast<int>(index / kv_heads - passed_) * rows_per_tile();
    return {run_.piece, begin, std::min(begin + rows_per_tile(), run_.end),
            static_cast<int>(index % kv_heads)};
  }

  int pieces_of(int row) const {
    const Span seen = positions_seen(args_, args_.sequences[static_cast<size_t>(row)], row);
    return (seen.end - 1) / kAttentionPiece - seen.begin / kAttentionPiece + 1;
  }

 private:
  // Sequences begin..end - 1 see piece `piece` on the same pages.
  struct Run {
    int piece, begin, end;
  };

  int rows() const { return static_cast<int>(args_.sequences.size()); }
  int rows_per_tile() const { return kMaxQueries / group_of(args_); }
  int64_t tiles_of(Run run) const { return (run.end - run.begin + rows_per_tile() - 1) / rows_per_tile(); }
  Run after(Run run) const { return run_from(run.piece, run.end); }

  bool sees(int row, int piece) const {
    const Span seen = positions_seen(args_, args_.sequences[static_cast<size_t>(row)], row);
    return seen.begin < (piece + 1) * kAttentionPiece && seen.end > piece * kAttentionPiece;
  }
  // Of pieces that are full: the one a sequence writes to is its own.
  bool shares(int row, int next, int piece) const {
    const AttentionSequence& a = args_.sequences[static_cast<size_t>(row)];
    const AttentionSequence& b = args_.sequences[static_cast<size_t>(next)];
    if (std::min(a.context_length, b.context_length) <= (piece + 1) * kAttentionPiece) return false;
    constexpr int kPages = kAttentionPiece / kPagePositions;
    return std::memcmp(a.block_table + piece * kPages, b.block_table + piece * kPages,
                       kPages * sizeof(int32_t)) == 0;
  }
  // The first run from that piece and row on; empty after the last.
  Run run_from(int piece, int row) const {
    for (; piece < pieces_; ++piece, row = 0) {
      while (row < rows() && !sees(row, piece)) ++row;
      if (row == rows()) continue;
      int end = row + 1;
      while (end < rows() && sees(end, piece) && shares(row, end, piece)) ++end;
      return {piece, row, end};
    }
    return {pieces_, 0, 0};
  }

  const AttentionArgs& args_;
  int pieces_ = 0;
  int64_t count_ = 0;
  // Where the last call to at() was, and the tiles of a kv head before it.
  Run run_ = {};
  int64_t passed_ = 0;
};

void merge_row(const Leaves& leaves, const AttentionArgs& args, const Pieces& pieces, int row, int kv_head) {
  const int group = group_of(args), dim = args.kv.dim, floats = partial_floats(dim);
  for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
    float* merged = args.workspace.partials + (int64_t{row} * args.heads + head) * pieces.pieces() * floats;
    for (int piece = 1; piece < pieces.pieces_of(row); ++piece) {
      leaves.merge_partials(merged, merged + piece * floats, dim);
    }
    finish(leaves, args, merged, row, head);
  }
}

// A step of few rows, one a sequence, without waiting for anyone: whoever has a row's last piece also stores
// its key and value, and whoever comes last to a row's pieces merges them.
void attend_pieces(const Leaves& leaves, TeamMember& member, const AttentionArgs& args) {
  const int group = group_of(args), floats = partial_floats(args.kv.dim);
  Pieces pieces(args);
  member.for_chunks(pieces.count(), [&](int64_t index) {
    const Pieces::Task part = pieces.at(index);
    TileTask task;
    start_tile(args, args.sequences[static_cast<size_t>(part.begin)], part.kv_head, task);
    float* partials[kMaxQueries];
    for (int row = part.begin; row < part.end; ++row) {
      const AttentionSequence& sequence = args.sequences[static_cast<size_t>(row)];
      const Span seen = positions_seen(args, sequence, row);
      if ((seen.end - 1) / kAttentionPiece == part.piece) prepare_and_store(leaves, args, row, part.kv_head);
      const int place = part.piece - seen.begin / kAttentionPiece;
      for (int i = 0; i < group; ++i) {
        const int head = part.kv_head * group + i;
        partials[task.tile.queries] =
            args.workspace.partials + ((int64_t{row} * args.heads + head) * pieces.pieces() + place) * floats;
        add_query(leaves, args, sequence, row, head, task);
      }
    }
    leaves.attend_piece(task.tile, part.piece, partials);
    for (int row = part.begin; row < part.end; ++row) {
      int32_t& arrived = args.workspace.arrivals[row * args.kv.kv_heads + part.kv_head];
      const int before = std::atomic_ref(arrived).fetch_add(1, std::memory_order_acq_rel);
      if (before + 1 < pieces.pieces_of(row)) continue;
      arrived = 0;
      merge_row(leaves, args, pieces, row, part.kv_head);
    }
  });
}

bool is_split(const AttentionArgs& args) {
  const auto rows = static_cast<size_t>(args.sequences.back().row_end);
  return rows == args.sequences.size() && rows <= kSplitRows && group_of(args) <= kMaxQueries;
}

// Groups that reach over two heads can only be quantized when both are there.
void quantize_rows(const Leaves& leaves, TeamMember& member, const AttentionArgs& args) {
  const int cols = args.heads * args.kv.dim;
  const TeamMember::Range rows = member.share(args.sequences.back().row_end);
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    leaves.quantize(args.y + row * cols, cols, padded_groups(cols), from_row(args.quantized, row, cols));
  }
}

}  // namespace

size_t attention_partials(int max_rows, int heads, int dim, int max_context) {
  const auto pieces = static_cast<size_t>(round_up(max_context, kAttentionPiece) / kAttentionPiece);
  return static_cast<size_t>(std::min(max_rows, kSplitRows)) * static_cast<size_t>(heads) * pieces *
         static_cast<size_t>(partial_floats(dim));
}

size_t attention_arrivals(int max_rows, int kv_heads) {
  return static_cast<size_t>(std::min(max_rows, kSplitRows)) * static_cast<size_t>(kv_heads);
}

void run_attention(const Leaves& leaves, TeamMember& member, const AttentionArgs& args) {
  assert(args.kv.dim % 16 == 0 && args.kv.dim <= kMaxHeadDim && args.heads % args.kv.kv_heads == 0);
  if (is_split(args)) {
    attend_pieces(leaves, member, args);
  } else {
    attend_tiles(leaves, member, args);
  }
  if (args.quantized.quants == nullptr || heads_are_groups(args)) return;
  member.barrier();
  quantize_rows(leaves, member, args);
}

}  // namespace chorus
