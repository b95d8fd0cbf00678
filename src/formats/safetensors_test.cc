#include "formats/safetensors.h"

#include "formats/test_files.h"

namespace chorus {
namespace {

std::string with_header(std::string_view header, size_t data_size) {
  return Bytes{}.str(header).raw(std::string(data_size, '\1')).text;
}

std::string entry(std::string_view name, std::string_view shape, uint64_t begin, uint64_t end,
                  std::string_view dtype = "F32") {
  return fmt::format(R"("{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})", name, dtype, shape, begin,
                     end);
}

struct Hostile {
  const char* name;
  std::string bytes;
  const char* message;
};

std::vector<Hostile> hostile_files() {
  const auto one = [](const std::string& fields) { return with_header("{\"a\":{" + fields + "}}", 16); };
  const auto entries = [](const std::string& list) { return with_header("{" + list + "}", 16); };
  const auto metadata = [](const std::string& value) {
    return with_header("{\"__metadata__\":" + value + "," + entry("a", "[4]", 0, 16) + "}", 16);
  };
  std::string many = "{";
  for (int i = 0; i <= 100'000; ++i) many += (i ? "," : "") + entry(fmt::format("t{}", i), "[0]", 0, 0);
  return {
      {"seven bytes", "1234567", "header length: the file has 7 bytes"},
      {"header length 0", with_header("", 16), "header: must begin with {"},
      {"header length 2^64-1", Bytes{}.u64(UINT64_MAX).raw("{}").text,
       "header length is 18446744073709551615"},
      {"header length > file", Bytes{}.u64(3).raw("{}").text,
       "header length is 3, but the file has 10 bytes"},
      {"header length 101 MB", Bytes{}.u64(101'000'000).raw("{}").text,
       "header length is 101000000; at most"},
      {"not JSON", with_header("{hello}", 0), "header: line 1, column 2: syntax error"},
      {"an array", with_header("[]", 0), "header: must begin with {"},
      {"BOM", with_header("\xEF\xBB\xBF{}", 0), "header: must begin with {"},
      {"trailing bytes", with_header("{} x", 0), "header: line 1, column 4"},
      {"trailing NUL", with_header(std::string("{}\0", 3), 0), "header: line 1, column 3"},
      {"100,001 tensors", with_header(many + "}", 0), "more than 100000 tensors"},
      {"duplicate key", entries(entry("a", "[2]", 0, 8) + "," + entry("a", "[2]", 8, 16)),
       "tensor a: the name occurs twice"},
      {"duplicate field", one(R"("dtype":"F32","dtype":"F16")"), "tensor a: dtype occurs twice"},
      {"duplicate shape", one(R"("shape":[4],"shape":[4])"), "tensor a: shape occurs twice"},
      {"begin > end", entries(entry("a", "[4]", 16, 0)), "tensor a: data_offsets: begin 16 is after end 0"},
      {"negative offset", one(R"("dtype":"F32","shape":[4],"data_offsets":[-16,0])"),
       "tensor a: data_offsets must be an array of two whole"},
      {"offset 1.5", one(R"("dtype":"F32","shape":[4],"data_offsets":[1.5,2])"),
       "tensor a: data_offsets must be"},
      {"one offset", one(R"("dtype":"F32","shape":[4],"data_offsets":[0])"),
       "tensor a: data_offsets must be"},
      {"three offsets", one(R"("dtype":"F32","shape":[4],"data_offsets":[0,16,17])"),
       "tensor a: data_offsets has more than 2 numbers"},
      {"gap", entries(entry("a", "[1]", 0, 4) + "," + entry("b", "[2]", 8, 16)),
       "tensor b: data_offsets begin at 8, but the tensor before ends at 4: a gap"},
      {"gap at the start", entries(entry("a", "[3]", 4, 16)), "tensor a: data_offsets begin at 4"},
      {"gap at the end", entries(entry("a", "[3]", 0, 12)), "the tensors end at byte 12 of the data"},
      {"no tensors but data", with_header("{}", 16), "the tensors end at byte 0 of the data"},
      {"overlap", entries(entry("a", "[3]", 0, 12) + "," + entry("b", "[2]", 8, 16)),
       "tensor b: data_offsets begin at 8, but the tensor before ends at 12: an overlap"},
      {"same span", entries(entry("a", "[4]", 0, 16) + "," + entry("b", "[4]", 0, 16)),
       "data_offsets begin at 0"},
      {"zero-size sharing an offset", entries(entry("a", "[4]", 0, 16) + "," + entry("b", "[0]", 0, 0)),
       "tensor b: a dimension of the shape is 0"},
      {"beyond the file", entries(entry("a", "[5]", 0, 20)),
       "tensor a: data_offsets end at 20, but the file has 16"},
      {"shape != span", entries(entry("a", "[2,3]", 0, 16)),
       "tensor a: data_offsets span 16 bytes, but the shape"},
      {"shape product wraps", entries(entry("a", "[4294967296,4294967296,4]", 0, 16)),
       "tensor a: the product of the shape's dimensions does not fit"},
      {"bytes wrap", entries(entry("a", "[4611686018427387904]", 0, 0)),
       "tensor a: the product of the shape's"},
      {"shape -1", entries(entry("a", "[-1]", 0, 16)), "tensor a: shape must be an array of whole numbers"},
      {"shape is a string", entries(entry("a", "\"4\"", 0, 16)), "tensor a: shape must be an array"},
      {"shape in a shape", entries(entry("a", "[[4]]", 0, 16)), "tensor a: shape must be an array"},
      {"nine dimensions", entries(entry("a", "[1,1,1,1,1,1,1,1,4]", 0, 16)),
       "tensor a: shape has more than 8"},
      {"unknown dtype", entries(entry("a", "[4]", 0, 16, "I32")),
       "tensor a: dtype I32 is not supported; F32"},
      {"quantized dtype", entries(entry("a", "[32]", 0, 16, "Q4_0")),
       "tensor a: dtype Q4_0 is not supported"},
      {"dtype 4", one(R"("dtype":4)"), "tensor a: dtype must be a string"},
      {"no dtype", one(R"("shape":[4],"data_offsets":[0,16])"), "tensor a: dtype is missing"},
      {"no shape", one(R"("dtype":"F32","data_offsets":[0,16])"), "tensor a: shape is missing"},
      {"no offsets", one(R"("dtype":"F32","shape":[4])"), "tensor a: data_offsets is missing"},
      {"unknown field", one(R"("extra":1)"), "tensor a: unknown field \"extra\""},
      {"tensor is null", with_header(R"({"a":null})", 0), "tensor a must be an object"},
      {"empty name", entries(entry("", "[4]", 0, 16)), "a tensor's name is empty"},
      {"name with NUL", entries(entry("a\\u0000b", "[4]", 0, 16)), "a tensor's name is empty or holds NUL"},
      {"metadata of 50 MB", metadata("{\"k\":\"" + std::string(50'000'000, 'x') + "\"}"),
       "__metadata__ is too large"},
      {"metadata not a string", metadata(R"({"k":1})"), "__metadata__: k must be a string"},
      {"metadata nested", metadata(R"({"k":{}})"), "__metadata__: k must be a string"},
      {"metadata null", metadata("null"), "__metadata__ must be an object"},
      {"metadata key twice", metadata(R"({"k":"1","k":"2"})"), "__metadata__: the key \"k\" occurs twice"},
      {"metadata twice", with_header(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "__metadata__ occurs twice"},
      {"nested 10,000 deep", with_header("{\"a\":" + std::string(10'000, '['), 0),
       "tensor a must be an object"},
      {"objects 10,000 deep", one(R"("shape":)" + std::string(10'000, '{')),
       "tensor a: shape must be an array"},
  };
}

TEST(Safetensors, RefusesHostileFiles) {
  for (const Hostile& hostile : hostile_files()) {
    SCOPED_TRACE(hostile.name);
    const TestFile file(hostile.bytes);
    const std::string error = error_of([&] { SafetensorsFile::open(file.path()); });
    EXPECT_TRUE(error.starts_with(file.path() + ": ")) << error;
    EXPECT_NE(error.find(hostile.message), std::string::npos) << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
}

std::string sample() {
  return with_header(R"({"__metadata__":{"format":"pt"},)" + entry("b", "[2,2]", 8, 16, "BF16") + "," +
                         entry("a", "[2]", 0, 8) + "}   ",
                     16);
}

TEST(Safetensors, ReadsInTheOrderOfTheData) {
  const TestFile disk(sample());
  const auto file = SafetensorsFile::open(disk.path());
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.find("b")->shape, (std::vector<uint64_t>{2, 2}));
  EXPECT_EQ(file.find("b")->type, DType::kBF16);
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string whole = sample();
  const MemoryFile file;
  for (size_t size = 1; size < whole.size(); ++size) {
    file.write(std::string_view(whole).substr(0, size));
    EXPECT_TRUE(error_of([&] { SafetensorsFile::open(file.path()); }).starts_with(file.path())) << size;
  }
}

TEST(Safetensors, RandomDamageNeverCrashes) {
  const std::string whole = sample();
  const MemoryFile file;
  std::mt19937 random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string damaged = damage(whole, random);
    file.write(damaged);
    try {
      const auto opened = SafetensorsFile::open(file.path());
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

TEST(Safetensors, WritesWhatItReads) {
  const std::vector<std::byte> data(24, std::byte{7});
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"caf\u00e9", "\"\\\n"}};
  const TestFile disk;
  write_safetensors(disk.path(),
                    {{"z", DType::kF32, {2, 3}, data}, {"a", DType::kF16, {}, std::span(data).first(2)}},
                    metadata);
  const auto file = SafetensorsFile::open(disk.path());
  EXPECT_EQ(file.metadata(), metadata);
  EXPECT_EQ(file.tensors()[0].name, "z");
  EXPECT_EQ(file.find("z")->shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(file.find("a")->data.size(), 2u);
  EXPECT_EQ((file.find("z")->data.data() - file.file().bytes().data()) % 8, 0);
}

TEST(Safetensors, TheWriterRefusesWhatTheReaderWould) {
  const TestFile disk("old");
  const std::vector<std::byte> data(18);
  const auto writes = [&](const std::vector<FileTensor>& tensors,
                          const std::map<std::string, std::string>& metadata, const char* message) {
    const std::string error = error_of([&] { write_safetensors(disk.path(), tensors, metadata); });
    EXPECT_TRUE(error.starts_with(disk.path() + ": ")) << error;
    EXPECT_NE(error.find(message), std::string::npos) << error;
    EXPECT_EQ(std::filesystem::file_size(disk.path()), 3u);
  };
  writes({{"a", DType::kQ4_0, {32}, data}}, {}, "tensor a: dtype Q4_0 is not supported");
  writes({{"a", DType::kF32, {2}, data}}, {}, "tensor a: 18 bytes of data do not fill the shape");
  writes({{"a", DType::kF16, {9}, data}, {"a", DType::kF16, {9}, data}}, {},
         "tensor a: the name occurs twice");
  writes({{"__metadata__", DType::kF16, {9}, data}}, {}, "tensor __metadata__: the name is empty, reserved");
  writes({}, {{"k", "\xFF"}}, "__metadata__: k holds NUL or invalid UTF-8");
  writes({}, {{"k", std::string(2u << 20, 'x')}}, "__metadata__ is too large");
}

}  // namespace
}  // namespace chorus
