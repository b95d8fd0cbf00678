#include <algorithm>
#include <cmath>

#include "kernels/kernels_test.h"
#include "kernels/reference.h"

namespace chorus {
namespace {

class AttentionTest : public KernelsTest {};

struct Shape {
  int heads, kv_heads, dim;
  KvType type = KvType::kF16;
  int window = 0;
  float soft_cap = 0;
};

// One sequence of `context` tokens, its pages in random order in a pool whose every other byte is NaN.
struct TestCache {
  Buffer<std::byte> data;
  std::vector<int32_t> block_table;
  std::vector<float> q;
  KvLayer kv;
};

TestCache make_cache(const Kernels& kernels, const Shape& shape, int context, uint32_t seed) {
  TestCache cache;
  const int pages = context / kPagePositions + 3;
  const size_t page_bytes = kv_page_bytes(shape.type, shape.kv_heads, shape.dim);
  cache.data = Buffer<std::byte>(page_bytes * static_cast<size_t>(pages));
  std::memset(cache.data.data(), 0xFF, cache.data.size());  // NaN in f32 and in f16
  cache.kv = {cache.data.data(), shape.type, shape.kv_heads, shape.dim};
  for (int32_t i = 0; i < pages; ++i) cache.block_table.push_back(i);
  std::shuffle(cache.block_table.begin(), cache.block_table.end(), std::mt19937(seed));
  const int width = shape.kv_heads * shape.dim;
  const auto k = random_floats(static_cast<size_t>(context * width), seed + 1);
  const auto v = random_floats(static_cast<size_t>(context * width), seed + 2);
  cache.q = random_floats(static_cast<size_t>(context * shape.heads * shape.dim), seed + 3);
  std::vector<int64_t> slots;
  for (int i = 0; i < context; ++i) {
    slots.push_back(int64_t{cache.block_table[static_cast<size_t>(i / 16)]} * 16 + i % 16);
  }
  run_on_team(2, [&](Stream& stream) {
    kernels.store_kv(stream, {.k = k.data(),
                              .v = v.data(),
                              .kv_stride = width,
                              .slots = slots.data(),
                              .kv = cache.kv,
                              .rows = context});
  });
  return cache;
}

// Rows begin..end - 1 of the sequence, given to the op as one chunk of a prefill.
std::vector<float> attend(const Kernels& kernels, const Shape& shape, const TestCache& cache, int begin,
                          int end, int threads) {
  const auto width = static_cast<size_t>(shape.heads * shape.dim);
  std::vector<float> y(static_cast<size_t>(end - begin) * width, NAN);
  std::vector<float> workspace(attention_workspace(end - begin, shape.heads, shape.dim, end), NAN);
  const AttentionSequence sequence = {0, end - begin, cache.block_table.data(), end};
  run_on_team(threads, [&](Stream& stream) {
    kernels.attention(stream, {.q = cache.q.data() + static_cast<size_t>(begin) * width,
                               .q_stride = static_cast<int64_t>(width),
                               .y = y.data(),
                               .kv = cache.kv,
                               .sequences = {&sequence, 1},
                               .heads = shape.heads,
                               .window = shape.window,
                               .scale = 1 / std::sqrt(static_cast<float>(shape.dim)),
                               .soft_cap = shape.soft_cap,
                               .workspace = workspace.data()});
  });
  return y;
}

constexpr Shape kShapes[] = {
    {3, 3, 32},
    {9, 3, 64},
    {8, 2, 128, KvType::kF16, 40},
    {4, 1, 256, KvType::kF32},
    {4, 4, 80, KvType::kF32, 300},
    {20, 1, 32, KvType::kF16, 0, 5},
    {2, 1, 64, KvType::kF32, 17, 3},
};

TEST_P(AttentionTest, StoresTheSameBytesAsTheReference) {
  for (const Shape& shape : kShapes) {
    const TestCache ours = make_cache(kernels(), shape, 37, 1);
    const TestCache reference = make_cache(kReferenceKernels, shape, 37, 1);
    EXPECT_EQ(std::memcmp(ours.data.data(), reference.data.data(), ours.data.size()), 0);
  }
}

TEST_P(AttentionTest, MatchesTheReference) {
  for (const Shape& shape : kShapes) {
    for (const int context : {1, 16, 45, 256, 300, 700}) {
      const TestCache cache = make_cache(kernels(), shape, context, 1);
      const int begin = std::max(0, context - 20);
      const auto y = attend(kernels(), shape, cache, begin, context, 3);
      const auto expected = attend(kReferenceKernels, shape, cache, begin, context, 2);
      for (size_t i = 0; i < y.size(); ++i) {
        // Weights err by e^x - 1 of the scores' error, some dim * 2^-24 * |q||k|; values are of order 1.
        ASSERT_NEAR(y[i], expected[i], 1e-5) << "dim " << shape.dim << " context " << context << " at " << i;
      }
    }
  }
}

TEST_P(AttentionTest, RowsAreTheSameBitsInAnyChunkAndAnyTeam) {
  const int context = 600;
  for (const Shape& shape : kShapes) {
    const TestCache cache = make_cache(kernels(), shape, context, 1);
    const auto width = static_cast<size_t>(shape.heads * shape.dim);
    const auto whole = attend(kernels(), shape, cache, 0, context, 4);
    for (const int chunk : {1, 7, 64, 100}) {
      const int step = chunk == 1 ? 37 : chunk;
      for (int begin = 0; begin + chunk <= context; begin += step) {
        const auto y = attend(kernels(), shape, cache, begin, begin + chunk, 1 + begin % 4);
        expect_same_bits(y.data(), whole.data() + static_cast<size_t>(begin) * width, y.size(),
                         "attention, dim " + std::to_string(shape.dim) + ", row " + std::to_string(begin));
      }
    }
  }
}

TEST_P(AttentionTest, SequencesOfABatchDoNotTouchEachOther) {
  const Shape shape = kShapes[1];
  const auto width = static_cast<size_t>(shape.heads * shape.dim);
  const int contexts[] = {5, 300, 16, 530};
  // The sequences share one pool: pages of the longest cache, block tables cut from its own.
  const TestCache cache = make_cache(kernels(), shape, 530, 2);
  std::vector<AttentionSequence> sequences;
  std::vector<float> q, expected;
  int row = 0;
  for (const int context : contexts) {
    const int rows = context == 16 ? 4 : 1;
    sequences.push_back({row, row + rows, cache.block_table.data(), context});
    row += rows;
    const auto begin = static_cast<size_t>(context - rows) * width,
               end = static_cast<size_t>(context) * width;
    q.insert(q.end(), cache.q.begin() + static_cast<std::ptrdiff_t>(begin),
             cache.q.begin() + static_cast<std::ptrdiff_t>(end));
    const auto alone = attend(kernels(), shape, cache, context - rows, context, 1);
    expected.insert(expected.end(), alone.begin(), alone.end());
  }
  for (int threads = 1; threads <= 8; ++threads) {
    std::vector<float> y(expected.size(), NAN);
    std::vector<float> workspace(attention_workspace(row, shape.heads, shape.dim, 530), NAN);
    run_on_team(threads, [&](Stream& stream) {
      kernels().attention(stream, {.q = q.data(),
                                   .q_stride = static_cast<int64_t>(width),
                                   .y = y.data(),
                                   .kv = cache.kv,
                                   .sequences = sequences,
                                   .heads = shape.heads,
                                   .scale = 0.125f,
                                   .workspace = workspace.data()});
    });
    expect_same_bits(y.data(), expected.data(), y.size(), "mixed contexts");
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, AttentionTest, testing::ValuesIn(available_kernels()), table_name);

}  // namespace
}  // namespace chorus
