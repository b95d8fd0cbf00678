#include "formats/gguf.h"

#include <chrono>

#include "formats/test_files.h"

namespace chorus {
namespace {

constexpr uint64_t kMax = UINT64_MAX;
enum : uint32_t { kU8 = 0, kU32 = 4, kI32 = 5, kBool = 7, kString = 8, kArray = 9, kU64 = 10 };

Bytes header(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
  return Bytes{"GGUF"}.u32(version).u64(tensors).u64(keys);
}

struct TensorSpec {
  std::string name = "w";
  std::vector<uint64_t> dims = {4};  // innermost first
  uint32_t type = 0;
  uint64_t offset = 0;
};

void add_tensor(Bytes& bytes, const TensorSpec& spec) {
  bytes.str(spec.name).u32(static_cast<uint32_t>(spec.dims.size()));
  for (const uint64_t dim : spec.dims) bytes.u64(dim);
  bytes.u32(spec.type).u64(spec.offset);
}

Bytes with_data(Bytes bytes, size_t size) {
  bytes.text.resize((bytes.text.size() + 31) / 32 * 32 + size, '\1');
  return bytes;
}

Bytes with_tensors(const std::vector<TensorSpec>& specs, size_t data_size) {
  Bytes bytes = header(specs.size(), 0);
  for (const TensorSpec& spec : specs) add_tensor(bytes, spec);
  return with_data(bytes, data_size);
}

Bytes with_alignment(uint32_t type, uint32_t value) {
  return header(0, 1).str("general.alignment").u32(type).u32(value);
}

struct Hostile {
  const char* name;
  Bytes bytes;
  const char* message;  // what the error must say after the file's name
};

std::vector<Hostile> hostile_headers() {
  const std::string nul("a\0b", 3);
  Bytes nested = header(0, 1).str("k").u32(kArray);
  for (int i = 0; i < 1000; ++i) nested.u32(kArray).u64(1);
  return {
      {"magic", Bytes{"GGML"}.u32(3).u64(0).u64(0), "the magic is \"GGML\""},
      {"magic of control bytes", Bytes{"\n\r\x01\x02"}.u32(3).u64(0).u64(0), "\\x0a\\x0d\\x01\\x02"},
      {"version 0", header(0, 0, 0), "version 0"},
      {"version 1", header(0, 0, 1), "version 1"},
      {"version 99", header(0, 0, 99), "version 99"},
      {"version swapped", header(0, 0, 0x03000000), "big-endian"},
      {"four bytes", Bytes{"GGUF"}, "the version takes 4 bytes, but the file has 0 left"},
      {"n_kv 2^32-1", header(0, 0xFFFFFFFF), "kv_count is 4294967295"},
      {"n_kv 2^63", header(0, 1ull << 63), "kv_count is 9223372036854775808"},
      {"n_tensors 2^61", header(1ull << 61, 0), "tensor_count is 2305843009213693952"},
      {"n_tensors -1", header(kMax, 0), "tensor_count is 18446744073709551615"},
      {"key length 2^64-1", header(0, 1).u64(kMax).raw("0123456789"), "metadata key 0: the key takes 184467"},
      {"key length of the file", header(0, 1).u64(40).raw("01234567"), "the key takes 40 bytes"},
      {"empty key", header(0, 1).str("").u32(kU8).u8(1).u8(0), "metadata key 0: the key is empty"},
      {"duplicate key", header(0, 2).str("kk").u32(kU8).u8(1).str("kk").u32(kU8).u8(1),
       "metadata kk: the key occurs twice"},
      {"value type", header(0, 1).str("k").u32(13).u64(0), "metadata k: unknown value type 13"},
      {"array of arrays", nested, "metadata k: an array of arrays"},
      {"array type", header(0, 1).str("k").u32(kArray).u32(77).u64(1).u64(0), "metadata k: unknown type 77"},
      {"array n 2^61", header(0, 1).str("k").u32(kArray).u32(kU64).u64(1ull << 61),
       "metadata k: an array of"},
      {"narrow arrays of 2 MB",
       header(0, 1).str("k").u32(kArray).u32(kU8).u64(2'000'000).raw(std::string(2'000'000, '0')),
       "metadata k: an array of 2000000 elements, but the file's arrays may have only 1048576 more"},
      {"narrow arrays of 2 MB together",
       header(0, 2)
           .str("j")
           .u32(kArray)
           .u32(kU8)
           .u64(1'000'000)
           .raw(std::string(1'000'000, '0'))
           .str("k")
           .u32(kArray)
           .u32(kBool)
           .u64(1'000'000)
           .raw(std::string(1'000'000, '\0')),
       "metadata k: an array of 1000000 elements, but the file's arrays may have only 48576 more"},
      {"array n wraps", header(0, 1).str("k").u32(kArray).u32(kU64).u64((1ull << 61) + 1),
       "metadata k: an array"},
      {"array beyond the file", header(0, 1).str("k").u32(kArray).u32(kU32).u64(3).u64(0),
       "metadata k: the array takes 12 bytes, but the file has 8 left"},
      {"strings beyond the file", header(0, 1).str("k").u32(kArray).u32(kString).u64(1000).u64(0),
       "metadata k: an array of 1000 strings"},
      {"string length in an array", header(0, 1).str("k").u32(kArray).u32(kString).u64(1).u64(kMax),
       "metadata k: a string of the array takes"},
      {"key with NUL", header(0, 1).str(nul).u32(kU8).u8(1), "metadata key 0: the key is empty or holds NUL"},
      {"key of broken UTF-8", header(0, 1).str("\xC3\x28").u32(kU8).u8(1),
       "metadata key 0: the key is empty"},
      {"string with NUL", header(0, 1).str("k").u32(kString).str(nul), "metadata k: the string holds NUL"},
      {"string of broken UTF-8", header(0, 1).str("k").u32(kString).str("\xFF"),
       "metadata k: the string holds"},
      {"bool 2", header(0, 1).str("k").u32(kBool).u8(2), "metadata k: the value 2 is no bool"},
      {"bool 2 in an array", header(0, 1).str("k").u32(kArray).u32(kBool).u64(1).u8(2),
       "metadata k: the element 2"},
      {"u64 above 2^63", header(0, 1).str("k").u32(kU64).u64(1ull << 63), "metadata k: the value 92233"},
      {"alignment 0", with_alignment(kU32, 0), "metadata general.alignment is 0"},
      {"alignment 3", with_alignment(kU32, 3), "metadata general.alignment is 3"},
      {"alignment 2^31", with_alignment(kU32, 1u << 31), "metadata general.alignment is 2147483648"},
      {"alignment INT32", with_alignment(kI32, 32), "metadata general.alignment: its type is 5"},
  };
}

std::vector<Hostile> hostile_tensors() {
  const std::string nul("a\0b", 3);
  const auto dims = [](std::vector<uint64_t> list) { return with_tensors({{.dims = list}}, 64); };
  const uint64_t big = 1ull << 62;  // times 4 bytes wraps to 0
  const Bytes many_dims = header(1, 0).str("w").u32(UINT32_MAX);
  Bytes one_of_two = header(2, 0);
  add_tensor(one_of_two, {});
  return {
      {"duplicate name", with_tensors({{}, {.offset = 32}}, 64), "tensor w: the name occurs twice"},
      {"name with NUL", with_tensors({{.name = nul}}, 64), "tensor 0: the name is empty or holds NUL"},
      {"empty name", with_tensors({{.name = ""}, {.name = "long enough"}}, 64),
       "tensor 0: the name is empty"},
      {"n_dims 0", with_tensors({{.dims = {}}}, 64), "tensor w: n_dims is 0"},
      {"n_dims 5", with_tensors({{.dims = {1, 1, 1, 1, 1}}}, 64), "tensor w: n_dims is 5"},
      {"n_dims 2^32-1", with_data(many_dims, 64), "tensor w: n_dims is 4294967295"},
      {"dim 0", dims({4, 0}), "tensor w: a dimension of the shape is 0"},
      {"dim 0 hides a wrap", dims({big, big, 0}), "tensor w: a dimension of the shape is 0"},
      {"dim -1", dims({kMax}), "tensor w: the product of the shape's dimensions does not fit"},
      {"dim 2^42+1", dims({4, (1ull << 42) + 1}), "tensor w: offset 0 and 70368744177680 bytes end beyond"},
      {"bytes wrap to 0", dims({big}), "tensor w: the product of the shape's dimensions does not fit"},
      {"product wraps to 4", dims({4194305, 4194305, 211106198978564}),
       "tensor w: the product of the shape's"},
      {"sizes whose sum wraps",
       with_tensors({{.dims = {1ull << 61}}, {.name = "v", .dims = {1ull << 61}}}, 64),
       "tensor w: offset 0 and 9223372036854775808 bytes end beyond"},
      {"type Q5_K", with_tensors({{.type = 13}}, 64),
       "tensor w: Q5_K is not supported; F32, F16, BF16, Q4_0"},
      {"type 4, removed", with_tensors({{.type = 4}}, 64), "tensor w: type 4 is not supported"},
      {"type 2^32-1", with_tensors({{.type = UINT32_MAX}}, 64), "tensor w: type 4294967295 is not supported"},
      {"row of 33", with_tensors({{.dims = {33, 32}, .type = 2}}, 4096),
       "tensor w: rows of 33 elements; Q4_0"},
      {"row of 128 in Q4_K", with_tensors({{.dims = {128, 2}, .type = 12}}, 4096),
       "rows of 128 elements; Q4_K"},
      {"offset unaligned", with_tensors({{.offset = 8}}, 64), "tensor w: offset 8 is not a multiple"},
      {"overlap", with_tensors({{.dims = {9}}, {.name = "v", .offset = 32}}, 64),
       "tensor v: its data overlaps"},
      {"same offset", with_tensors({{}, {.name = "v"}}, 64), "its data overlaps that of tensor"},
      {"offset beyond the file", with_tensors({{.offset = 96}}, 64),
       "tensor w: offset 96 and 16 bytes end beyond"},
      {"offset 2^63", with_tensors({{.offset = 1ull << 63}}, 64), "tensor w: offset 9223372036854775808"},
      {"offset that wraps", with_tensors({{.offset = kMax - 31}}, 64),
       "tensor w: offset 18446744073709551584"},
      {"one byte short", with_tensors({{.dims = {16}}}, 63),
       "offset 0 and 64 bytes end beyond the data section's 63"},
      {"no data", with_tensors({{}}, 0), "tensor w: offset 0 and 16 bytes end beyond the data section's 0"},
      {"more tensors than entries", with_data(one_of_two, 64), "tensor 1: the name takes"},
  };
}

TEST(Gguf, RefusesHostileFiles) {
  auto cases = hostile_headers();
  for (Hostile& hostile : hostile_tensors()) cases.push_back(std::move(hostile));
  for (const Hostile& hostile : cases) {
    SCOPED_TRACE(hostile.name);
    const TestFile file(hostile.bytes.text);
    const std::string error = error_of([&] { GgufFile::open(file.path()); });
    EXPECT_TRUE(error.starts_with(file.path() + ": ")) << error;
    EXPECT_NE(error.find(hostile.message), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

Bytes sample() {
  Bytes bytes = header(2, 4);
  bytes.str("general.name").u32(kString).str("n");
  bytes.str("i").u32(kI32).u32(7);
  bytes.str("tokens").u32(kArray).u32(kString).u64(2).str("a").str("\xFF");
  bytes.str("scores").u32(kArray).u32(kU8).u64(2).u8(1).u8(2);
  add_tensor(bytes, {.name = "w", .dims = {32, 2}, .type = 2});
  add_tensor(bytes, {.name = "v", .dims = {3}, .offset = 64});
  return with_data(bytes, 64 + 12);
}

TEST(Gguf, ReadsASmallFile) {
  const TestFile disk(sample().text);
  const auto file = GgufFile::open(disk.path());
  EXPECT_EQ(file.string("general.name"), "n");
  EXPECT_EQ(file.integer("i", 0, 7), 7);
  EXPECT_EQ(file.integer_or("absent", 3, 0, 1), 3);
  EXPECT_EQ(file.number("i"), 7.0);
  EXPECT_EQ(file.strings("tokens"), (std::vector<std::string>{"a", "\xFF"}));
  ASSERT_TRUE(file.find("w"));
  EXPECT_EQ(file.find("w")->shape, (std::vector<uint64_t>{2, 32}));
  EXPECT_EQ(file.find("w")->data.size(), 36u);
  EXPECT_EQ(file.find("v")->data.size(), 12u);
  EXPECT_EQ(file.find("x"), nullptr);
}

TEST(Gguf, TypedReadsNameFileAndKey) {
  const TestFile disk(sample().text);
  const auto file = GgufFile::open(disk.path());
  const auto says = [&](auto action, const std::string& message) {
    EXPECT_EQ(error_of(action), disk.path() + ": metadata " + message);
  };
  says([&] { file.integer("absent", 0, 1); }, "absent is missing");
  says([&] { file.integer("i", 0, 6); }, "i is 7; must be 0 to 6");
  says([&] { file.integer_or("i", 0, 8, 9); }, "i is 7; must be 8 to 9");
  says([&] { file.string("i"); }, "i is the integer 7; must be a string");
  says([&] { file.boolean_or("i", false); }, "i is the integer 7; must be a bool");
  says([&] { file.number("general.name"); }, "general.name is a string; must be a finite number");
  says([&] { file.numbers("scores"); },
       "scores is an array of integers; must be an array of floating-point numbers");
  says([&] { file.strings("scores"); }, "scores is an array of integers; must be an array of strings");
}

TEST(Gguf, EveryTruncationIsRefused) {
  const std::string whole = sample().text;
  const MemoryFile file;
  for (size_t size = 1; size < whole.size(); ++size) {
    file.write(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(error_of([&] { GgufFile::open(file.path()); }).starts_with(file.path())) << size;
  }
}

TEST(Gguf, RandomDamageNeverCrashes) {
  const std::string whole = sample().text;
  const MemoryFile file;
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string damaged = damage(whole, random);
    file.write(damaged);
    try {
      const auto opened = GgufFile::open(file.path());
      for (const FileTensor& tensor : opened.tensors())
        ASSERT_LE(tensor.data.data() + tensor.data.size(), opened.file().bytes().data() + damaged.size());
      ++accepted;
    } catch (const Error& e) {
      ASSERT_TRUE(std::string_view(e.what()).starts_with(file.path())) << e.what();
    }
  }
  EXPECT_GT(accepted, 100);
  EXPECT_LT(accepted, 19'000);
}

TEST(Gguf, ReadsALargeVocabularyQuickly) {
  Bytes bytes = header(0, 1).str("tokens").u32(kArray).u32(kString).u64(128 * 1024);
  for (int i = 0; i < 128 * 1024; ++i) bytes.str(fmt::format("token{}", i));
  const TestFile disk(bytes.text);
  const auto begin = std::chrono::steady_clock::now();
  const auto file = GgufFile::open(disk.path());
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - begin;
  EXPECT_EQ(file.strings("tokens")[131071], "token131071");
  EXPECT_LT(time.count(), 0.5) << "a linear read takes about 0.01 s";
}

TEST(Gguf, WritesWhatItReads) {
  const std::vector<std::pair<std::string, GgufValue>> metadata = {
      {"general.alignment", int64_t{64}},
      {"u32", int64_t{4294967295}},
      {"i32", int64_t{-1}},
      {"i64", INT64_MIN},
      {"f", 0.25},
      {"b", true},
      {"s", std::string("text")},
      {"ai", GgufArray(std::vector<int64_t>{-1, INT64_MAX})},
      {"empty", GgufArray(std::vector<int64_t>{})},
      {"af", GgufArray(std::vector<double>{0.5})},
      {"as", GgufArray(std::vector<std::string>{"", std::string("\xFF\0", 2)})}};
  const std::vector<std::byte> data(34 * 3, std::byte{5});
  const TestFile disk;
  write_gguf(
      disk.path(), metadata,
      {{"a", DType::kQ8_0, {3, 32}, data}, {"b", DType::kF16, {1, 2, 3, 1}, std::span(data).first(12)}});
  const auto file = GgufFile::open(disk.path());
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.find("b")->shape, (std::vector<uint64_t>{1, 2, 3, 1}));
  EXPECT_EQ(file.find("b")->data.data() - file.find("a")->data.data(), 128);
}

TEST(Gguf, TheWriterRefusesWhatTheReaderWould) {
  const TestFile disk("old");
  const std::vector<std::byte> data(16);
  const auto writes = [&](const std::vector<std::pair<std::string, GgufValue>>& metadata,
                          const std::vector<FileTensor>& tensors, const char* message) {
    const std::string error = error_of([&] { write_gguf(disk.path(), metadata, tensors); });
    EXPECT_TRUE(error.starts_with(disk.path() + ": ")) << error;
    EXPECT_NE(error.find(message), std::string::npos) << error;
    EXPECT_EQ(std::filesystem::file_size(disk.path()), 3u);
  };
  writes({{"", true}}, {}, "the key is empty");
  writes({{"k", true}, {"k", true}}, {}, "metadata k: the key occurs twice");
  writes({{"k", 1e300}}, {}, "metadata k: the number 1e+300 does not fit FLOAT32");
  writes({{"k", std::string("\xFF")}}, {}, "metadata k: the string holds");
  writes({{"general.alignment", int64_t{3}}}, {}, "general.alignment must be");
  writes({}, {{"a", DType::kF32, {3}, data}}, "tensor a: 16 bytes of data do not fill the shape");
  writes({}, {{"a", DType::kF32, {}, data}}, "tensor a: n_dims is 0");
  writes({}, {{"a", DType::kF32, {4}, data}, {"a", DType::kF32, {4}, data}},
         "tensor a: the name occurs twice");
}

}  // namespace
}  // namespace chorus
