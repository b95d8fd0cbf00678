#include "formats/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "formats/gguf_format.h"
#include "formats/text_check.h"

namespace chorus {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF is read in place");

constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;             // the shortest key and value
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;  // the shortest tensor entry
constexpr uint64_t kMaxString = uint64_t{1} << 20;  // of one value; arrays of strings are bound by the file

// Reads the header from its front. Nothing is taken, and no memory asked for, before the bytes are known to
// be there. `where` is what an error names after the file: the key or tensor that is being read.
class Cursor {
 public:
  explicit Cursor(const MappedFile& file) : file_name_(printable(file.path(), 300)), bytes_(file.bytes()) {}

  uint64_t position() const { return position_; }
  uint64_t left() const { return bytes_.size() - position_; }
  void set_where(std::string where) { where_ = std::move(where); }
  std::string where() const { return where_.empty() ? file_name_ : file_name_ + ": " + where_; }

  std::string_view take(uint64_t size, std::string_view field) {
    if (!fits(position_, size, bytes_.size()))
      fail("{}: {} takes {} bytes, but the file has {} left", where(), field, size, left());
    const std::string_view taken(reinterpret_cast<const char*>(bytes_.data()) + position_, size);
    position_ += size;
    return taken;
  }

  template <typename T>
  T read(std::string_view field) {
    T value;
    std::memcpy(&value, take(sizeof(T), field).data(), sizeof(T));
    return value;
  }

  std::string_view read_string(std::string_view field) { return take(read<uint64_t>(field), field); }

  // How many more elements the arrays of the file may have: in all, and of those that widen 4 or 8 times.
  uint64_t elements_left = kGgufMaxArrayElements;
  uint64_t narrow_elements_left = kGgufMaxNarrowElements;

  void claim(uint64_t& elements, uint64_t count) const {
    if (count > elements)
      fail("{}: an array of {} elements, but the file's arrays may have only {} more", where(), count,
           elements);
    elements -= count;
  }

