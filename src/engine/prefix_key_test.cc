#include "engine/prefix_key.h"

#include <gtest/gtest.h>

#include <set>

#include "engine/fake_model.h"

namespace chorus {
namespace {

TEST(PrefixKey, EveryFieldCountsAndFieldsDoNotRunTogether) {
  Sha256 hash;
  const AdapterHandle a = fake_adapter("a"), b = fake_adapter("b"), ab = fake_adapter("ab");
  const std::vector<std::vector<AdapterUse>> sets = {
      {}, {{a, 1}}, {{a, 0.5f}}, {{b, 1}}, {{ab, 1}}, {{a, 1}, {b, 1}}, {{b, 1}, {a, 1}}, {{a, 1}, {a, 1}}};
  std::set<Digest> seeds, keys;
  for (const auto& adapters : sets) {
    for (const auto& [model, tenant] : {std::pair("m", "t"), {"mt", ""}, {"", "mt"}, {"m", "u"}})
      seeds.insert(prefix_seed(hash, model, tenant, adapters));
    keys.insert(adapter_key(hash, adapters));
  }
  EXPECT_EQ(seeds.size(), sets.size() * 4);
  EXPECT_EQ(keys.size(), sets.size());
  EXPECT_EQ(adapter_key(hash, {}), Digest{});
}

TEST(PrefixKey, SameContentInAnotherObjectIsTheSame) {
  Sha256 hash;
  const std::vector<AdapterUse> one = {{fake_adapter("a"), 1}}, two = {{fake_adapter("a"), 1}};
  EXPECT_EQ(prefix_seed(hash, "m", "", one), prefix_seed(hash, "m", "", two));
}

TEST(PrefixKey, FormsOfAnAdapterDiffer) {
  Sha256 hash;
  const auto adapter = [](AdapterForm form) {
    return std::make_shared<Adapter>("a", form, std::vector<LoraMatrices>(1), Buffer<std::byte>());
  };
  const std::vector<AdapterUse> exact = {{adapter(AdapterForm::kExact), 1}};
  const std::vector<AdapterUse> int8 = {{adapter(AdapterForm::kInt8), 1}};
  EXPECT_NE(prefix_seed(hash, "m", "", exact), prefix_seed(hash, "m", "", int8));
  EXPECT_NE(adapter_key(hash, exact), adapter_key(hash, int8));
}

TEST(PrefixKey, ABlockDependsOnAllBeforeIt) {
  Sha256 hash;
  const std::vector<int32_t> tokens(kPagePositions, 3);
  const Digest first = next_block_key(hash, Digest{}, tokens);
  EXPECT_EQ(first, next_block_key(hash, Digest{}, tokens));
  EXPECT_NE(first, next_block_key(hash, first, tokens));
}

}  // namespace
}  // namespace chorus
