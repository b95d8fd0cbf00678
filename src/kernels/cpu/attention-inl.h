#pragma once

// One piece of attention for the queries of a tile; included after elementwise-inl.h.
//
// Per query the operations are the same in every tile: scores over d in order; the piece's largest score;
// weights and their sum in 16 lanes; values over positions in order. Which other queries share the pages
// changes only what is loaded once.

#include "kernels/cpu/elementwise-inl.h"

namespace chorus {
namespace {

constexpr int kScoreQueries = 8;  // at once: enough chains to hide the latency of a multiply-add

template <KvType kType>
struct Page {
  static constexpr int kElementBytes = kType == KvType::kF32 ? 4 : 2;
  const std::byte* data;
  int dim;

  static Page of(const AttentionTile& tile, int index) {
    const int64_t page = tile.block_table[index];
    const int64_t elements = int64_t{2} * kPagePositions * tile.kv.dim;
    return {tile.kv.data + (page * tile.kv.kv_heads + tile.kv_head) * elements * kElementBytes, tile.kv.dim};
  }
  Floats load_element(int64_t i) const {
    if constexpr (kType == KvType::kF32) return load(reinterpret_cast<const float*>(data + 4 * i));
    return load_f16(data + 2 * i);
  }
  Floats k(int d) const { return load_element(d * kPagePositions); }  // of the 16 positions
  Floats v(int position, int d) const { return load_element((kPagePositions + position) * dim + d); }
};

// The part of a piece that a query sees: begin..end - 1, counted from the piece's first position.
struct Span {
  int begin, end;
  bool empty() const { return begin >= end; }
};

Span clip(int first, int last, int from, int length) {
  const int begin = first - from, end = last - from + 1;
  return {begin > 0 ? begin : 0, end < length ? end : length};
}

struct PieceState {
  alignas(64) float scores[kMaxQueries][kAttentionPiece];  // then the weights
  Span seen[kMaxQueries];
};

template <KvType kType, int kQueries>
void score_page(const AttentionTile& tile, Page<kType> page, int query, int page_in_piece,
                PieceState& state) {
  Floats sums[kQueries];
  for (Floats& sum : sums) sum = broadcast(0);
  for (int d = 0; d < page.dim; ++d) {
    const Floats k = page.k(d);
    for (int i = 0; i < kQueries; ++i) sums[i] = fma(broadcast(tile.q[query + i][d]), k, sums[i]);
  }
  for (int i = 0; i < kQueries; ++i) {
    Floats score = mul(sums[i], broadcast(tile.scale));
    if (tile.soft_cap > 0) score = capped(score, tile.soft_cap);
    store(state.scores[query + i] + page_in_piece * kPagePositions, score);
  }
}

template <KvType kType, int kQueries>
void score_queries(const AttentionTile& tile, Page<kType> page, int query, int count, int page_in_piece,
                   PieceState& state) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) {
      return score_queries<kType, kQueries - 1>(tile, page, query, count, page_in_piece, state);
    }
  }
  score_page<kType, kQueries>(tile, page, query, page_in_piece, state);
}

// Scores -> weights exp(score - max) of what is seen, 0 elsewhere; max and sum go to the partial's end.
void weigh(float* scores, Span seen, float* max_and_sum) {
  const Floats none = broadcast(-__builtin_inff());
  Floats largest = none;
  const int begin = seen.begin / kLanes * kLanes;
  for (int i = begin; i < seen.end; i += kLanes) {
    const Span lanes = clip(seen.begin, seen.end - 1, i, kLanes);
    const Floats score = select_lanes(lanes.begin, lanes.end, load(scores + i), none);
    store(scores + i, score);
    largest = max(largest, score);
  }
  const float top = reduce_max(largest);
  Floats sum = broadcast(0);
  for (int i = begin; i < seen.end; i += kLanes) {
    const Span lanes = clip(seen.begin, seen.end - 1, i, kLanes);
    const Floats weight = exp(sub(load(scores + i), broadcast(top)));
    const Floats visible = select_lanes(lanes.begin, lanes.end, weight, broadcast(0));
    store(scores + i, visible);
    sum = add(sum, visible);
  }
  max_and_sum[0] = top;
  max_and_sum[1] = reduce_add(sum);
}

