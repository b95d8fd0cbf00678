// Against files of the gguf and safetensors packages (tests/golden/make_formats.py).

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "formats/gguf.h"
#include "formats/quant_blocks.h"
#include "formats/safetensors.h"

namespace chorus {
namespace {

std::string golden(const std::string& name) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/formats/" + name;
}

std::vector<float> floats_of(const FileTensor& tensor) {
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), tensor.data.size());
  return values;
}

bool same_bytes(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

TEST(Golden, EveryTypeDequantizesToTheReferencesBits) {
  const auto quants = GgufFile::open(golden("quants.gguf"));
  const auto expected = SafetensorsFile::open(golden("quants.safetensors"));
  ASSERT_EQ(quants.tensors().size(), 9u);
  for (const FileTensor& tensor : quants.tensors()) {
    EXPECT_EQ(tensor.name, dtype_info(tensor.type).name);
    EXPECT_EQ(tensor.shape, (std::vector<uint64_t>{8, 256}));
    std::vector<float> values(8 * 256);
    dequantize(tensor.type, tensor.data, values);
    const FileTensor* reference = expected.find(tensor.name);
    ASSERT_TRUE(reference) << tensor.name;
    EXPECT_TRUE(same_bytes(std::as_bytes(std::span(values)), reference->data)) << tensor.name;
  }
}

TEST(Golden, QuantizesToTheReferencesBytes) {
  const auto quants = GgufFile::open(golden("quants.gguf"));
  const std::vector<float> values = floats_of(*quants.find("F32"));
  for (const char* name : {"F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q8_0"}) {
    const FileTensor& reference = *quants.find(name);
    std::vector<float> source = values;
    if (reference.type == DType::kF16)  // the script leaves out what F16 cannot hold
      for (float& value : source) value = std::abs(value) > 60000 ? 0 : value;
    std::vector<std::byte> bytes(reference.data.size());
    quantize(reference.type, source, bytes);
    EXPECT_TRUE(same_bytes(bytes, reference.data)) << name;
  }
}

TEST(Golden, ReadsEveryMetadataType) {
  const auto file = GgufFile::open(golden("quants.gguf"));
  const auto integer = [&](const char* key) { return file.integer(key, INT64_MIN, INT64_MAX); };
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.string("general.architecture"), "golden");
  EXPECT_EQ(integer("t.uint8"), 255);
  EXPECT_EQ(integer("t.int8"), -128);
  EXPECT_EQ(integer("t.uint16"), 65535);
  EXPECT_EQ(integer("t.int16"), -32768);
  EXPECT_EQ(integer("t.uint32"), 4294967295);
  EXPECT_EQ(integer("t.int32"), INT32_MIN);
  EXPECT_EQ(integer("t.uint64"), INT64_MAX);
  EXPECT_EQ(integer("t.int64"), INT64_MIN);
  EXPECT_EQ(file.number("t.float32"), 0.5);
  EXPECT_EQ(file.number("t.float64"), 1e300);
  EXPECT_TRUE(file.boolean_or("t.bool", false));
  EXPECT_EQ(file.string("t.string"), "caf\u00e9 \U0001F600");
  EXPECT_EQ(file.integers("t.integers"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file.numbers("t.numbers"), (std::vector<double>{0.5, -1.5}));
  EXPECT_EQ(file.strings("t.strings"), (std::vector<std::string>{"", "a", "\u00e9"}));
  EXPECT_EQ(file.integers("t.bools"), (std::vector<int64_t>{1, 0}));
}

TEST(Golden, ReadsPlainSafetensors) {
  const auto file = SafetensorsFile::open(golden("plain.safetensors"));
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.metadata().at("note"), "caf\u00e9 \"quoted\"");
  EXPECT_EQ(file.find("scalar")->shape, std::vector<uint64_t>());
  EXPECT_EQ(floats_of(*file.find("scalar")), std::vector<float>{2.5f});
  EXPECT_EQ(file.find("f16")->type, DType::kF16);
  EXPECT_EQ(file.find("bf16")->shape, (std::vector<uint64_t>{2, 48}));
  EXPECT_EQ(file.find("f64"), nullptr);
}

// What this writes is compared by `make_formats.py --check <build folder>`.
TEST(Golden, WritesWhatItRead) {
  const std::string folder = CHORUS_BINARY_DIR;
  const auto quants = GgufFile::open(golden("quants.gguf"));
  auto metadata = quants.metadata();
  std::erase_if(metadata,
                [](const auto& entry) { return entry.first == "t.float64"; });  // too large for ours
  write_gguf(folder + "/ours.gguf", metadata, quants.tensors());
  const auto again = GgufFile::open(folder + "/ours.gguf");
  EXPECT_EQ(again.metadata(), metadata);
  ASSERT_EQ(again.tensors().size(), quants.tensors().size());
  for (size_t i = 0; i < again.tensors().size(); ++i) {
    EXPECT_EQ(again.tensors()[i].name, quants.tensors()[i].name);
    EXPECT_EQ(again.tensors()[i].shape, quants.tensors()[i].shape);
    EXPECT_TRUE(same_bytes(again.tensors()[i].data, quants.tensors()[i].data));
  }

  const auto plain = SafetensorsFile::open(golden("plain.safetensors"));
  write_safetensors(folder + "/ours.safetensors", plain.tensors(), plain.metadata());
  const auto plain_again = SafetensorsFile::open(folder + "/ours.safetensors");
  EXPECT_EQ(plain_again.metadata(), plain.metadata());
  for (const FileTensor& tensor : plain.tensors())
    EXPECT_TRUE(same_bytes(plain_again.find(tensor.name)->data, tensor.data)) << tensor.name;
}

}  // namespace
}  // namespace chorus
