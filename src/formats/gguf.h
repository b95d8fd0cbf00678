#pragma once

// GGUF v2 and v3, little-endian (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md):
//   "GGUF" | u32 version | u64 tensor_count | u64 kv_count
//   kv_count x { string key | u32 value_type | value }
//   tensor_count x { string name | u32 n_dims | u64 dims[n_dims], innermost first | u32 ggml_type | u64
//   offset } padding to general.alignment (32) | tensor data, each at its offset from here, itself aligned
// with string = u64 length | bytes, and array = u32 element_type | u64 count | elements.

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/mapped_file.h"
#include "formats/file_tensor.h"

namespace chorus {

// An array of metadata keeps its element type: integers of every width are widened to int64 (u64 above
// INT64_MAX is refused), bools are integers 0 and 1, f32 and f64 are doubles. Arrays of arrays are refused.
// Strings are UTF-8 without NUL, except in arrays, whose strings (tokens) may hold any bytes.
using GgufArray = std::variant<std::vector<int64_t>, std::vector<double>, std::vector<std::string>>;
using GgufValue = std::variant<int64_t, double, bool, std::string, GgufArray>;

// A GGUF file whose header has been checked whole: every count, length and offset against the file's size
// before anything is allocated, every tensor's data inside the file, aligned and apart from the others.
class GgufFile {
 public:
  // Errors name the file and the field. Takes time and memory in proportion to the header, not to the data:
  // at most 4 times its bytes (arrays of empty strings) and 32 MiB. At most 65,536 keys, 100,000 tensors, and
  // 16,777,216 elements in all arrays, of which 1,048,576 of 8 or 16 bits.
  static GgufFile open(const std::string& path, MappedFile::Access access = MappedFile::Access::kMap) {
    return open(MappedFile(path, access));
  }
  static GgufFile open(MappedFile file);

  const std::string& path() const { return file_.path(); }
  uint32_t version() const { return version_; }
  const std::vector<FileTensor>& tensors() const { return tensors_; }
  const FileTensor* find(std::string_view tensor_name) const;  // nullptr: none of that name
  const MappedFile& file() const { return file_; }

  // Metadata, in file order.
  const std::vector<std::pair<std::string, GgufValue>>& metadata() const { return metadata_; }
  const GgufValue* find_value(std::string_view key) const;  // nullptr: no such key

  // Typed reads. An absent key gives the fallback, or where there is none, Error naming file and key; a
  // present one of another type, or outside [min, max], is always an Error.
  int64_t integer(std::string_view key, int64_t min, int64_t max) const;
  int64_t integer_or(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  double number(std::string_view key) const;  // finite; integers are accepted
  double number_or(std::string_view key, double fallback) const;
  bool boolean_or(std::string_view key, bool fallback) const;
  const std::string& string(std::string_view key) const;
  std::string string_or(std::string_view key, std::string fallback) const;
  const std::vector<int64_t>& integers(std::string_view key) const;
  const std::vector<double>& numbers(std::string_view key) const;
  const std::vector<std::string>& strings(std::string_view key) const;

 private:
  explicit GgufFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
  uint32_t version_ = 0;
  std::vector<FileTensor> tensors_;
  std::vector<uint32_t> by_name_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
};

// Writes a GGUF v3 file: to a temporary file beside `path`, synced, then renamed over it, so that a crash or
// a full disk leaves the old file. Integers are written as the first of UINT32, INT32 and INT64 that holds
// them (all of an array), doubles as FLOAT32. Tensors follow each other at general.alignment, 32 if not set.
// Errors name the file and the field: what open() would refuse, and what the system says.
void write_gguf(const std::string& path, const std::vector<std::pair<std::string, GgufValue>>& metadata,
                const std::vector<FileTensor>& tensors);

}  // namespace chorus
