#include "engine/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>

#include "engine/fake_model.h"
#include "engine/prefix_key.h"

namespace chorus {
namespace {

struct Wanted {
  int prompt = 1, max_tokens = 1;
  std::string adapter = {};  // empty: the base
  int first_token = 0;       // prompts are first_token, first_token + 1, ...
  bool prompt_logprobs = false;
  std::string tenant = {};
};

// Sequences named by letters, and a model that always says 7. A plan reads "a:16 b:1": rows by sequence, in
// the order of the batch.
class Scene {
 public:
  explicit Scene(SchedulerConfig config = {64, 8, 32, 4, 8, 4096}, int pages = 100)
      : blocks(pages), scheduler(config, blocks) {}

  void add(char name, const Wanted& wanted) {
    auto state = std::make_shared<RequestState>();
    state->id = static_cast<uint64_t>(name);
    Request& request = state->request;
    for (int i = 0; i < wanted.prompt; ++i) request.prompt.push_back(wanted.first_token + i);
    if (!wanted.adapter.empty()) request.adapters = {{AdapterBuilder::make(wanted.adapter), 1}};
    request.max_tokens = wanted.max_tokens;
    request.prompt_logprobs = wanted.prompt_logprobs;
    state->prefix_seed = prefix_seed(hash_, "model", wanted.tenant, request.adapters);
    state->adapter_key = adapter_key(hash_, request.adapters);
    auto s = std::make_unique<Sequence>();
    s->owner = state;
    s->tokens = request.prompt;
    for (size_t end = kPagePositions; end <= request.prompt.size(); end += kPagePositions) {
      const Digest previous = s->block_keys.empty() ? state->prefix_seed : s->block_keys.back();
      s->block_keys.push_back(next_block_key(
          hash_, previous, std::span(request.prompt).subspan(end - kPagePositions, kPagePositions)));
    }
    s->arrival = arrivals_++;
    live_[s->arrival] = s.get();
    scheduler.add(std::move(s));
  }

  // Plans and "computes" one step.
  std::string step() {
    std::string text;
    last = scheduler.schedule();
    for (const ScheduledSequence& item : last) {
      if (!text.empty()) text += ' ';
      text += static_cast<char>(item.sequence->owner->id);
      text += ':' + std::to_string(item.rows);
    }
    EXPECT_TRUE(oldest_gets_on());
    for (const ScheduledSequence& item : last) finish_step(item);
    EXPECT_TRUE(blocks.consistent());
    return text;
  }

  std::vector<std::string> steps(int count) {
    std::vector<std::string> plans;
    for (int i = 0; i < count; ++i) plans.push_back(step());
    return plans;
  }

  void remove(Sequence& s, Scheduler::Content content = Scheduler::Content::kKeep) {
    live_.erase(s.arrival);
    scheduler.remove(s, content);
  }

  // Until all have ended; every step must do something.
  void drain() {
    for (int i = 0; !idle(); ++i) {
      ASSERT_NE(step(), "");
      ASSERT_LT(i, 60000);
    }
  }

  bool idle() const { return scheduler.waiting() + scheduler.running() == 0; }

  BlockManager blocks;
  Scheduler scheduler;
  std::span<const ScheduledSequence> last;
  std::string ended;  // names in the order they ended

 private:
  void finish_step(const ScheduledSequence& item) {
    Sequence& s = *item.sequence;
    scheduler.advance(s, item.rows);
    s.scored += item.score_end - item.score_begin;
    if (item.samples) s.tokens.push_back(7);
    if (s.remaining() > 1 || s.generated() < s.request().max_tokens) return;
    ended += static_cast<char>(s.owner->id);
    remove(s);
  }

  // Of those with pages, the first arrival has rows in the plan: so there is progress at every step.
  bool oldest_gets_on() const {
    for (const auto& [arrival, s] : live_) {
      if (s->block_table.empty()) continue;
      return std::any_of(last.begin(), last.end(), [&](const auto& item) { return item.sequence == s; });
    }
    return last.empty();
  }