 private:
  std::string file_name_;
  std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  std::string where_;
};

template <typename Wide, typename T>
Wide widen(const Cursor& cursor, T value) {
  if constexpr (std::is_same_v<T, uint64_t>) {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      fail("{}: the value {} does not fit 63 bits", cursor.where(), value);
  }
  return static_cast<Wide>(value);
}

bool read_bool(Cursor& cursor) {
  const auto byte = cursor.read<uint8_t>("the value");
  if (byte > 1) fail("{}: the value {} is no bool; 0 or 1", cursor.where(), byte);
  return byte == 1;
}

template <typename Wide, typename T>
GgufArray read_numbers(Cursor& cursor, uint64_t count) {
  if (sizeof(T) < 4) cursor.claim(cursor.narrow_elements_left, count);
  const auto size = checked_mul(count, sizeof(T));
  if (!size) fail("{}: an array of {} elements does not fit the file", cursor.where(), count);
  const std::string_view bytes = cursor.take(*size, "the array");
  std::vector<Wide> values(count);
  for (size_t i = 0; i < values.size(); ++i) {
    T value;
    std::memcpy(&value, bytes.data() + i * sizeof(T), sizeof(T));
    values[i] = widen<Wide>(cursor, value);
  }
  return values;
}

GgufArray read_bools(Cursor& cursor, uint64_t count) {
  GgufArray array = read_numbers<int64_t, uint8_t>(cursor, count);
  for (const int64_t value : std::get<std::vector<int64_t>>(array))
    if (value > 1) fail("{}: the element {} is no bool; 0 or 1", cursor.where(), value);
  return array;
}

// Elements may hold any bytes: tokens need not be UTF-8.
GgufArray read_strings(Cursor& cursor, uint64_t count) {
  if (count > cursor.left() / sizeof(uint64_t))
    fail("{}: an array of {} strings, but the file has {} bytes left", cursor.where(), count, cursor.left());
  std::vector<std::string> values;
  values.reserve(count);
  for (uint64_t i = 0; i < count; ++i) values.emplace_back(cursor.read_string("a string of the array"));
  return values;
}

GgufArray read_array(Cursor& cursor) {
  const auto type = cursor.read<uint32_t>("the array's type");
  const auto count = cursor.read<uint64_t>("the array's length");
  cursor.claim(cursor.elements_left, count);
  switch (static_cast<GgufType>(type)) {
    case GgufType::kUint8:
      return read_numbers<int64_t, uint8_t>(cursor, count);
    case GgufType::kInt8:
      return read_numbers<int64_t, int8_t>(cursor, count);
    case GgufType::kUint16:
      return read_numbers<int64_t, uint16_t>(cursor, count);
    case GgufType::kInt16:
      return read_numbers<int64_t, int16_t>(cursor, count);
    case GgufType::kUint32:
      return read_numbers<int64_t, uint32_t>(cursor, count);
    case GgufType::kInt32:
      return read_numbers<int64_t, int32_t>(cursor, count);
    case GgufType::kUint64:
      return read_numbers<int64_t, uint64_t>(cursor, count);
    case GgufType::kInt64:
      return read_numbers<int64_t, int64_t>(cursor, count);
    case GgufType::kFloat32:
      return read_numbers<double, float>(cursor, count);
    case GgufType::kFloat64:
      return read_numbers<double, double>(cursor, count);
    case GgufType::kBool:
      return read_bools(cursor, count);
    case GgufType::kString:
      return read_strings(cursor, count);
    case GgufType::kArray:
      fail("{}: an array of arrays is not supported", cursor.where());
  }
  fail("{}: unknown type {} of array elements; 0 to 12", cursor.where(), type);
}

template <typename T>
int64_t read_integer(Cursor& cursor) {
  return widen<int64_t>(cursor, cursor.read<T>("the value"));
}

GgufValue read_value(Cursor& cursor, uint32_t type) {
  switch (static_cast<GgufType>(type)) {
    case GgufType::kUint8:
      return read_integer<uint8_t>(cursor);
    case GgufType::kInt8:
      return read_integer<int8_t>(cursor);
    case GgufType::kUint16:
      return read_integer<uint16_t>(cursor);
    case GgufType::kInt16:
      return read_integer<int16_t>(cursor);
    case GgufType::kUint32:
      return read_integer<uint32_t>(cursor);
    case GgufType::kInt32:
      return read_integer<int32_t>(cursor);
    case GgufType::kUint64:
      return read_integer<uint64_t>(cursor);
    case GgufType::kInt64:
      return read_integer<int64_t>(cursor);
    case GgufType::kFloat32:
      return static_cast<double>(cursor.read<float>("the value"));
    case GgufType::kFloat64:
      return cursor.read<double>("the value");
    case GgufType::kBool:
      return read_bool(cursor);
    case GgufType::kArray:
      return read_array(cursor);
    case GgufType::kString: {
      const std::string_view text = cursor.read_string("the string");
      if (text.size() > kMaxString) {
        fail("{}: the string has {} bytes; at most {}", cursor.where(), text.size(), kMaxString);
      }
      if (!is_clean_text(text)) fail("{}: the string holds NUL or invalid UTF-8", cursor.where());
      return std::string(text);
    }
  }
  fail("{}: unknown value type {}; 0 to 12", cursor.where(), type);
}

std::pair<std::string, GgufValue> read_key_value(Cursor& cursor, uint64_t index) {
  cursor.set_where(fmt::format("metadata key {}", index));
  const std::string_view key = cursor.read_string("the key");
  if (!is_gguf_name(key)) fail("{}: the key is empty or holds NUL or invalid UTF-8", cursor.where());
  cursor.set_where(fmt::format("metadata {}", printable(key)));
  const auto type = cursor.read<uint32_t>("the value's type");
  if (key == kGgufAlignmentKey && type != static_cast<uint32_t>(GgufType::kUint32))
    fail("{}: its type is {}; must be UINT32", cursor.where(), type);
  return {std::string(key), read_value(cursor, type)};
}

struct TensorEntry {
  FileTensor tensor;  // without data
  uint64_t offset;    // from the data section's begin
  uint64_t bytes;
};

TensorEntry read_tensor_entry(Cursor& cursor, uint64_t index) {
  cursor.set_where(fmt::format("tensor {}", index));
  const std::string_view name = cursor.read_string("the name");
  if (!is_gguf_name(name)) fail("{}: the name is empty or holds NUL or invalid UTF-8", cursor.where());
  cursor.set_where(fmt::format("tensor {}", printable(name)));
  const auto dims = cursor.read<uint32_t>("n_dims");
  if (dims < 1 || dims > kGgufMaxDims) fail("{}: n_dims is {}; 1 to {}", cursor.where(), dims, kGgufMaxDims);
  std::vector<uint64_t> shape(dims);
  for (auto dim = shape.rbegin(); dim != shape.rend(); ++dim) *dim = cursor.read<uint64_t>("a dimension");
  const auto ggml_type = cursor.read<uint32_t>("the type");
  const auto type = dtype_of_ggml(ggml_type);
  if (!type)
    fail("{}: {} is not supported; {} are", cursor.where(), ggml_type_name(ggml_type), known_dtype_names());
  const auto offset = cursor.read<uint64_t>("the offset");
  const uint64_t bytes = checked_tensor_bytes(*type, shape, cursor.where());
  return {{std::string(name), *type, std::move(shape), {}}, offset, bytes};
}

// Gives each tensor its bytes of the data section.
std::vector<FileTensor> place_tensors(std::vector<TensorEntry> entries, std::span<const std::byte> data,
                                      uint64_t alignment, const std::string& file_name) {
  std::vector<FileTensor> tensors;
  tensors.reserve(entries.size());
  for (TensorEntry& entry : entries) {
    const std::string name = printable(entry.tensor.name);
    if (entry.offset % alignment != 0)
      fail("{}: tensor {}: offset {} is not a multiple of the alignment {}", file_name, name, entry.offset,
           alignment);
    if (!fits(entry.offset, entry.bytes, data.size()))
      fail("{}: tensor {}: offset {} and {} bytes end beyond the data section's {} bytes", file_name, name,
           entry.offset, entry.bytes, data.size());
    entry.tensor.data = data.subspan(entry.offset, entry.bytes);
    tensors.push_back(std::move(entry.tensor));
  }
  return tensors;
}

void refuse_overlap(std::span<const FileTensor> tensors, const std::string& file_name) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::sort(order, {}, [&](uint32_t i) { return tensors[i].data.data(); });
  for (size_t i = 1; i < order.size(); ++i) {
    const FileTensor& before = tensors[order[i - 1]];
    const FileTensor& tensor = tensors[order[i]];
    if (before.data.data() + before.data.size() > tensor.data.data())
      fail("{}: tensor {}: its data overlaps that of tensor {}", file_name, printable(tensor.name),
           printable(before.name));
  }
}

