#pragma once

// attend() on int8 pages by dot products of bf16 pairs (AVX512_BF16), two multiply-adds each; included after
// attention-inl.h. Quants of K and V are exact in bf16; queries and weights are rounded to it (9 bits), which
// is less than the quants have lost. Per query the operations are the same in every tile, as there.

#include "kernels/cpu/bf16_terms.h"

namespace chorus {
namespace {

constexpr int kMaxPairs = kMaxHeadDim / 2, kMaxGroups = kMaxHeadDim / kKvGroup;

// What attend() has of a piece, and what the dot products read of the tile's queries.
struct PairState {
  PieceState piece;
  alignas(64) uint32_t queries[kMaxQueries][kMaxPairs];            // two columns each
  float sums[kMaxQueries][kMaxGroups];                             // of a query's columns, as rounded
  alignas(64) uint32_t weights[kMaxQueries][kAttentionPiece / 2];  // two positions each
};

// 16 of a and 16 of b, each int8: lane i has a[i] in its lower half and b[i] in its upper.
__m512i pair_int8(const std::byte* a, const std::byte* b) {
  const __m512i low = _mm512_castps_si512(load_int8(a)), high = _mm512_castps_si512(load_int8(b));
  return _mm512_or_si512(_mm512_srli_epi32(low, 16), high);  // 8 bits fit a bf16: the lower halves are 0
}

Floats dot_pairs(Floats sum, __m512i a, __m512i b) { return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b); }

__m512i broadcast_pair(uint32_t pair) { return _mm512_set1_epi32(static_cast<int32_t>(pair)); }

void prepare_queries(const AttentionTile& tile, PairState& state) {
  const __m512i upper = _mm512_set1_epi32(static_cast<int32_t>(0xFFFF0000u));
  for (int i = 0; i < tile.queries; ++i) {
    for (int g = 0; g * kKvGroup < tile.kv.dim; ++g) {
      const int begin = g * kKvGroup, left = tile.kv.dim - begin;
      __m512i pairs[1];
      split_columns(tile.q[i] + begin, left < kKvGroup ? left : kKvGroup, pairs);
      _mm512_store_si512(state.queries[i] + begin / 2, pairs[0]);
      const Floats even = _mm512_castsi512_ps(_mm512_slli_epi32(pairs[0], 16));
      const Floats odd = _mm512_castsi512_ps(_mm512_and_si512(pairs[0], upper));
      state.sums[i][g] = reduce_add(add(even, odd));
    }
  }
}

// Scores of kQueries queries on kPages pages. Per group of columns the dot products with the quants, times
// their scale, and the middle times the query's sum; between groups the scores are kept in memory.
template <int kQueries, int kPages>
void score_pair_pages(const AttentionTile& tile, int query, int first_page, PairState& state) {
  const Int8Page at = int8_page(tile.kv.dim);
  Floats scores[kQueries][kPages];
  for (int g = 0; g * kKvGroup < tile.kv.dim; ++g) {
    const int begin = g * kKvGroup, end = begin + kKvGroup < tile.kv.dim ? begin + kKvGroup : tile.kv.dim;
    Floats dots[kQueries][kPages];
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
      for (int p = 0; p < kPages; ++p) dots[i][p] = broadcast(0);
    }
    for (int d = begin; d < end; d += 2) {
      __m512i k[kPages];
#pragma GCC unroll 8
      for (int p = 0; p < kPages; ++p) {
        const std::byte* column = state.piece.pages[first_page + p] + d * kPagePositions;
        k[p] = pair_int8(column, column + kPagePositions);
      }
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        const __m512i q = broadcast_pair(state.queries[query + i][d / 2]);
#pragma GCC unroll 8
        for (int p = 0; p < kPages; ++p) dots[i][p] = dot_pairs(dots[i][p], k[p], q);
      }
    }
#pragma GCC unroll 8
    for (int p = 0; p < kPages; ++p) {
      const std::byte* page = state.piece.pages[first_page + p];
      const Floats scale = load_f16(page + at.k_scales + g * 2 * kPagePositions);
      const Floats middle = load_f16(page + at.k_middles + g * 2 * kPagePositions);
#pragma GCC unroll 8
      for (int i = 0; i < kQueries; ++i) {
        const Floats before = g == 0 ? broadcast(0) : scores[i][p];
        const Floats of_quants = fma(dots[i][p], scale, before);
        scores[i][p] = fma(broadcast(state.sums[query + i][g]), middle, of_quants);
      }
    }
  }
  store_scores<kQueries, kPages>(tile, query, first_page, scores, state.piece);
}

