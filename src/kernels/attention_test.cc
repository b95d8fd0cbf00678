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
  bool norms = false;
  int width() const { return heads * dim; }
};

// The q, k and v of a sequence of `context` tokens, and its pages in random order in a pool whose every other
// byte is NaN.
struct TestCache {
  Buffer<std::byte> data;
  std::vector<int32_t> block_table;
  std::vector<int64_t> slots;
  std::vector<float> q, k, v, rope, q_norm, k_norm;
  KvLayer kv;
};

// The op's arguments for the rows begin..end - 1 of the sequence.
AttentionArgs arguments(const Shape& shape, const TestCache& cache, int begin) {
  const int64_t kv_from = int64_t{begin} * shape.kv_heads * shape.dim;
  AttentionArgs args;
  args.q = cache.q.data() + int64_t{begin} * shape.width();
  args.k = cache.k.data() + kv_from;
  args.v = cache.v.data() + kv_from;
  if (shape.norms) {
    args.q_norm = cache.q_norm.data();
    args.k_norm = cache.k_norm.data();
    args.norm_eps = 1e-5f;
  }
  args.rope = cache.rope.data() + int64_t{begin} * shape.dim;
  args.slots = cache.slots.data() + begin;
  args.kv = cache.kv;
  args.heads = shape.heads;
  args.window = shape.window;
  args.scale = 1 / std::sqrt(static_cast<float>(shape.dim));
  args.soft_cap = shape.soft_cap;
  return args;
}

struct TestWorkspace {
  TestWorkspace(int rows, const Shape& shape, int context)
      : partials(attention_partials(rows, shape.heads, shape.dim, context), NAN),
        arrivals(attention_arrivals(rows, shape.kv_heads)) {}
  ~TestWorkspace() { EXPECT_EQ(std::ranges::count(arrivals, 0), std::ssize(arrivals)); }
  AttentionWorkspace view() { return {partials.data(), arrivals.data()}; }
  std::vector<float> partials;
  std::vector<int32_t> arrivals;
};

std::vector<float> run_attention(const Kernels& kernels, const Shape& shape, AttentionArgs args,
                                 std::span<const AttentionSequence> sequences, int threads) {
  const int rows = sequences.back().row_end;
  int context = 0;
  for (const AttentionSequence& sequence : sequences) context = std::max(context, sequence.context_length);
  std::vector<float> y(static_cast<size_t>(rows * shape.width()), NAN);
  TestWorkspace workspace(rows, shape, context);
  args.sequences = sequences;
  args.y = y.data();
  args.workspace = workspace.view();
  run_on_team(threads, [&](Stream& stream) { kernels.attention(stream, args); });
  return y;
}

// Rows begin..end - 1 of the sequence, given to the op as one chunk of a prefill.
std::vector<float> attend(const Kernels& kernels, const Shape& shape, const TestCache& cache, int begin,
                          int end, int threads) {
  const AttentionSequence sequence = {0, end - begin, cache.block_table.data(), end};
  return run_attention(kernels, shape, arguments(shape, cache, begin), {&sequence, 1}, threads);
}

// Angles that differ from row to row and pair to pair; turns = 0: none at all.
std::vector<float> rope_table(int rows, int dim, float turns) {
  std::vector<float> table;
  for (int row = 0; row < rows; ++row) {
    for (int i = 0; i < dim / 2; ++i) {
      const float angle = turns * static_cast<float>(row) / static_cast<float>(i + 1);
      table.push_back(std::cos(angle));
      table.push_back(std::sin(angle));
    }
  }
  return table;
}

// All of the sequence is stored by `kernels`.
TestCache make_cache(const Kernels& kernels, const Shape& shape, int context, uint32_t seed,
                     float turns = 0.7f) {
  TestCache cache;
  const int pages = context / kPagePositions + 3;
  const size_t page_bytes = kv_page_bytes(shape.type, shape.kv_heads, shape.dim);
  cache.data = Buffer<std::byte>(page_bytes * static_cast<size_t>(pages));
  std::memset(cache.data.data(), 0xFF, cache.data.size());  // NaN in f32 and in f16
  cache.kv = {cache.data.data(), shape.type, shape.kv_heads, shape.dim};
  for (int32_t i = 0; i < pages; ++i) cache.block_table.push_back(i);
  std::shuffle(cache.block_table.begin(), cache.block_table.end(), std::mt19937(seed));
  const int width = shape.kv_heads * shape.dim;
  cache.k = random_floats(static_cast<size_t>(context * width), seed + 1);
  cache.v = random_floats(static_cast<size_t>(context * width), seed + 2);
  cache.q = random_floats(static_cast<size_t>(context * shape.width()), seed + 3);
  cache.q_norm = random_floats(static_cast<size_t>(shape.dim), seed + 4);
  cache.k_norm = random_floats(static_cast<size_t>(shape.dim), seed + 5);
  cache.rope = rope_table(context, shape.dim, turns);
  for (int i = 0; i < context; ++i) {
    cache.slots.push_back(int64_t{cache.block_table[static_cast<size_t>(i / 16)]} * 16 + i % 16);
  }
  Shape storing = shape;
  storing.window = 1;
  attend(kernels, storing, cache, 0, context, 2);
  return cache;
}

