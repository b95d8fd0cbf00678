#include "engine/batch_builder.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/fake_model.h"
#include "engine/prefix_key.h"

namespace chorus {
namespace {

std::unique_ptr<Sequence> sequence(std::vector<int32_t> tokens, int computed, std::vector<int32_t> pages,
                                   std::vector<AdapterUse> adapters = {}) {
  auto state = std::make_shared<RequestState>();
  Sha256 hash;
  state->adapter_key = adapter_key(hash, adapters);
  state->request.adapters = std::move(adapters);
  auto s = std::make_unique<Sequence>();
  s->owner = state;
  s->tokens = std::move(tokens);
  s->computed = computed;
  s->block_table = std::move(pages);
  return s;
}

template <typename T>
std::vector<T> list(std::span<const T> span) {
  return {span.begin(), span.end()};
}

// One segment as "id x scale [begin, end)".
std::string text(const LoraSegment& s) {
  return fmt::format("{}x{}[{},{})", s.adapter->id(), s.scale, s.row_begin, s.row_end);
}

TEST(BatchBuilder, RowsOfPrefillAndDecode) {
  BatchBuilder builder({32, 4, 8, 8});
  std::vector<int32_t> tokens(20);
  for (int i = 0; i < 20; ++i) tokens[static_cast<size_t>(i)] = 100 + i;
  const auto prefill = sequence(tokens, 14, {5, 2});  // rows 14..18 cross from page 5 into page 2
  const auto decode = sequence({1, 2, 3}, 2, {9});
  const ScheduledSequence plan[] = {{prefill.get(), 5, 1, 3, false}, {decode.get(), 1, 0, 0, true}};
  const Batch batch = builder.build(plan);
  EXPECT_EQ(list(batch.tokens), (std::vector<int32_t>{114, 115, 116, 117, 118, 3}));
  EXPECT_EQ(list(batch.positions), (std::vector<int32_t>{14, 15, 16, 17, 18, 2}));
  EXPECT_EQ(list(batch.slots), (std::vector<int64_t>{94, 95, 32, 33, 34, 146}));
  EXPECT_EQ(list(batch.logit_rows), (std::vector<int32_t>{1, 2, 5}));
  ASSERT_EQ(batch.sequences.size(), 2u);
  EXPECT_EQ(batch.sequences[0].row_end, 5);
  EXPECT_EQ(batch.sequences[0].context_length, 19);
  EXPECT_EQ(batch.sequences[1].row_begin, 5);
  EXPECT_EQ(batch.sequences[1].context_length, 3);
  EXPECT_EQ(batch.sequences[1].block_table[0], 9);
  EXPECT_TRUE(batch.segments.empty());
}

//   row        0     1     2     3     4     5     6     7
//   sequence   base  a     a     a.5   a+b   a+b   a+b   b+a
TEST(BatchBuilder, SegmentsJoinNeighboursWithTheSameAdaptersAndScales) {
  const AdapterHandle a = AdapterBuilder::make("a"), b = AdapterBuilder::make("b");
  const std::vector<std::vector<AdapterUse>> uses = {
      {}, {{a, 1}}, {{a, 1}}, {{a, 0.5f}}, {{a, 1}, {b, 2}}, {{a, 1}, {b, 2}}, {{b, 2}, {a, 1}}};
  std::vector<std::unique_ptr<Sequence>> sequences;
  std::vector<ScheduledSequence> plan;
  for (const auto& use : uses) {
    sequences.push_back(sequence({1, 2}, 0, {0}, use));
    plan.push_back({sequences.back().get(), sequences.size() == 6 ? 2 : 1, 0, 0, true});
  }
  BatchBuilder builder({8, 7, 16, 8});
  const Batch batch = builder.build(plan);
  std::vector<std::string> texts;
  for (const LoraSegment& s : batch.segments) texts.push_back(text(s));
  EXPECT_EQ(texts, (std::vector<std::string>{"ax1[1,3)", "ax0.5[3,4)", "ax1[4,7)", "bx2[4,7)", "bx2[7,8)",
                                             "ax1[7,8)"}));
}

}  // namespace
}  // namespace chorus
