#pragma once

// One piece of attention for the queries of a tile; included after elementwise-inl.h.
//
// Per query the operations are the same in every tile: scores over d in order; the piece's largest score;
// weights and their sum in 16 lanes; values over positions in order. Which other queries share the pages
// changes only what is loaded once, and how many pages or columns go side by side only what waits for what.

#include "kernels/cpu/elementwise-inl.h"

namespace chorus {
namespace {

constexpr int kPiecePages = kAttentionPiece / kPagePositions;

// Vectors of 16 positions, or of 16 columns, at once: enough sums to hide the latency of a multiply-add.
constexpr int vectors_of(int queries) {
  const int vectors = kQuerySums / queries;
  return vectors >= 8 ? 8 : vectors >= 4 ? 4 : vectors >= 2 ? 2 : 1;
}

// The part of `span` that lies in from..from + length - 1, counted from there.
Span clip(Span span, int from, int length) {
  const int begin = span.begin - from, end = span.end - from;
  return {begin > 0 ? begin : 0, end < length ? end : length};
}

// What a tile's queries make of a piece; positions are counted from its first.
struct PieceState {
  alignas(64) float scores[kMaxQueries][kAttentionPiece];  // then the weights
  Span seen[kMaxQueries];
  const std::byte* pages[kPiecePages];
  int first_page, last_page;  // those that any query sees: first..last - 1
};

template <KvType kType>
struct Elements {
  static constexpr int kBytes = kType == KvType::kF32 ? 4 : kType == KvType::kF16 ? 2 : 1;

  static Floats load16(const std::byte* p) {
    if constexpr (kType == KvType::kF32) return load(reinterpret_cast<const float*>(p));
    if constexpr (kType == KvType::kI8) return load_int8(p);
    return load_f16(p);
  }
  static Floats v(const std::byte* page, int dim, int position, int d) {
    return load16(page + ((kPagePositions + position) * dim + d) * kBytes);
  }
};

// K of a page's 16 positions, in the columns of one group.
template <KvType kType>
struct KeyGroup {
  const std::byte* page;
  Floats scale, middle;  // of kI8

  void open(const std::byte* of, const Int8Page& at, int group) {
    page = of;
    if constexpr (kType != KvType::kI8) return;
    scale = load_f16(page + at.k_scales + group * 2 * kPagePositions);
    middle = load_f16(page + at.k_middles + group * 2 * kPagePositions);
  }
  Floats column(int d) const {
    const Floats k = Elements<kType>::load16(page + d * kPagePositions * Elements<kType>::kBytes);
    if constexpr (kType == KvType::kI8) return fma(k, scale, middle);
    return k;
  }
};

template <int kQueries, int kPages>
void store_scores(const AttentionTile& tile, int query, int first_page,
                  const Floats (&sums)[kQueries][kPages], PieceState& state) {
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int p = 0; p < kPages; ++p) {
      Floats score = mul(sums[i][p], broadcast(tile.scale));
      if (tile.soft_cap > 0) score = capped(score, tile.soft_cap);
      store(state.scores[query + i] + (first_page + p) * kPagePositions, score);
    }
  }
}

// Scores of kQueries queries on kPages pages.
template <KvType kType, int kQueries, int kPages>
void score_pages(const AttentionTile& tile, int query, int first_page, PieceState& state) {
  Floats sums[kQueries][kPages];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int p = 0; p < kPages; ++p) sums[i][p] = broadcast(0);
  }
  const Int8Page at = int8_page(tile.kv.dim);
  for (int begin = 0; begin < tile.kv.dim; begin += kKvGroup) {
    KeyGroup<kType> keys[kPages];
#pragma GCC unroll 8
    for (int p = 0; p < kPages; ++p) keys[p].open(state.pages[first_page + p], at, begin / kKvGroup);
    const int end = begin + kKvGroup < tile.kv.dim ? begin + kKvGroup : tile.kv.dim;
    for (int d = begin; d < end; ++d) {
      Floats k[kPages];
#pragma GCC unroll 8
      for (int p = 0; p < kPages; ++p) k[p] = keys[p].column(d);
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        const Floats q = broadcast(tile.q[query + i][d]);
#pragma GCC unroll 8
        for (int p = 0; p < kPages; ++p) sums[i][p] = fma(q, k[p], sums[i][p]);
      }
    }
  }
  store_scores<kQueries, kPages>(tile, query, first_page, sums, state);
}

