// Through chorus.h alone, as a program in C would.
#include "chorus.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "formats/gguf.h"

namespace {

using Texts = std::map<size_t, std::string>;

constexpr uint32_t kVocab = 160;

const std::string kGolden = CHORUS_SOURCE_DIR "/tests/golden/";

constexpr int kLong = 15000;  // tokens: more than are made before a test has stopped them, however late it is

// A golden model with a vocabulary of printable characters, the last of which ends a text, and a long
// context.
std::string write_tiny_model() {
  using chorus::GgufArray;
  constexpr int kPrintable = 94;
  const auto golden = chorus::GgufFile::open(kGolden + "models/llama_tied_q4_0.gguf");
  auto metadata = golden.metadata();
  std::erase_if(metadata, [](const auto& entry) {
    return entry.first.starts_with("tokenizer.") || entry.first == "llama.context_length";
  });
  metadata.emplace_back("llama.context_length", uint32_t{kLong + 1000});
  std::vector<std::string> tokens;
  for (int i = 0; i < static_cast<int>(kVocab); ++i)
    tokens.push_back(i < kPrintable ? std::string(1, static_cast<char>('!' + i)) : fmt::format("<f{}>", i));
  metadata.emplace_back("tokenizer.ggml.model", "gpt2");
  metadata.emplace_back("tokenizer.ggml.pre", "gpt-2");
  metadata.emplace_back("tokenizer.ggml.tokens", GgufArray(tokens));
  metadata.emplace_back("tokenizer.ggml.merges", GgufArray(std::vector<std::string>{}));
  metadata.emplace_back("tokenizer.ggml.eos_token_id", uint32_t{kVocab - 1});
  const std::string path = testing::TempDir() + fmt::format("capi_{}.gguf", getpid());
  chorus::write_gguf(path, metadata, golden.tensors());
  return path;
}

const std::string& tiny_model() {
  struct File {
    std::string path = write_tiny_model();
    ~File() { unlink(path.c_str()); }
  };
  static const File file;
  return file.path;
}

std::string adapter(const char* name) { return kGolden + "adapters/" + name; }

class ChorusTest : public testing::Test {
 protected:
  void SetUp() override {
    chorus_model_options options = CHORUS_MODEL_OPTIONS_INIT;
    options.threads = 2;
    options.kv_bytes = size_t{8} << 20;
    ASSERT_EQ(chorus_open(tiny_model().c_str(), &options, &model, &error), CHORUS_OK) << error.message;
  }
  void TearDown() override { chorus_close(model); }

  void load(const char* name, const char* folder) {
    ASSERT_EQ(chorus_load_adapter(model, name, adapter(folder).c_str(), &error), CHORUS_OK) << error.message;
  }

  static chorus_voice voice(const char* use, uint64_t seed = 1) {
    chorus_voice made = CHORUS_VOICE_INIT;
    made.use = use;
    made.prompt = "abc";
    made.raw = 1;
    made.max_tokens = 24;
    made.seed = seed;
    return made;
  }

  // Of the likeliest tokens, among which the end of the text is not.
  static chorus_voice long_voice() {
    chorus_voice made = voice("");
    made.temperature = 0;
    made.max_tokens = kLong;
    return made;
  }

  // What the voices say, by DONE, which must be what TEXT said.
  Texts run(const std::vector<chorus_voice>& voices) {
    struct Heard {
      Texts pieces, done;
    } heard;
    const auto hear = [](void* user, const chorus_event* event) {
      auto& to = *static_cast<Heard*>(user);
      EXPECT_EQ(std::strlen(event->text), event->text_bytes);
      if (event->kind == CHORUS_EVENT_TEXT)
        to.pieces[event->voice] += event->text;
      else
        to.done[event->voice] = event->text;
      return 0;
    };
    EXPECT_EQ(chorus_run(model, voices.data(), voices.size(), hear, &heard, &error), CHORUS_OK)
        << error.message;
    for (const auto& [index, text] : heard.done) EXPECT_EQ(heard.pieces[index], text);
    return heard.done;
  }