// values += weight * v over the page's positions `in_page`, for kQueries queries that see just these.
template <KvType kType, int kQueries>
void add_values(Page<kType> page, Span in_page, const float* const* weights, float* const* values) {
  for (int d = 0; d < page.dim; d += kLanes) {
    Floats sums[kQueries];
    for (int i = 0; i < kQueries; ++i) sums[i] = load(values[i] + d);
    for (int position = in_page.begin; position < in_page.end; ++position) {
      const Floats v = page.v(position, d);
      for (int i = 0; i < kQueries; ++i) sums[i] = fma(broadcast(weights[i][position]), v, sums[i]);
    }
    for (int i = 0; i < kQueries; ++i) store(values[i] + d, sums[i]);
  }
}

template <KvType kType, int kQueries>
void add_values_of(Page<kType> page, Span in_page, int count, const float* const* weights,
                   float* const* values) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) {
      return add_values_of<kType, kQueries - 1>(page, in_page, count, weights, values);
    }
  }
  add_values<kType, kQueries>(page, in_page, weights, values);
}

// Neighbours that see the same positions of the page go together; where the causal bound or the window cuts
// it, each goes by itself: what is not seen may be garbage and must not be multiplied, not even by 0.
template <KvType kType>
void add_page_values(const AttentionTile& tile, Page<kType> page, int page_in_piece, PieceState& state,
                     float* const* partials) {
  const int from = page_in_piece * kPagePositions;
  for (int query = 0; query < tile.queries;) {
    const Span seen = clip(state.seen[query].begin, state.seen[query].end - 1, from, kPagePositions);
    const float* weights[kScoreQueries] = {};
    int count = 0;
    for (; count < kScoreQueries && query + count < tile.queries; ++count) {
      const Span other = state.seen[query + count];
      const Span clipped = clip(other.begin, other.end - 1, from, kPagePositions);
      if (clipped.begin != seen.begin || clipped.end != seen.end) break;
      weights[count] = state.scores[query + count] + from;
    }
    if (!seen.empty()) add_values_of<kType, kScoreQueries>(page, seen, count, weights, partials + query);
    query += count;
  }
}

template <KvType kType>
void attend(const AttentionTile& tile, int piece, float* const* partials) {
  PieceState state;
  Span any = {kAttentionPiece, 0};
  for (int i = 0; i < tile.queries; ++i) {
    Span& seen = state.seen[i];
    seen = clip(tile.first[i], tile.last[i], piece * kAttentionPiece, kAttentionPiece);
    if (seen.empty()) continue;
    if (seen.begin < any.begin) any.begin = seen.begin;
    if (seen.end > any.end) any.end = seen.end;
    for (int d = 0; d < tile.kv.dim; d += kLanes) store(partials[i] + d, broadcast(0));
  }
  constexpr int kPages = kAttentionPiece / kPagePositions;
  const int first_page = any.begin / kPagePositions;
  const int last_page = (any.end + kPagePositions - 1) / kPagePositions;
  for (int p = first_page; p < last_page; ++p) {
    const auto page = Page<kType>::of(tile, piece * kPages + p);
    for (int i = 0; i < tile.queries; i += kScoreQueries) {
      score_queries<kType, kScoreQueries>(tile, page, i, tile.queries - i, p, state);
    }
  }
  for (int i = 0; i < tile.queries; ++i) {
    if (!state.seen[i].empty()) weigh(state.scores[i], state.seen[i], partials[i] + tile.kv.dim);
  }
  for (int p = first_page; p < last_page; ++p) {
    add_page_values(tile, Page<kType>::of(tile, piece * kPages + p), p, state, partials);
  }
}

void attend_piece(const AttentionTile& tile, int piece, float* const* partials) {
  if (tile.kv.type == KvType::kF32) return attend<KvType::kF32>(tile, piece, partials);
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