  std::map<uint64_t, Sequence*> live_;
  Sha256 hash_;
  uint64_t arrivals_ = 0;
};

using Plans = std::vector<std::string>;

TEST(Scheduler, DecodesGoFirstAndWaitForOneChunkAtMost) {
  Scene s;
  s.add('a', {10, 100, "", 0});
  EXPECT_EQ(s.step(), "a:10");
  s.add('b', {100, 100, "", 1000});
  // The chunk is 32 while something decodes, though a step holds 64 rows.
  EXPECT_EQ(s.steps(5), (Plans{"a:1 b:32", "a:1 b:32", "a:1 b:32", "a:1 b:4", "a:1 b:1"}));
}

TEST(Scheduler, APromptAloneTakesTheWholeStep) {
  Scene s;
  s.add('a', {100, 1});
  EXPECT_EQ(s.steps(3), (Plans{"a:64", "a:36", ""}));
}

TEST(Scheduler, PromptsShareTheRowsAndTheOldestTakesTheRest) {
  Scene s;
  s.add('a', {1000, 1, "", 0});
  s.add('b', {10, 1, "", 2000});
  s.add('c', {50, 1, "", 4000});
  EXPECT_EQ(s.step(), "a:22 b:10 c:32");  // what b leaves goes to those behind it
  EXPECT_EQ(s.step(), "a:46 c:18");
}

TEST(Scheduler, ALongPromptDoesNotHoldUpShortOnes) {
  Scene s({64, 8, 32, 2, 8, 4096}, 1000);
  s.add('L', {5000, 1, "", 0});
  s.step();
  for (char name = 'a'; name < 'a' + 6; ++name) s.add(name, {20, 1, "", name * 1000});
  s.steps(6);
  EXPECT_EQ(s.ended, "abcdef");
}

TEST(Scheduler, OnlySoManyPromptsShareAChunk) {
  Scene s({64, 8, 32, 2, 8, 4096}, 1000);
  for (char name = 'a'; name < 'a' + 4; ++name) s.add(name, {100, 1, "", name * 1000});
  EXPECT_EQ(s.step(), "a:32 b:32");
  // Short ones are let in as long as there are rows for them.
  Scene t({64, 8, 32, 2, 8, 4096}, 1000);
  for (char name = 'a'; name < 'a' + 5; ++name) t.add(name, {15, 1, "", name * 1000});
  EXPECT_EQ(t.step(), "a:13 b:13 c:13 d:13 e:12");
}

TEST(Scheduler, GroupsTakeTurnsWhateverTheFlood) {
  Scene s({64, 1, 32, 4, 8, 4096});
  for (const char name : {'a', 'b', 'c', 'd', 'e'}) s.add(name, {5, 1, "flood", 0});
  EXPECT_EQ(s.steps(2), (Plans{"a:5", "b:5"}));
  s.add('X', {5, 1, "other"});
  s.add('Y', {5, 1, "other"});
  s.add('Z', {5, 1, ""});
  s.steps(6);
  // c's group waited longest; then each group's oldest in turn.
  EXPECT_EQ(s.ended, "abcXZdYe");
}

TEST(Scheduler, TenantsTakeTurnsToo) {
  Scene s({64, 1, 32, 4, 8, 4096});
  for (const char name : {'a', 'b', 'c'}) s.add(name, {5, 1, "", 0});
  s.add('X', {5, 1, "", 0, false, "tenant"});
  s.steps(4);
  EXPECT_EQ(s.ended, "aXbc");
}

// A group that floods without end: somebody else's request waits for one turn.
TEST(Scheduler, AnEndlessFloodStarvesNobody) {
  Scene s({64, 2, 32, 4, 8, 4096});
  for (int i = 0; i < 50; ++i) s.add('f', {20, 10, "flood", i * 100});
  for (int round = 0; round < 20; ++round) {
    s.steps(3);
    s.ended.clear();
    s.add('X', {20, 1, "quiet", round * 100});
    int waited = 0;
    while (s.ended.find('X') == std::string::npos) {
      s.add('f', {20, 10, "flood", 50000 + (round * 100 + waited) * 100});
      s.step();
      ASSERT_LT(++waited, 15);  // two running ones of 11 steps, then its turn
    }
  }
}

TEST(Scheduler, OrdersTheBatchByAdapterBaseFirst) {
  Scene s;
  const char* adapters[] = {"x", "", "y", "x", "", "y"};
  for (int i = 0; i < 6; ++i) s.add(static_cast<char>('a' + i), {1, 50, adapters[i], i * 100});
  const std::string plan = s.steps(2)[1];
  EXPECT_EQ(plan.substr(0, 7), "b:1 e:1");
  EXPECT_TRUE(plan == "b:1 e:1 a:1 d:1 c:1 f:1" || plan == "b:1 e:1 c:1 f:1 a:1 d:1") << plan;
}

TEST(Scheduler, WhoLacksAPagePreemptsTheLatestArrival) {
  Scene s({64, 8, 32, 4, 8, 4096}, 4);  // 64 positions
  s.add('a', {16, 30, "", 0});
  EXPECT_EQ(s.step(), "a:16");
  s.add('b', {15, 40, "", 1000});
  EXPECT_EQ(s.step(), "a:1 b:15");
  for (int i = 0; i < 15; ++i) s.step();  // a has two pages, b two
  EXPECT_EQ(s.blocks.used_pages(), 4);
  EXPECT_EQ(s.step(), "a:1");
  EXPECT_EQ(s.scheduler.preemptions(), 1u);
  EXPECT_EQ(s.blocks.used_pages(), 3);
  EXPECT_EQ(s.scheduler.waiting(), 1);
  // b comes back when a has ended, before those who came later, and finds its first block in the cache.
  s.add('c', {5, 1, "other"});
  for (int i = 0; i < 100 && s.ended != "a"; ++i) s.step();
  EXPECT_EQ(s.step(), "b:15 c:5");
  EXPECT_EQ(s.scheduler.prefix_hit_tokens(), 16u);
}

TEST(Scheduler, TheLatestArrivalPreemptsItself) {
  Scene s({64, 8, 32, 4, 8, 4096}, 3);
  s.add('a', {15, 20, "", 0});
  s.add('b', {15, 20, "", 1000});
  // Position 16 of both needs a page, and there is one.
  EXPECT_EQ(s.steps(3), (Plans{"a:15 b:15", "a:1 b:1", "a:1"}));
  EXPECT_EQ(s.scheduler.preemptions(), 1u);
  s.drain();
  EXPECT_EQ(s.ended, "ab");
}

// b lost its pages; c fits into what is free and its group's turn is due, but b comes first.
TEST(Scheduler, ThePreemptedComeBeforeAnyTurn) {
  Scene s({64, 2, 32, 4, 8, 4096}, 5);
  s.add('a', {16, 30, "x", 0});
  s.add('b', {31, 40, "y", 0});
  s.add('c', {5, 1, "z", 0});
  for (int i = 0; i < 30 && s.scheduler.preemptions() == 0; ++i) s.step();
  EXPECT_EQ(s.blocks.available(), 2);
  EXPECT_EQ(s.step(), "a:1");
  s.drain();
  EXPECT_EQ(s.ended, "acb");
}

TEST(Scheduler, NobodyOvertakesWhoWaitsForPages) {
  Scene s({64, 8, 32, 4, 8, 4096}, 6);
  s.add('a', {30, 4, "", 0});
  s.step();
  s.add('B', {80, 1, "", 1000});
  s.add('c', {5, 1, "", 2000});
  s.add('d', {5, 1, "other"});
  EXPECT_EQ(s.steps(4), (Plans{"a:1", "a:1", "a:1", "B:64"}));
}

TEST(Scheduler, EqualPromptsWaitForTheFirstAndOthersPass) {
  Scene s({40, 8, 32, 4, 8, 4096});
  s.add('a', {64, 1});
  s.add('b', {64, 1});
  s.add('c', {64, 1, "", 500});
  s.add('d', {64, 1, "x"});
  EXPECT_EQ(s.step().size(), std::string("a:14 c:13 d:13").size());
  s.drain();
  EXPECT_EQ(s.scheduler.prefix_hit_tokens(), 48u);
}

TEST(Scheduler, TheLastTokenIsAlwaysComputed) {
  Scene s;
  s.add('a', {32, 1});
  s.step();
  s.add('b', {32, 1});
  s.add('c', {33, 1});
  EXPECT_EQ(s.step(), "b:16 c:1");
}

TEST(Scheduler, PromptLogprobsKeepToTheirRows) {
  Scene s;
  s.add('a', {20, 1, "", 0, true});
  s.add('b', {20, 1, "", 100, true});
  s.add('c', {20, 1, "", 200});
  EXPECT_EQ(s.step(), "a:8 c:20");
  EXPECT_EQ(s.last[0].score_begin, 0);
  EXPECT_EQ(s.last[0].score_end, 8);
  EXPECT_FALSE(s.last[0].samples);
  EXPECT_TRUE(s.last[1].samples);
  EXPECT_EQ(s.step(), "a:8");
  EXPECT_EQ(s.step(), "a:4 b:5");
  EXPECT_EQ(s.last[0].score_end, 3);  // the last row is not scored but sampled from
  EXPECT_TRUE(s.last[0].samples);
}

TEST(Scheduler, RemovedSequencesFreeTheirPagesAtOnce) {
  Scene s;
  s.add('a', {60, 10});
  s.add('b', {60, 10, "", 1000});
  s.steps(2);
  EXPECT_NE(s.scheduler.find('a'), nullptr);
  s.remove(*s.scheduler.find('a'));
  EXPECT_EQ(s.scheduler.find('a'), nullptr);
  EXPECT_EQ(s.blocks.used_pages(), 4);
  s.remove(*s.scheduler.find('b'), Scheduler::Content::kDistrust);
  EXPECT_EQ(s.blocks.used_pages(), 0);
  EXPECT_LE(s.blocks.cached_pages(), 3);  // a's full blocks only
}

// Random operations: the books balance at every step, whoever runs longest gets on at every step, and all
// come to an end.
TEST(Scheduler, RandomOperationsKeepTheInvariants) {
  for (uint32_t seed = 0; seed < 30; ++seed) {
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<uint32_t>(n)); };
    const SchedulerConfig config = {9 + below(60), 1 + below(8), 1 + below(30),
                                    1 + below(4),  1 + below(9), 4096};
    Scene s(config, 8 + below(40));
    for (int step = 0; step < 600; ++step) {
      for (int i = below(3); i > 0 && step < 400; --i) {
        const std::string adapters[] = {"", "x", "y", "z"};
        s.add(static_cast<char>('a' + below(26)),
              {1 + below(90), 1 + below(38), adapters[below(4)], below(4) * 100, below(6) == 0, ""});
      }
      if (below(10) == 0) {
        Sequence* victim = s.scheduler.find(static_cast<uint64_t>('a' + below(26)));
        if (victim != nullptr) s.remove(*victim, Scheduler::Content::kDistrust);
      }
      const bool busy = !s.idle();
      ASSERT_EQ(s.step().empty(), !busy);
      int rows = 0, scores = 0;
      for (const ScheduledSequence& item : s.last) {
        rows += item.rows;
        scores += item.score_end - item.score_begin;
      }
      ASSERT_LE(rows, config.max_rows);
      ASSERT_LE(scores, config.max_prompt_logprob_rows);
      ASSERT_LE(static_cast<int>(s.last.size()), config.max_sequences);
    }
    s.drain();
    EXPECT_EQ(s.blocks.used_pages(), 0);
  }
}

}  // namespace
}  // namespace chorus