  chorus_model* model = nullptr;
  chorus_error error = CHORUS_ERROR_INIT;
};

TEST_F(ChorusTest, VoicesTogetherSayWhatEachSaysAlone) {
  load("qv", "qv");
  load("all", "all_linear");
  std::vector<chorus_voice> voices;
  for (uint64_t i = 0; i < 8; ++i)
    voices.push_back(voice(std::vector{"", "qv", "all", "qv@0.5+all@0.5"}[i % 4], i / 4));
  const Texts together = run(voices);
  ASSERT_EQ(together.size(), 8);
  for (size_t i = 0; i < voices.size(); ++i) EXPECT_EQ(run({voices[i]}).at(0), together.at(i)) << i;
  EXPECT_NE(together.at(0), together.at(1));
  chorus_stats stats = CHORUS_STATS_INIT;
  ASSERT_EQ(chorus_get_stats(model, &stats, &error), CHORUS_OK);
  EXPECT_GT(stats.rows, stats.steps);
  EXPECT_EQ(stats.running + stats.waiting, 0);
}

TEST_F(ChorusTest, IsPolledWithoutWaiting) {
  const std::vector<chorus_voice> voices{voice(""), voice("", 2)};
  const Texts expected = run(voices);
  chorus_request* request = nullptr;
  ASSERT_EQ(chorus_submit(model, voices.data(), voices.size(), &request, &error), CHORUS_OK);
  Texts done;
  chorus_event event = CHORUS_EVENT_INIT;
  for (int result = 0; result >= 0; result = chorus_next(request, &event, 0)) {
    if (result == 0)
      std::this_thread::yield();
    else if (event.kind == CHORUS_EVENT_DONE)
      done[event.voice] = event.text;
  }
  EXPECT_EQ(done, expected);
  EXPECT_EQ(chorus_next(request, &event, 1000), -1);
  chorus_free(request);
}

TEST_F(ChorusTest, OneVoiceIsCancelled) {
  const std::vector<chorus_voice> voices{voice(""), long_voice()};
  const std::string other = run({voices[0]}).at(0);
  chorus_request* request = nullptr;
  ASSERT_EQ(chorus_submit(model, voices.data(), voices.size(), &request, &error), CHORUS_OK);
  chorus_cancel(request, 1);
  chorus_event event = CHORUS_EVENT_INIT;
  std::map<size_t, chorus_finish> ends;
  while (chorus_next(request, &event, -1) == 1) {
    if (event.kind != CHORUS_EVENT_DONE) continue;
    ends[event.voice] = event.finish;
    if (event.voice == 0) {
      EXPECT_EQ(event.text, other);
    }
  }
  EXPECT_EQ(ends, (std::map<size_t, chorus_finish>{{0, CHORUS_FINISH_LENGTH}, {1, CHORUS_FINISH_CANCELLED}}));
  chorus_free(request);
}

TEST_F(ChorusTest, ACallbackCanEndAll) {
  const chorus_voice long_one = long_voice();
  int done = 0;
  const auto stop = [](void* user, const chorus_event* event) {
    if (event->kind == CHORUS_EVENT_DONE && event->finish == CHORUS_FINISH_CANCELLED)
      ++*static_cast<int*>(user);
    return 1;
  };
  EXPECT_EQ(chorus_run(model, &long_one, 1, stop, &done, &error), CHORUS_OK);
  EXPECT_EQ(done, 1);
}

TEST_F(ChorusTest, ClosingEndsWhatRuns) {
  const chorus_voice long_one = long_voice();
  chorus_request *polled = nullptr, *waited = nullptr;
  ASSERT_EQ(chorus_submit(model, &long_one, 1, &polled, &error), CHORUS_OK);
  ASSERT_EQ(chorus_submit(model, &long_one, 1, &waited, &error), CHORUS_OK);
  std::atomic<chorus_finish> end{CHORUS_FINISH_NONE};
  std::thread waiter([&] {
    chorus_event event = CHORUS_EVENT_INIT;
    while (chorus_next(waited, &event, -1) == 1) end = event.finish;
  });
  chorus_close(model);
  model = nullptr;
  waiter.join();
  EXPECT_TRUE(end == CHORUS_FINISH_CANCELLED || end == CHORUS_FINISH_LENGTH);
  chorus_event event = CHORUS_EVENT_INIT;
  int events = 0;
  while (chorus_next(polled, &event, 0) == 1) ++events;
  EXPECT_GT(events, 0);
  EXPECT_EQ(event.kind, CHORUS_EVENT_DONE);
  chorus_cancel(polled, CHORUS_ALL);
  chorus_free(polled);
  chorus_free(waited);
}

TEST_F(ChorusTest, AFreedRequestIsHeardOfNoMore) {
  const chorus_voice long_one = long_voice();
  chorus_request* request = nullptr;
  ASSERT_EQ(chorus_submit(model, &long_one, 1, &request, &error), CHORUS_OK);
  chorus_free(request);
  EXPECT_FALSE(run({voice("")}).at(0).empty());
}

TEST_F(ChorusTest, AnAdapterThatIsUnloadedEndsWithWhoSpeaksWithIt) {
  load("qv", "qv");
  const std::string expected = run({voice("qv")}).at(0);
  const chorus_voice one = voice("qv");
  chorus_request* request = nullptr;
  ASSERT_EQ(chorus_submit(model, &one, 1, &request, &error), CHORUS_OK);
  ASSERT_EQ(chorus_unload_adapter(model, "qv", &error), CHORUS_OK);
  chorus_event event = CHORUS_EVENT_INIT;
  while (chorus_next(request, &event, -1) == 1) {
  }
  EXPECT_EQ(event.text, expected);
  chorus_free(request);
  EXPECT_EQ(chorus_submit(model, &one, 1, &request, &error), CHORUS_NOT_FOUND);
  EXPECT_STREQ(error.message, "voices[0]: no adapter qv is loaded");
  EXPECT_EQ(request, nullptr);
  EXPECT_EQ(chorus_unload_adapter(model, "qv", &error), CHORUS_NOT_FOUND);
}

TEST_F(ChorusTest, Adapters) {
  load("b", "qv");
  load("a", "all_linear");
  ASSERT_EQ(chorus_adapter_count(model), 2);
  chorus_adapter told = CHORUS_ADAPTER_INIT;
  ASSERT_EQ(chorus_adapter_at(model, 0, &told, &error), CHORUS_OK);
  EXPECT_STREQ(told.name, "a");
  EXPECT_EQ(std::strlen(told.id), 64);
  EXPECT_GT(told.rank, 0);
  EXPECT_GT(told.bytes, 0);
  EXPECT_EQ(told.struct_size, sizeof(told));
  EXPECT_EQ(chorus_adapter_at(model, 2, &told, &error), CHORUS_NOT_FOUND);
  EXPECT_EQ(chorus_load_adapter(model, "c", "/nowhere", &error), CHORUS_BAD_INPUT);
  EXPECT_NE(std::strstr(error.message, "/nowhere"), nullptr);
  EXPECT_EQ(chorus_load_adapter(model, "no name", adapter("qv").c_str(), &error), CHORUS_BAD_INPUT);
}

TEST_F(ChorusTest, TwoThreadsAndTwoModels) {
  chorus_model* other = nullptr;
  ASSERT_EQ(chorus_open(tiny_model().c_str(), nullptr, &other, &error), CHORUS_OK) << error.message;
  const chorus_voice one = voice("");
  const std::string expected = run({one}).at(0);
  std::vector<std::thread> threads;
  std::atomic<int> equal{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      std::string said;
      const auto hear = [](void* user, const chorus_event* event) {
        if (event->kind == CHORUS_EVENT_DONE) *static_cast<std::string*>(user) = event->text;
        return 0;
      };
      for (int turn = 0; turn < 5; ++turn) {
        EXPECT_EQ(chorus_run(i % 2 == 0 ? model : other, &one, 1, hear, &said, nullptr), CHORUS_OK);
        if (said == expected) ++equal;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(equal, 20);
  chorus_close(other);
}

TEST_F(ChorusTest, StopTextsAndGrammars) {
  chorus_voice stopped = voice("");
  const std::string whole = run({stopped}).at(0);
  ASSERT_GT(whole.size(), 8);
  const std::string stop = whole.substr(4, 2);
  const char* stops[] = {stop.c_str()};
  stopped.stop = stops;
  stopped.stop_count = 1;
  EXPECT_EQ(run({stopped}).at(0), whole.substr(0, whole.find(stop)));
  chorus_voice chosen = voice("");
  chosen.regex = "(ab|cd)e";
  const std::string text = run({chosen}).at(0);
  EXPECT_TRUE(text == "abe" || text == "cde") << text;
}

// A voice, what is wrong with it, and words of the error.
struct Wrong {
  void (*change)(chorus_voice& voice);
  const char* words;
};

const Wrong kWrong[] = {
    {[](chorus_voice& v) { v.prompt = nullptr; }, "prompt or messages"},
    {[](chorus_voice& v) { v.prompt = "\xff"; }, "UTF-8"},
    {[](chorus_voice& v) { v.use = "a@x"; }, "scale"},
    {[](chorus_voice& v) { v.max_tokens = 0; }, "max_tokens"},
    {[](chorus_voice& v) { v.temperature = -1; }, "temperature"},
    {[](chorus_voice& v) { v.top_p = 2; }, "top_p"},
    {[](chorus_voice& v) { v.min_p = -1; }, "min_p"},
    {[](chorus_voice& v) { v.repetition_penalty = 0; }, "repetition_penalty"},
    {[](chorus_voice& v) { v.top_k = -1; }, "top_k"},
    {[](chorus_voice& v) { v.stop_count = 1; }, "stop is NULL"},
    {[](chorus_voice& v) { v.json_schema = "{"; }, "json_schema"},
    {[](chorus_voice& v) { v.regex = v.grammar = "a"; }, "give one"},
    {[](chorus_voice& v) { v.raw = 0; }, "template"},
    {[](chorus_voice& v) { v.struct_size = 8; }, "struct_size"},
};

TEST_F(ChorusTest, VoicesThatCannotBe) {
  for (const Wrong& wrong : kWrong) {
    chorus_voice one = voice("");
    wrong.change(one);
    chorus_request* request = nullptr;
    EXPECT_EQ(chorus_submit(model, &one, 1, &request, &error), CHORUS_BAD_INPUT) << wrong.words;
    EXPECT_NE(std::strstr(error.message, wrong.words), nullptr) << error.message << " / " << wrong.words;
    EXPECT_EQ(std::strncmp(error.message, "voices[0]", 9), 0) << error.message;
    EXPECT_EQ(request, nullptr);
  }
}

TEST_F(ChorusTest, MoreVoicesThanThereIsRoomFor) {
  const std::vector<chorus_voice> many(1000, voice(""));
  chorus_request* request = nullptr;
  EXPECT_EQ(chorus_submit(model, many.data(), many.size(), &request, &error), CHORUS_BAD_INPUT);
  EXPECT_STREQ(error.message, "count is 1000; from 1 to 576");
  std::vector<chorus_request*> waiting;
  chorus_status status = CHORUS_OK;
  for (int i = 0; i < 3 && status == CHORUS_OK; ++i) {
    status = chorus_submit(model, many.data(), 500, &request, &error);
    waiting.push_back(request);
  }
  EXPECT_EQ(status, CHORUS_BUSY) << error.message;
  for (chorus_request* one : waiting) chorus_free(one);
}

TEST(Chorus, NullsAreToldNotFollowed) {
  chorus_error error = CHORUS_ERROR_INIT;
  chorus_model* model = nullptr;
  EXPECT_EQ(chorus_open(nullptr, nullptr, &model, &error), CHORUS_BAD_INPUT);
  EXPECT_STREQ(error.message, "path is NULL");
  EXPECT_EQ(chorus_open("x", nullptr, nullptr, &error), CHORUS_BAD_INPUT);
  EXPECT_EQ(chorus_open("/nowhere.gguf", nullptr, &model, nullptr), CHORUS_BAD_INPUT);
  EXPECT_EQ(chorus_load_adapter(nullptr, "a", "b", &error), CHORUS_BAD_INPUT);
  EXPECT_EQ(chorus_submit(nullptr, nullptr, 0, nullptr, &error), CHORUS_BAD_INPUT);
  EXPECT_EQ(chorus_adapter_count(nullptr), 0);
  EXPECT_EQ(chorus_next(nullptr, nullptr, 0), -2);
  chorus_cancel(nullptr, 0);
  chorus_free(nullptr);
  chorus_close(nullptr);
  EXPECT_STRNE(chorus_version(), "");
}

}  // namespace