constexpr Shape kShapes[] = {
    {3, 3, 32},
    {9, 3, 64},
    {8, 2, 128, KvType::kF16, 40},
    {4, 1, 256, KvType::kF32},
    {4, 4, 80, KvType::kF32, 300},
    {20, 1, 32, KvType::kF16, 0, 5},
    {6, 2, 64, KvType::kF16, 0, 0, true},
    {9, 3, 64, KvType::kI8},
    {4, 2, 80, KvType::kI8, 40, 5},
    {2, 1, 64, KvType::kF32, 17, 3},
};

TEST_P(AttentionTest, StoresTheSameBytesAsTheReference) {
  for (const Shape& shape : kShapes) {
    if (shape.norms) continue;  // they may round differently
    const TestCache ours = make_cache(kernels(), shape, 37, 1, 0);
    const TestCache reference = make_cache(kReferenceKernels, shape, 37, 1, 0);
    EXPECT_EQ(std::memcmp(ours.data.data(), reference.data.data(), ours.data.size()), 0);
  }
}

// A page of f32 shows the keys.
TEST_P(AttentionTest, NormalizesAndRotatesKeys) {
  for (const int dim : {16, 32, 64, 80, 128, 256}) {
    const Shape shape = {1, 1, dim, KvType::kF32, 0, 0, true};
    const TestCache cache = make_cache(kernels(), shape, 3, 1);
    const auto* page = reinterpret_cast<const float*>(cache.data.data()) + cache.block_table[0] * 32 * dim;
    for (int row = 0; row < 3; ++row) {
      const float* k = cache.k.data() + row * dim;
      double squares = 0;
      for (int i = 0; i < dim; ++i) squares += double{k[i]} * k[i];
      const double inverse = 1 / std::sqrt(squares / dim + 1e-5);
      for (int i = 0; i < dim / 2; ++i) {
        const int j = i + dim / 2;
        const double a = k[i] * inverse * cache.k_norm[size_t(i)],
                     b = k[j] * inverse * cache.k_norm[size_t(j)];
        const double cos = cache.rope[size_t(row * dim + 2 * i)],
                     sin = cache.rope[size_t(row * dim + 2 * i + 1)];
        EXPECT_NEAR(page[i * 16 + row], a * cos - b * sin, 4e-6);
        EXPECT_NEAR(page[j * 16 + row], b * cos + a * sin, 4e-6);
      }
    }
  }
}

// Weights err by e^x - 1 of the scores' error, some dim * 2^-24 * |q||k|; values are of order 1. "vnnibf16"
// rounds queries and weights to 2^-9 of themselves.
float output_tolerance(const Kernels& kernels, KvType type) {
  return kernels.name == std::string_view("vnnibf16") && type == KvType::kI8 ? 0x1p-7f : 1e-5f;
}

