#include "engine/adapter_registry.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "base/error.h"
#include "model/tensor_source.h"

namespace chorus {
namespace {

std::string golden(const std::string& path) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/" + path;
}

template <typename F>
std::string error_of(F&& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseMix, NamesAndScales) {
  const std::vector<MixPart> parts = parse_mix("elf@0.7+villain@-0.3+plain");
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].name, "elf");
  EXPECT_FLOAT_EQ(parts[0].scale, 0.7f);
  EXPECT_FLOAT_EQ(parts[1].scale, -0.3f);
  EXPECT_EQ(parts[2].name, "plain");
  EXPECT_EQ(parts[2].scale, 1);
}

TEST(ParseMix, RefusesWhatIsNoMix) {
  for (const char* text : {"", "+", "a+", "a@", "a@x", "a@1x", "a@nan", "a@1e9", "../a", "a/b", ".a", "a b",
                           "a+a", "a@0.5+a@0.5", "a%2e"}) {
    EXPECT_NE(error_of([&] { parse_mix(text); }), "no error") << text;
  }
  EXPECT_NE(error_of([&] { parse_mix(std::string(65, 'a')); }), "no error");
}

TEST(ParseMix, ANameWithAStepGoesBeforeAScale) {
  const IsAdapter is_adapter = [](std::string_view name) { return name == "elf" || name == "elf@40"; };
  const auto one = [&](const char* text) {
    const std::vector<MixPart> parts = parse_mix(text, is_adapter);
    return fmt::format("{} {}", parts.back().name, parts.back().scale);
  };
  EXPECT_EQ(one("elf@40"), "elf@40 1");
  EXPECT_EQ(one("elf@41"), "elf 41");
  EXPECT_EQ(one("elf@40@0.5"), "elf@40 0.5");
  EXPECT_EQ(one("elf@0.5+elf@40"), "elf@40 1");
  EXPECT_NE(error_of([&] { parse_mix("elf@40+elf@40@0.25", is_adapter); }), "no error");
  EXPECT_NE(error_of([&] { parse_mix("elf@40@0.5"); }), "no error") << "nobody is called so";
}

class Registry : public testing::Test {
 protected:
  const ModelConfig config_ = TensorSource::open(golden("models/llama_tied")).config();
  AdapterRegistry registry_{config_, {"base"}};
  const std::string adapter_ = golden("adapters/all_linear");
};

TEST_F(Registry, LoadsResolvesAndUnloads) {
  registry_.load("a", adapter_);
  registry_.load_flag("b=" + adapter_);
  EXPECT_EQ(registry_.names(), (std::vector<std::string>{"a", "b"}));
  const std::vector<AdapterUse> uses = registry_.resolve("b@0.25+a");
  ASSERT_EQ(uses.size(), 2u);
  EXPECT_FLOAT_EQ(uses[0].scale, 0.25f);
  EXPECT_EQ(uses[0].adapter->id(), uses[1].adapter->id()) << "the same content has the same id";
  EXPECT_TRUE(registry_.resolve("base").empty());
  EXPECT_TRUE(registry_.resolve("").empty());
  EXPECT_TRUE(registry_.unload("a"));
  EXPECT_FALSE(registry_.unload("a"));
  EXPECT_NE(error_of([&] { registry_.resolve("a"); }).find("known: b"), std::string::npos);
  EXPECT_EQ(uses[1].adapter.use_count(), 1) << "what is in use stays";
}

// The form follows the probe; what is found is told.
TEST_F(Registry, TakesInt8WhereItIsCloseEnough) {
  double divergence = 0.9 * kMaxInt8Divergence;
  AdapterRegistry registry(config_, {"base"}, [&](const Adapter& exact, const Adapter& other, int) {
    EXPECT_EQ(exact.form(), AdapterForm::kExact);
    EXPECT_EQ(other.form(), AdapterForm::kInt8);
    return divergence;
  });
  registry.load("near", golden("adapters/rank64"));
  divergence = 1.1 * kMaxInt8Divergence;
  registry.load("far", golden("adapters/rank64"));
  const std::vector<AdapterInfo> infos = registry.infos();
  ASSERT_EQ(infos.size(), 2u);
  EXPECT_EQ(infos[0].name, "far");
  EXPECT_EQ(infos[0].form, AdapterForm::kExact);
  EXPECT_EQ(infos[0].divergence, divergence);
  EXPECT_EQ(infos[1].form, AdapterForm::kInt8);
  EXPECT_LT(infos[1].bytes, infos[0].bytes);
  EXPECT_EQ(registry.find("near")->form(), AdapterForm::kInt8);
}

// The operator's directory may hold links to anywhere.
TEST_F(Registry, LoadsADirectory) {
  namespace fs = std::filesystem;
  const fs::path directory = fs::temp_directory_path() / fmt::format("chorus_registry_{}", getpid());
  fs::create_directory(directory);
  fs::create_symlink(adapter_, directory / "folder");
  fs::create_symlink(golden("adapters/qv.gguf"), directory / "file.gguf");
  fs::create_directory(directory / "nothing");
  registry_.load_directory(directory);
  fs::remove_all(directory);
  EXPECT_EQ(registry_.names(), (std::vector<std::string>{"file", "folder"}));
  EXPECT_NE(error_of([&] { registry_.load_directory(directory); }), "no error");
}

TEST_F(Registry, AFailedLoadLeavesWhatWasThere) {
  registry_.load("a", adapter_);
  const std::string id = registry_.find("a")->id();
  EXPECT_NE(error_of([&] { registry_.load("a", golden("adapters/nothing_here")); }), "no error");
  EXPECT_EQ(registry_.find("a")->id(), id);
  EXPECT_NE(error_of([&] { registry_.load("base", adapter_); }), "no error");
  EXPECT_NE(error_of([&] { registry_.load("../a", adapter_); }), "no error");
  EXPECT_NE(error_of([&] { registry_.load_flag("a"); }), "no error");
}

TEST(BaseWarnings, ALineForEachDifference) {
  const AdapterBase now = {"now", std::string(64, 'a'), std::string(64, 'b')};
  EXPECT_TRUE(base_warnings(now, now).empty());
  EXPECT_TRUE(base_warnings({}, now).empty());
  EXPECT_TRUE(base_warnings(now, {}).empty());
  EXPECT_TRUE(base_warnings({"then", now.id, now.chat_template}, now).empty());
  EXPECT_EQ(base_warnings({"", std::string(64, 'c'), now.chat_template}, now),
            std::vector<std::string>{
                "tuned with base cccccccccccc, used with aaaaaaaaaaaa: its answers may be worse"});
  const std::vector<std::string> both = base_warnings({"", "x\n\x1b[31m", "y"}, now);
  ASSERT_EQ(both.size(), 2u);
  EXPECT_EQ(both[0].find('\n'), std::string::npos);
  EXPECT_NE(both[1].find("chat template y, used with bbbbbbbbbbbb"), std::string::npos);
}

}  // namespace
}  // namespace chorus
