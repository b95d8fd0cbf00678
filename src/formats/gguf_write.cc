#include <algorithm>
#include <cmath>
#include <limits>

#include "base/atomic_file.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "formats/gguf.h"
#include "formats/gguf_format.h"
#include "formats/text_check.h"

namespace chorus {
namespace {

using Metadata = std::vector<std::pair<std::string, GgufValue>>;

template <typename T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put(std::string& out, GgufType type) { put(out, static_cast<uint32_t>(type)); }

void put_string(std::string& out, std::string_view text) {
  put(out, uint64_t{text.size()});
  out += text;
}

float narrow(double value, std::string_view where) {
  if (std::isfinite(value) && std::abs(value) > double{std::numeric_limits<float>::max()})
    fail("{}: the number {} does not fit FLOAT32", where, value);
  return static_cast<float>(value);
}

// The first of these types that holds both ends of the range.
GgufType integer_type(int64_t min, int64_t max) {
  if (min >= 0 && max <= int64_t{std::numeric_limits<uint32_t>::max()}) return GgufType::kUint32;
  if (min >= int64_t{std::numeric_limits<int32_t>::min()} &&
      max <= int64_t{std::numeric_limits<int32_t>::max()})
    return GgufType::kInt32;
  return GgufType::kInt64;
}

void put_integer(std::string& out, GgufType type, int64_t value) {
  if (type == GgufType::kInt64) {
    put(out, value);
  } else {
    put(out, static_cast<uint32_t>(value));  // an INT32 has the same low 32 bits
  }
}

void put_array(std::string& out, const GgufArray& array, std::string_view where) {
  if (const auto* integers = std::get_if<std::vector<int64_t>>(&array)) {
    const auto [min, max] = std::ranges::minmax_element(*integers);
    const GgufType type = integers->empty() ? GgufType::kUint32 : integer_type(*min, *max);
    put(out, type);
    put(out, uint64_t{integers->size()});
    for (const int64_t value : *integers) put_integer(out, type, value);
  } else if (const auto* numbers = std::get_if<std::vector<double>>(&array)) {
    put(out, GgufType::kFloat32);
    put(out, uint64_t{numbers->size()});
    for (const double value : *numbers) put(out, narrow(value, where));
  } else {
    const auto& strings = std::get<std::vector<std::string>>(array);
    put(out, GgufType::kString);
    put(out, uint64_t{strings.size()});
    for (const std::string& text : strings) put_string(out, text);
  }
}

void put_value(std::string& out, const GgufValue& value, std::string_view where) {
  if (const int64_t* integer = std::get_if<int64_t>(&value)) {
    const GgufType type = integer_type(*integer, *integer);
    put(out, type);
    put_integer(out, type, *integer);
  } else if (const double* number = std::get_if<double>(&value)) {
    put(out, GgufType::kFloat32);
    put(out, narrow(*number, where));
  } else if (const bool* boolean = std::get_if<bool>(&value)) {
    put(out, GgufType::kBool);
    put(out, static_cast<uint8_t>(*boolean));
  } else if (const std::string* text = std::get_if<std::string>(&value)) {
    if (!is_clean_text(*text)) fail("{}: the string holds NUL or invalid UTF-8", where);
    put(out, GgufType::kString);
    put_string(out, *text);
  } else {
    put(out, GgufType::kArray);
    put_array(out, std::get<GgufArray>(value), where);
  }
}

void put_metadata(std::string& out, const Metadata& metadata, const std::string& file_name) {
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : metadata) {
    const std::string where = fmt::format("{}: metadata {}", file_name, printable(key));
    if (!is_gguf_name(key)) fail("{}: the key is empty or holds NUL or invalid UTF-8", where);
    keys.push_back(key);
    put_string(out, key);
    put_value(out, value, where);
  }
  std::ranges::sort(keys);
  const auto twice = std::ranges::adjacent_find(keys);
  if (twice != keys.end()) fail("{}: metadata {}: the key occurs twice", file_name, printable(*twice));
}

uint64_t alignment_of(const Metadata& metadata, const std::string& file_name) {
  for (const auto& [key, value] : metadata) {
    if (key != kGgufAlignmentKey) continue;
    const int64_t* alignment = std::get_if<int64_t>(&value);
    if (!alignment || *alignment < 0 || !is_gguf_alignment(static_cast<uint64_t>(*alignment)))
      fail("{}: metadata {} must be a power of two from 8 to 4096", file_name, key);
    return static_cast<uint64_t>(*alignment);
  }
  return kGgufDefaultAlignment;
}

void put_tensor_entries(std::string& out, const std::vector<FileTensor>& tensors, uint64_t alignment,
                        const std::string& file_name) {
  std::optional<uint64_t> offset = 0;
  for (const FileTensor& tensor : tensors) {
    const std::string where = fmt::format("{}: tensor {}", file_name, printable(tensor.name));
    if (!is_gguf_name(tensor.name)) fail("{}: the name is empty or holds NUL or invalid UTF-8", where);
    if (tensor.shape.empty() || tensor.shape.size() > kGgufMaxDims)
      fail("{}: n_dims is {}; 1 to {}", where, tensor.shape.size(), kGgufMaxDims);
    if (checked_tensor_bytes(tensor.type, tensor.shape, where) != tensor.data.size())
      fail("{}: {} bytes of data do not fill the shape", where, tensor.data.size());
    put_string(out, tensor.name);
    put(out, static_cast<uint32_t>(tensor.shape.size()));
    for (auto dim = tensor.shape.rbegin(); dim != tensor.shape.rend(); ++dim) put(out, *dim);
    put(out, ggml_of_dtype(tensor.type));
    put(out, *offset);
    offset = checked_add(*offset, tensor.data.size());
    if (offset) offset = checked_align(*offset, alignment);
    if (!offset) fail("{}: the file's size does not fit 64 bits", where);
  }
}

void write_padding(AtomicFile& file, uint64_t size, uint64_t alignment) {
  file.write(std::string((alignment - size % alignment) % alignment, '\0'));
}

}  // namespace

void write_gguf(const std::string& path, const Metadata& metadata, const std::vector<FileTensor>& tensors) {
  const std::string file_name = printable(path, 300);
  const uint64_t alignment = alignment_of(metadata, file_name);
  index_by_name(tensors, file_name);  // for its error
  std::string header(kGgufMagic);
  put(header, uint32_t{3});
  put(header, uint64_t{tensors.size()});
  put(header, uint64_t{metadata.size()});
  put_metadata(header, metadata, file_name);
  put_tensor_entries(header, tensors, alignment, file_name);

  AtomicFile file(path);
  file.write(header);
  write_padding(file, header.size(), alignment);
  for (const FileTensor& tensor : tensors) {
    file.write(tensor.data);
    write_padding(file, tensor.data.size(), alignment);
  }
  file.commit();
}

}  // namespace chorus