void refuse_duplicate_keys(std::span<const std::pair<std::string, GgufValue>> metadata,
                           const std::string& file_name) {
  std::vector<std::string_view> keys;
  keys.reserve(metadata.size());
  for (const auto& [key, value] : metadata) keys.push_back(key);
  std::ranges::sort(keys);
  const auto twice = std::ranges::adjacent_find(keys);
  if (twice != keys.end()) fail("{}: metadata {}: the key occurs twice", file_name, printable(*twice));
}

struct Counts {
  uint64_t tensors;
  uint64_t keys;
};

void check_count(const Cursor& cursor, std::string_view field, uint64_t count, uint64_t item_bytes,
                 uint64_t limit) {
  const uint64_t most = std::min(cursor.left() / item_bytes, limit);
  if (count > most)
    fail("{}: {} is {}, but the file has {} bytes left: at most {}", cursor.where(), field, count,
         cursor.left(), most);
}

Counts read_counts(Cursor& cursor, uint32_t& version) {
  const std::string_view magic = cursor.take(kGgufMagic.size(), "the magic");
  if (magic != kGgufMagic) fail("{}: the magic is \"{}\"; not a GGUF file", cursor.where(), printable(magic));
  version = cursor.read<uint32_t>("the version");
  if (version != 0 && (version & 0xFFFF) == 0)
    fail("{}: version {:#010x}: a big-endian file is not supported", cursor.where(), version);
  if (version != 2 && version != 3) fail("{}: version {}; 2 and 3 are supported", cursor.where(), version);
  const auto tensors = cursor.read<uint64_t>("tensor_count");
  const auto keys = cursor.read<uint64_t>("kv_count");
  check_count(cursor, "tensor_count", tensors, kMinTensorBytes, kGgufMaxTensors);
  check_count(cursor, "kv_count", keys, kMinKeyBytes, kGgufMaxKeys);
  return {tensors, keys};
}

}  // namespace

GgufFile GgufFile::open(MappedFile file) {
  GgufFile result{std::move(file)};
  const std::string file_name = printable(result.path(), 300);
  Cursor cursor(result.file_);
  const Counts counts = read_counts(cursor, result.version_);
  result.metadata_.reserve(counts.keys);
  for (uint64_t i = 0; i < counts.keys; ++i) result.metadata_.push_back(read_key_value(cursor, i));
  refuse_duplicate_keys(result.metadata_, file_name);
  uint64_t alignment = kGgufDefaultAlignment;
  if (const GgufValue* value = result.find_value(kGgufAlignmentKey)) {
    alignment = static_cast<uint64_t>(std::get<int64_t>(*value));
    if (!is_gguf_alignment(alignment))
      fail("{}: metadata {} is {}; must be a power of two from 8 to 4096", file_name, kGgufAlignmentKey,
           alignment);
  }

  std::vector<TensorEntry> entries;
  cursor.set_where("");
  check_count(cursor, "tensor_count", counts.tensors, kMinTensorBytes, kGgufMaxTensors);
  entries.reserve(counts.tensors);
  for (uint64_t i = 0; i < counts.tensors; ++i) entries.push_back(read_tensor_entry(cursor, i));
  const std::span<const std::byte> bytes = result.file_.bytes();
  const auto data_begin = checked_align(cursor.position(), alignment);
  const bool has_data = data_begin && *data_begin <= bytes.size();
  result.tensors_ =
      place_tensors(std::move(entries), has_data ? bytes.subspan(*data_begin) : std::span<const std::byte>(),
                    alignment, file_name);
  result.by_name_ = index_by_name(result.tensors_, file_name);
  refuse_overlap(result.tensors_, file_name);
  return result;
}

}  // namespace chorus