template <int kQueries>
void score_pair_queries(const AttentionTile& tile, int query, int count, PairState& state) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) return score_pair_queries<kQueries - 1>(tile, query, count, state);
  }
  constexpr int kPages = vectors_of(kQueries);
  int page = state.piece.first_page;
  for (; page + kPages <= state.piece.last_page; page += kPages) {
    score_pair_pages<kQueries, kPages>(tile, query, page, state);
  }
  for (; page < state.piece.last_page; ++page) score_pair_pages<kQueries, 1>(tile, query, page, state);
}

// Of all lanes of the pages that the query sees a position of: 0 where it does not.
void round_weights(int query, PairState& state) {
  const Span seen = state.piece.seen[query];
  for (int i = seen.begin / kLanes * kLanes; i < seen.end; i += kLanes) {
    const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(load(state.piece.scores[query] + i));
    _mm256_store_si256(reinterpret_cast<__m256i*>(state.weights[query] + i / 2), rounded);
  }
}

// What some queries see of a page: all its positions, which may have the weight 0.
struct PairWeights {
  const std::byte* v;  // the page's
  const uint32_t* weights[kTileQueries] = {};
  float* values[kTileQueries] = {};
};

template <int kQueries, int kVectors>
void add_pair_columns(const PairWeights& of, int dim, int d) {
  Floats sums[kQueries][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) sums[i][c] = load(of.values[i] + d + c * kLanes);
  }
  for (int pair = 0; pair < kPagePositions / 2; ++pair) {
    const std::byte* row = of.v + 2 * pair * dim + d;
    __m512i v[kVectors];
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) v[c] = pair_int8(row + c * kLanes, row + dim + c * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < kQueries; ++i) {
      const __m512i weight = broadcast_pair(of.weights[i][pair]);
#pragma GCC unroll 8
      for (int c = 0; c < kVectors; ++c) sums[i][c] = dot_pairs(sums[i][c], v[c], weight);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kQueries; ++i) {
#pragma GCC unroll 8
    for (int c = 0; c < kVectors; ++c) store(of.values[i] + d + c * kLanes, sums[i][c]);
  }
}

template <int kQueries>
void add_pair_values(const PairWeights& of, int dim, int count) {
  if constexpr (kQueries > 1) {
    if (count < kQueries) return add_pair_values<kQueries - 1>(of, dim, count);
  }
  constexpr int kVectors = vectors_of(kQueries);
  int d = 0;
  for (; d + kVectors * kLanes <= dim; d += kVectors * kLanes) {
    add_pair_columns<kQueries, kVectors>(of, dim, d);
  }
  for (; d < dim; d += kLanes) add_pair_columns<kQueries, 1>(of, dim, d);
}

// Quants that are not seen may be garbage, but are finite: times 0 they add nothing. A page of which a query
// sees nothing has no weights, and is left out.
void add_pair_page(const AttentionTile& tile, int page, const PairState& state, float* const* partials) {
  const int from = page * kPagePositions;
  const auto sees = [&](int query) {
    return query < tile.queries && !clip(state.piece.seen[query], from, kPagePositions).empty();
  };
  PairWeights of = {};
  of.v = state.piece.pages[page] + int8_page(tile.kv.dim).v;
  for (int query = 0; query < tile.queries;) {
    int count = 0;
    for (; count < kTileQueries && sees(query + count); ++count) {
      of.weights[count] = state.weights[query + count] + from / 2;
      of.values[count] = partials[query + count];
    }
    if (count > 0) add_pair_values<kTileQueries>(of, tile.kv.dim, count);
    query += count > 0 ? count : 1;
  }
}

void attend_pairs(const AttentionTile& tile, int piece, float* const* partials) {
  const int dim = tile.kv.dim;
  PairState state;
  open_piece(tile, piece, state.piece);
  prepare_queries(tile, state);
  for (int i = 0; i < tile.queries; i += kTileQueries) {
    score_pair_queries<kTileQueries>(tile, i, tile.queries - i, state);
  }
  for (int i = 0; i < tile.queries; ++i) {
    const Span seen = state.piece.seen[i];
    if (seen.empty()) continue;
    float* weights = state.piece.scores[i];
    weigh(weights, seen, partials[i] + dim);
    const float start = fold_scales(state.piece, dim, weights, seen);
    round_weights(i, state);
    for (int d = 0; d < dim; d += kLanes) store(partials[i] + d, broadcast(start));
  }
  for (int p = state.piece.first_page; p < state.piece.last_page; ++p) {
    add_pair_page(tile, p, state, partials);
  }
}

void attend_piece_by_pairs(const AttentionTile& tile, int piece, float* const* partials) {
  if (tile.kv.type == KvType::kI8) return attend_pairs(tile, piece, partials);
  attend_piece(tile, piece, partials);
}

}  // namespace
}  // namespace chorus
