#include "train/tune_model.h"

#include <gtest/gtest.h>

#include "formats/test_files.h"

namespace chorus {
namespace {

constexpr int kLayers = 12;

LoraShape shape_of(const std::string& targets, const std::string& layers = "") {
  LoraShape shape;
  set_targets(shape, targets, layers, kLayers);
  return shape;
}

std::vector<std::string> modules_of(const std::string& pattern, const std::string& layers = "") {
  std::vector<std::string> names;
  for (const ModulePlace& module : shape_of(pattern, layers).modules)
    names.push_back(module_name(module.layer, module.target));
  return names;
}

using Names = std::vector<std::string>;

TEST(Targets, ByName) {
  EXPECT_EQ(shape_of("all-linear").targets.size(), static_cast<size_t>(kLayerTargets));
  EXPECT_EQ(shape_of("v_proj,q_proj,v_proj").targets, (std::vector{Target::kQ, Target::kV}));
  EXPECT_EQ(shape_of("lm_head,o_proj").targets, (std::vector{Target::kO, Target::kHead}));
  EXPECT_EQ(shape_of("q_proj", "3-4").layers, (std::vector{3, 4}));
  EXPECT_TRUE(shape_of("q_proj,v_proj").modules.empty());
}

TEST(Targets, ByExpression) {
  EXPECT_EQ(modules_of(R"(model\.layers\.(1|11)\.self_attn\.[qv]_proj)"),
            (Names{"model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
                   "model.layers.11.self_attn.q_proj", "model.layers.11.self_attn.v_proj"}));
  EXPECT_EQ(modules_of(".*down_proj", "0,7"),
            (Names{"model.layers.0.mlp.down_proj", "model.layers.7.mlp.down_proj"}));
  EXPECT_EQ(modules_of(".*").size(), static_cast<size_t>(kLayers * kLayerTargets + 1));
  EXPECT_EQ(modules_of("lm_head|.*q_proj", "5"), (Names{"model.layers.5.self_attn.q_proj", "lm_head"}));
  EXPECT_EQ(modules_of(".*\\.\\d{2}\\..*").size(), static_cast<size_t>(2 * kLayerTargets));
}

// The whole name is matched, not its end or a part.
TEST(Targets, Refusals) {
  for (const char* targets :
       {"qproj", "q_proj,vproj", "", "q_proj,", "self_attn.q_proj", "layers", "model"}) {
    const std::string error = error_of([&] { shape_of(targets); });
    EXPECT_NE(error.find("no linear is called so"), std::string::npos) << error;
    EXPECT_NE(error.find("all-linear"), std::string::npos) << error;
  }
  for (const char* targets : {"(", "[", "*", "(a+)+\\"}) {
    const std::string error = error_of([&] { shape_of(targets); });
    EXPECT_TRUE(error.starts_with("targets \"")) << error;
  }
  EXPECT_NE(error_of([] { shape_of(".*\\.3\\..*", "4"); }), "");
  EXPECT_NE(error_of([] { shape_of("q_proj", "12"); }).find("layers 0-11"), std::string::npos);
}

}  // namespace
}  // namespace chorus