template <KvType kType, int kQueries>
void score_queries(const AttentionTile& tile, int query, int count, PieceState& state) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) return score_queries<kType, kQueries - 1>(tile, query, count, state);
  }
  constexpr int kPages = vectors_of(kQueries);
  int page = state.first_page;
  for (; page + kPages <= state.last_page; page += kPages) {
    score_pages<kType, kQueries, kPages>(tile, query, page, state);
  }
  for (; page < state.last_page; ++page) score_pages<kType, kQueries, 1>(tile, query, page, state);
}

// What is less beside the largest weight, 1, counts as nothing: its products with scales and values would be
// subnormal, which the processor takes a hundred times as long for.
constexpr float kLeastWeight = 0x1p-100f;

// Scores -> weights exp(score - max) of what is seen, 0 elsewhere; max and sum go to the partial's end.
void weigh(float* scores, Span seen, float* max_and_sum) {
  const Floats none = broadcast(-__builtin_inff());
  Floats largest = none;
  const int begin = seen.begin / kLanes * kLanes;
  for (int i = begin; i < seen.end; i += kLanes) {
    const Span lanes = clip(seen, i, kLanes);
    const Floats score = select_lanes(lanes.begin, lanes.end, load(scores + i), none);
    store(scores + i, score);
    largest = max(largest, score);
  }
  const float top = reduce_max(largest);
  Floats sum = broadcast(0);
  for (int i = begin; i < seen.end; i += kLanes) {
    const Span lanes = clip(seen, i, kLanes);
    const Floats share = exp(sub(load(scores + i), broadcast(top)));
    const Floats weight = select_less(share, broadcast(kLeastWeight), broadcast(0), share);
    const Floats visible = select_lanes(lanes.begin, lanes.end, weight, broadcast(0));
    store(scores + i, visible);
    sum = add(sum, visible);
  }
  max_and_sum[0] = top;
  max_and_sum[1] = reduce_add(sum);
}

// Weights of V's quants from those of V: times the scales. Returns what the middles add to every column.
float fold_scales(const PieceState& state, int dim, float* weights, Span seen) {
  const Int8Page at = int8_page(dim);
  Floats middle = broadcast(0);
  for (int i = seen.begin / kLanes * kLanes; i < seen.end; i += kLanes) {
    const Span lanes = clip(seen, i, kLanes);
    const std::byte* page = state.pages[i / kPagePositions];
    const Floats weight = load(weights + i), none = broadcast(0);
    const Floats middles = select_lanes(lanes.begin, lanes.end, load_f16(page + at.v_middles), none);
    const Floats scales = select_lanes(lanes.begin, lanes.end, load_f16(page + at.v_scales), none);
    middle = fma(weight, middles, middle);
    store(weights + i, mul(weight, scales));
  }
  return reduce_add(middle);
}

// What some queries of a tile see of a page, the same for all.
struct PageWeights {
  const std::byte* page;
  Span positions;
  const float* weights[kTileQueries] = {};
  float* values[kTileQueries] = {};
};

// values += weight * v in the columns d.., for kQueries queries.
template <KvType kType, int kQueries, int kVectors>
void add_columns(const PageWeights& of, int dim, int d) {
  Floats sums[kQueries][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) sums[i][c] = load(of.values[i] + d + c * kLanes);
  }
  for (int position = of.positions.begin; position < of.positions.end; ++position) {
    Floats v[kVectors];
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) v[c] = Elements<kType>::v(of.page, dim, position, d + c * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
      const Floats weight = broadcast(of.weights[i][position]);
#pragma GCC unroll 8
      for (int c = 0; c < kVectors; ++c) sums[i][c] = fma(weight, v[c], sums[i][c]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) store(of.values[i] + d + c * kLanes, sums[i][c]);
  }
}

template <KvType kType, int kQueries>
void add_values(const PageWeights& of, int dim, int count) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) return add_values<kType, kQueries - 1>(of, dim, count);
  }
  constexpr int kVectors = vectors_of(kQueries);
  int d = 0;
  for (; d + kVectors * kLanes <= dim; d += kVectors * kLanes) {
    add_columns<kType, kQueries, kVectors>(of, dim, d);
  }
  for (; d < dim; d += kLanes) add_columns<kType, kQueries, 1>(of, dim, d);
}