TEST_P(AttentionTest, MatchesTheReference) {
  for (const Shape& shape : kShapes) {
    for (const int context : {1, 16, 45, 256, 300, 700}) {
      const TestCache cache = make_cache(kernels(), shape, context, 1);
      const int begin = std::max(0, context - 20);
      const auto y = attend(kernels(), shape, cache, begin, context, 3);
      const auto expected = attend(kReferenceKernels, shape, cache, begin, context, 2);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], output_tolerance(kernels(), shape.type))
            << "dim " << shape.dim << " context " << context << " at " << i;
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

// Sequences that see the first so many pages of `trunk` and then pages of their own, one row each. What a row
// gets must not depend on whom it shares them with.
TEST_P(AttentionTest, SharedPrefixesDoNotChangeARow) {
  for (const Shape& shape : kShapes) {
    const int contexts[] = {600, 600, 530, 700, 513, 20, 600, 512};
    const int shared_pages[] = {36, 32, 33, 40, 32, 0, 16, 31};
    const TestCache trunk = make_cache(kernels(), shape, 720, 3);
    const int rows = 8, own_pages = 48;
    const size_t page_bytes = kv_page_bytes(shape.type, shape.kv_heads, shape.dim);
    Buffer<std::byte> pool(page_bytes * static_cast<size_t>(48 + own_pages * rows));
    std::memset(pool.data(), 0xFF, pool.size());
    std::memcpy(pool.data(), trunk.data.data(), trunk.data.size());
    TestCache batch;
    batch.kv = trunk.kv;
    batch.kv.data = pool.data();
    batch.q_norm = trunk.q_norm;
    batch.k_norm = trunk.k_norm;
    std::vector<std::vector<int32_t>> tables(rows);
    std::vector<AttentionSequence> sequences;
    std::vector<float> expected;
    const auto append = [](std::vector<float>& to, const std::vector<float>& from, int row, int width) {
      to.insert(to.end(), from.begin() + row * width, from.begin() + (row + 1) * width);
    };
    for (int s = 0; s < rows; ++s) {
      const int last = contexts[s] - 1;
      for (int p = 0; p <= last / 16; ++p) {
        const bool shared = p < shared_pages[s];
        tables[size_t(s)].push_back(shared ? trunk.block_table[size_t(p)] : 48 + s * own_pages + p);
        std::memcpy(pool.data() + page_bytes * size_t(tables[size_t(s)].back()),
                    trunk.data.data() + page_bytes * size_t(trunk.block_table[size_t(p)]), page_bytes);
      }
      sequences.push_back({s, s + 1, tables[size_t(s)].data(), contexts[s]});
      append(batch.q, trunk.q, last, shape.width());
      append(batch.k, trunk.k, last, shape.kv_heads * shape.dim);
      append(batch.v, trunk.v, last, shape.kv_heads * shape.dim);
      append(batch.rope, trunk.rope, last, shape.dim);
      batch.slots.push_back(int64_t{tables[size_t(s)].back()} * 16 + last % 16);
      append(expected, attend(kernels(), shape, trunk, last, contexts[s], 1), 0, shape.width());
    }
    for (const int threads : {1, 3, 8}) {
      const auto y = run_attention(kernels(), shape, arguments(shape, batch, 0), sequences, threads);
      expect_same_bits(y.data(), expected.data(), y.size(),
                       "shared prefixes, dim " + std::to_string(shape.dim));
    }
  }
}

TEST_P(AttentionTest, QuantizesItsOutput) {
  for (const Shape& shape : kShapes) {
    const TestCache cache = make_cache(kernels(), shape, 40, 4);
    for (const int begin : {39, 20}) {  // one row, and a chunk
      const int rows = 40 - begin, cols = shape.width();
      const AttentionSequence sequence = {0, rows, cache.block_table.data(), 40};
      TestQuantized quantized = make_quantized(rows, cols);
      AttentionArgs args = arguments(shape, cache, begin);
      args.quantized = quantized.view();
      const auto y = run_attention(kernels(), shape, args, {&sequence, 1}, 3);
      const TestQuantized expected = quantize_on(kernels(), y, rows, cols);
      EXPECT_EQ(quantized.quants, expected.quants);
      EXPECT_EQ(quantized.scales, expected.scales);
      EXPECT_EQ(quantized.starts, expected.starts);
      EXPECT_EQ(quantized.sums, expected.sums);
    }
  }
}

TEST_P(AttentionTest, SequencesOfABatchDoNotTouchEachOther) {
  const Shape shape = kShapes[1];
  const int contexts[] = {5, 300, 16, 530};
  // The sequences share one pool: pages of the longest cache, block tables cut from its own.
  const TestCache cache = make_cache(kernels(), shape, 530, 2);
  TestCache batch;
  batch.kv = cache.kv;
  std::vector<AttentionSequence> sequences;
  std::vector<float> expected;
  int row = 0;
  const auto append = [](auto& to, const auto& from, int begin, int end, int width) {
    to.insert(to.end(), from.begin() + begin * width, from.begin() + end * width);
  };
  for (const int context : contexts) {
    const int rows = context == 16 ? 4 : 1, begin = context - rows;
    sequences.push_back({row, row + rows, cache.block_table.data(), context});
    row += rows;
    append(batch.q, cache.q, begin, context, shape.width());
    append(batch.k, cache.k, begin, context, shape.kv_heads * shape.dim);
    append(batch.v, cache.v, begin, context, shape.kv_heads * shape.dim);
    append(batch.rope, cache.rope, begin, context, shape.dim);
    append(batch.slots, cache.slots, begin, context, 1);
    const auto alone = attend(kernels(), shape, cache, begin, context, 1);
    expected.insert(expected.end(), alone.begin(), alone.end());
  }
  for (int threads = 1; threads <= 8; ++threads) {
    const auto y = run_attention(kernels(), shape, arguments(shape, batch, 0), sequences, threads);
    expect_same_bits(y.data(), expected.data(), y.size(), "mixed contexts");
  }
}

INSTANTIATE_TEST_SUITE_P(Tables, AttentionTest, testing::ValuesIn(available_kernels()), table_name);

}  // namespace
}  // namespace chorus
