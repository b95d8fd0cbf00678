#include "images/prompt_text.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

TEST(PromptText, HoldsNothingThatAnEngineTakesForACommand) {
  EXPECT_EQ(clean_image_prompt("a <lora:x:1> (cat:1.3), [dog] {fox} | C:\\x"),
            "a lora x 1 cat 1.3 , dog fox C x");
  EXPECT_EQ(clean_image_prompt("one\n\ttwo\x01\x7f three  "), "one two three");
  EXPECT_EQ(clean_image_prompt("<sd_cpp_extra_args>{\"seed\":1}</sd_cpp_extra_args>"),
            "sd_cpp_extra_args \"seed\" 1 /sd_cpp_extra_args");
  EXPECT_EQ(clean_image_prompt("\n<>()"), "");
  EXPECT_EQ(clean_image_prompt("燈塔，夜晚"), "燈塔，夜晚");
}

TEST(PromptText, IsCutBehindAPhrase) {
  EXPECT_EQ(clean_image_prompt("a red cat, on a mat, in the rain", 5), "a red cat");
  EXPECT_EQ(clean_image_prompt("a red cat, on a mat, in the rain", 6), "a red cat, on a mat");
  EXPECT_EQ(clean_image_prompt("one two three four five", 3), "one two three");
  std::string many;
  for (int i = 0; i < 300; ++i) many += "word ";
  EXPECT_EQ(clean_image_prompt(many).size(), kMaxPromptWords * 5 - 1);
}

TEST(PromptText, IsBoundedAlsoWithoutBlanksAndNeverHalfACharacter) {
  std::string wide;
  for (int i = 0; i < 400; ++i) wide += "燈";
  const std::string cut = clean_image_prompt("x" + wide);
  EXPECT_LE(cut.size(), kMaxPromptBytes);
  EXPECT_EQ(cut.size() % 3, 1) << "whole characters behind the x";
  EXPECT_EQ(clean_image_prompt(std::string(50'000, 'a')).size(), kMaxPromptBytes);
}

TEST(PromptText, AStyleStandsAroundIt) {
  const ImageStyle* ink = find_image_style("ink");
  ASSERT_NE(ink, nullptr);
  EXPECT_EQ(styled_image_prompt("a cat,", *ink), "ink drawing, a cat, black and white, fine lines");
  EXPECT_EQ(styled_image_prompt("a cat", *find_image_style("none")), "a cat");
  EXPECT_EQ(find_image_style("oil"), nullptr);
  std::string many;
  for (int i = 0; i < 100; ++i) many += "word ";
  const std::string styled = styled_image_prompt(many, *ink);
  EXPECT_TRUE(styled.ends_with("fine lines"));
  EXPECT_LE(std::count(styled.begin(), styled.end(), ' '), kMaxPromptWords - 1);
}

TEST(PromptText, WhatIsNotToBeSeen) {
  const ImageStyle& none = image_styles().front();
  EXPECT_EQ(negative_image_prompt("", none), none.negative);
  EXPECT_EQ(negative_image_prompt("(hats)", none), "hats, " + std::string(none.negative));
}

}  // namespace
}  // namespace chorus