// Neighbours that see the same positions of the page go together; where the causal bound or the window cuts
// it, each goes by itself: what is not seen may be garbage and must not be multiplied, not even by 0.
template <KvType kType>
void add_page_values(const AttentionTile& tile, int page, const PieceState& state, float* const* partials) {
  const int from = page * kPagePositions;
  PageWeights of = {};
  of.page = state.pages[page];
  for (int query = 0; query < tile.queries;) {
    of.positions = clip(state.seen[query], from, kPagePositions);
    int count = 0;
    for (; count < kTileQueries && query + count < tile.queries; ++count) {
      const Span other = clip(state.seen[query + count], from, kPagePositions);
      if (other.begin != of.positions.begin || other.end != of.positions.end) break;
      of.weights[count] = state.scores[query + count] + from;
      of.values[count] = partials[query + count];
    }
    if (!of.positions.empty()) add_values<kType, kTileQueries>(of, tile.kv.dim, count);
    query += count;
  }
}

// Finds the piece's pages and what each query sees of it.
void open_piece(const AttentionTile& tile, int piece, PieceState& state) {
  Span any = {kAttentionPiece, 0};
  for (int i = 0; i < tile.queries; ++i) {
    const Span seen = clip(tile.seen[i], piece * kAttentionPiece, kAttentionPiece);
    state.seen[i] = seen;
    if (seen.empty()) continue;
    if (seen.begin < any.begin) any.begin = seen.begin;
    if (seen.end > any.end) any.end = seen.end;
  }
  state.first_page = any.begin / kPagePositions;
  state.last_page = (any.end + kPagePositions - 1) / kPagePositions;
  for (int p = state.first_page; p < state.last_page; ++p) {
    const int64_t page = tile.block_table[piece * kPiecePages + p];
    state.pages[p] = tile.kv.data + (page * tile.kv.kv_heads + tile.kv_head) * tile.page_bytes;
  }
}

template <KvType kType>
void attend(const AttentionTile& tile, int piece, float* const* partials) {
  const int dim = tile.kv.dim;
  PieceState state;
  open_piece(tile, piece, state);
  for (int i = 0; i < tile.queries; i += kTileQueries) {
    score_queries<kType, kTileQueries>(tile, i, tile.queries - i, state);
  }
  for (int i = 0; i < tile.queries; ++i) {
    if (state.seen[i].empty()) continue;
    weigh(state.scores[i], state.seen[i], partials[i] + dim);
    float start = 0;
    if constexpr (kType == KvType::kI8) start = fold_scales(state, dim, state.scores[i], state.seen[i]);
    for (int d = 0; d < dim; d += kLanes) store(partials[i] + d, broadcast(start));
  }
  for (int p = state.first_page; p < state.last_page; ++p) {
    add_page_values<kType>(tile, p, state, partials);
  }
}

void attend_piece(const AttentionTile& tile, int piece, float* const* partials) {
  if (tile.kv.type == KvType::kF32) return attend<KvType::kF32>(tile, piece, partials);
  if (tile.kv.type == KvType::kI8) return attend<KvType::kI8>(tile, piece, partials);
  attend<KvType::kF16>(tile, piece, partials);
}

void merge_partials(float* into, const float* piece, int dim) {
  const Floats into_max = broadcast(into[dim]), piece_max = broadcast(piece[dim]);
  const Floats top = max(into_max, piece_max);
  const Floats keep = exp(sub(into_max, top)), take = exp(sub(piece_max, top));
  for (int d = 0; d < dim; d += kLanes) {
    store(into + d, fma(load(piece + d), take, mul(load(into + d), keep)));
  }
  // Max and sum in lanes 0 and 1 of what lies behind the values.
  const Floats sums = fma(broadcast(piece[dim + 1]), take, mul(broadcast(into[dim + 1]), keep));
  store_n(into + dim, select_lanes(0, 1, top, sums), 2);
}

void finish_partial(const float* partial, int dim, float* y) {
  const Floats inverse = div(broadcast(1), broadcast(partial[dim + 1]));
  for (int d = 0; d < dim; d += kLanes) store(y + d, mul(load(partial + d), inverse));
}

}  // namespace
}  // namespace chorus
