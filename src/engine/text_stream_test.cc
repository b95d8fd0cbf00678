#include "engine/text_stream.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "formats/json.h"

namespace chorus {
namespace {

const Tokenizer& tokenizer() {
  static const Tokenizer tokenizer = [] {
    const std::string path = std::string(CHORUS_SOURCE_DIR) + "/tests/golden/tokenizer/gpt2.json";
    return Tokenizer::from_json(read_json_file(path), json::value(), path);
  }();
  return tokenizer;
}

std::vector<int32_t> tokens_of(std::string_view text) { return tokenizer().encode(text, {}); }

struct Streamed {
  std::vector<std::string> pieces;
  std::string text;
  bool stopped = false;
};

Streamed stream(std::string_view text, std::vector<std::string> stops) {
  TextStream stream(tokenizer(), std::move(stops));
  Streamed result;
  const auto add = [&](const std::string& piece) {
    if (!piece.empty()) result.pieces.push_back(piece);
    result.text += piece;
  };
  for (const int32_t token : tokens_of(text)) add(stream.push(token));
  add(stream.finish());
  result.stopped = stream.stopped();
  return result;
}

TEST(TextStream, GivesTheTextInWholeCharacters) {
  const std::string text =
      "Gr\xC3\xBC\xC3\x9F"
      "e \xE6\xBC\xA2\xE5\xAD\x97 \xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x9A\x80!";
  const Streamed streamed = stream(text, {});
  EXPECT_EQ(streamed.text, text);
  EXPECT_FALSE(streamed.stopped);
  for (const std::string& piece : streamed.pieces) {
    EXPECT_NE(static_cast<unsigned char>(piece[0]) & 0xC0, 0x80) << "begins within a character";
  }
}

TEST(TextStream, StopsBeforeAStopStringThatSpansTokens) {
  const Streamed streamed = stream("one two three STOP four", {"STOP"});
  EXPECT_EQ(streamed.text, "one two three ");
  EXPECT_TRUE(streamed.stopped);
}

TEST(TextStream, TheEarliestOfSeveralStopsWins) {
  EXPECT_EQ(stream("alpha beta gamma", {"gamma", "ta g", "beta"}).text, "alpha ");
}

TEST(TextStream, WhatOnlyBeganLikeAStopIsGivenAtTheEnd) {
  const Streamed streamed = stream("wait ST", {"STOP"});
  EXPECT_EQ(streamed.text, "wait ST");
  EXPECT_FALSE(streamed.stopped);
}

TEST(TextStream, EmptyStopStringsStopNothing) { EXPECT_EQ(stream("some text", {""}).text, "some text"); }

}  // namespace
}  // namespace chorus
