#include "formats/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include "base/checked_math.h"
#include "base/error.h"
#include "formats/json_events.h"
#include "formats/safetensors_format.h"

namespace chorus {
namespace {

struct Entry {
  FileTensor tensor;  // without data
  uint64_t begin, end;
};

// Takes the header's events and refuses whatever is not the header's form as soon as it comes, so that a
// hostile header costs no more memory than an honest one of its size.
struct HeaderReader {
  enum class Place { kStart, kTop, kMetadata, kTensor, kDtype, kShape, kOffsets, kEnd };

  Place place = Place::kStart;
  bool in_array = false;
  std::string name;  // of the tensor, or of the metadata entry
  std::optional<DType> dtype;
  std::optional<std::vector<uint64_t>> shape, offsets;
  bool has_metadata = false;
  size_t metadata_bytes = 0;
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::string problem;

  std::string tensor_name() const { return "tensor " + printable(name); }

  // What stands here is not what must.
  void unexpected() {
    switch (place) {
      case Place::kStart:
        problem = "the header must be an object";
        break;
      case Place::kTop:
        problem = fmt::format("{} must be an object",
                              name == kSafetensorsMetadataKey ? printable(name) : tensor_name());
        break;
      case Place::kMetadata:
        problem = "__metadata__: " + printable(name) + " must be a string";
        break;
      case Place::kTensor:
        problem = tensor_name() + ": a value of an unexpected kind";
        break;
      case Place::kDtype:
        problem = tensor_name() + ": dtype must be a string";
        break;
      case Place::kShape:
        problem = tensor_name() + ": shape must be an array of whole numbers from 0";
        break;
      case Place::kOffsets:
        problem = tensor_name() + ": data_offsets must be an array of two whole numbers from 0";
        break;
      case Place::kEnd:
        problem = "text after the header";
        break;
    }
  }

  void begin_object() {
    if (place == Place::kStart) {
      place = Place::kTop;
    } else if (place == Place::kTop && name == kSafetensorsMetadataKey) {
      if (std::exchange(has_metadata, true)) problem = "__metadata__ occurs twice";
      place = Place::kMetadata;
    } else if (place == Place::kTop) {
      if (entries.size() == kSafetensorsMaxTensors)
        problem = fmt::format("more than {} tensors", kSafetensorsMaxTensors);
      dtype.reset();
      shape.reset();
      offsets.reset();
      place = Place::kTensor;
    } else {
      unexpected();
    }
  }

  void end_object(size_t) {
    if (place == Place::kTop) {
      place = Place::kEnd;
    } else {
      if (place == Place::kTensor) end_tensor();
      place = Place::kTop;
    }
  }

  void end_tensor() {
    if (!dtype || !shape || !offsets) {
      problem = fmt::format("{}: {} is missing", tensor_name(),
                            !dtype ? "dtype" : (!shape ? "shape" : "data_offsets"));
    } else if (offsets->size() != 2) {
      unexpected_offsets();
    } else {
      entries.push_back({{name, *dtype, std::move(*shape), {}}, (*offsets)[0], (*offsets)[1]});
    }
  }

  void unexpected_offsets() {
    place = Place::kOffsets;
    unexpected();
  }

  void key(std::string_view text) {
    if (place == Place::kTop) {
      if (!is_safetensors_name(text)) problem = "a tensor's name is empty or holds NUL";
      name = text;
    } else if (place == Place::kMetadata) {
      metadata_bytes += text.size();
      name = text;
    } else if (text == "dtype") {
      if (dtype) problem = tensor_name() + ": dtype occurs twice";
      place = Place::kDtype;
    } else if (text == "shape") {
      if (shape) problem = tensor_name() + ": shape occurs twice";
      place = Place::kShape;
    } else if (text == "data_offsets") {
      if (offsets) problem = tensor_name() + ": data_offsets occurs twice";
      place = Place::kOffsets;
    } else {
      problem = fmt::format("{}: unknown field \"{}\"", tensor_name(), printable(text));
    }
  }

  void string(std::string_view text) {
    if (place == Place::kMetadata) {
      metadata_bytes += text.size();
      if (metadata_bytes > kSafetensorsMaxMetadata || metadata.size() == kSafetensorsMaxMetadataKeys) {
        problem = fmt::format("__metadata__ is too large; at most {} keys and {} bytes",
                              kSafetensorsMaxMetadataKeys, kSafetensorsMaxMetadata);
      } else if (!metadata.emplace(name, text).second) {
        problem = fmt::format("__metadata__: the key \"{}\" occurs twice", printable(name));
      }
    } else if (place == Place::kDtype) {
      dtype = dtype_of_safetensors(text);
      if (!dtype)
        problem = fmt::format("{}: dtype {} is not supported; F32, F16 and BF16 are", tensor_name(),
                              printable(text));
      place = Place::kTensor;
    } else {
      unexpected();
    }
  }

  void begin_array() {
    if (in_array || (place != Place::kShape && place != Place::kOffsets)) return unexpected();
    in_array = true;
    (place == Place::kShape ? shape : offsets).emplace();
  }

  void end_array(size_t) {
    in_array = false;
    place = Place::kTensor;
  }

  void unsigned_integer(uint64_t value) {
    if (!in_array) return unexpected();
    std::vector<uint64_t>& list = place == Place::kShape ? *shape : *offsets;
    const size_t most = place == Place::kShape ? kSafetensorsMaxDims : 2;
    if (list.size() == most) {
      problem = fmt::format("{}: {} has more than {} numbers", tensor_name(),
                            place == Place::kShape ? "shape" : "data_offsets", most);
    } else {
      list.push_back(value);
    }
  }

  void integer(int64_t value) {
    if (value < 0) return unexpected();
    unsigned_integer(static_cast<uint64_t>(value));
  }

  void number(double) { unexpected(); }
  void boolean(bool) { unexpected(); }
  void null() { unexpected(); }
};

std::string_view header_text(const MappedFile& file, const std::string& file_name) {
  const std::span<const std::byte> bytes = file.bytes();
  uint64_t size = 0;
  if (bytes.size() < sizeof size)
    fail("{}: header length: the file has {} bytes; at least 8", file_name, bytes.size());
  std::memcpy(&size, bytes.data(), sizeof size);
  if (size > kSafetensorsMaxHeader)
    fail("{}: header length is {}; at most {}", file_name, size, kSafetensorsMaxHeader);
  if (!fits(sizeof size, size, bytes.size()))
    fail("{}: header length is {}, but the file has {} bytes", file_name, size, bytes.size());
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof size, size);
  if (!text.starts_with('{')) fail("{}: header: must begin with {{", file_name);
  return text;
}

// Each tensor must begin where the one before ended: then no byte belongs to two tensors or to none.
std::vector<FileTensor> place_tensors(std::vector<Entry> entries, std::span<const std::byte> data,
                                      const std::string& file_name) {
  std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
  std::vector<FileTensor> tensors;
  tensors.reserve(entries.size());
  uint64_t position = 0;
  for (Entry& entry : entries) {
    const std::string where = fmt::format("{}: tensor {}", file_name, printable(entry.tensor.name));
    const uint64_t bytes = checked_tensor_bytes(entry.tensor.type, entry.tensor.shape, where);
    if (entry.begin > entry.end)
      fail("{}: data_offsets: begin {} is after end {}", where, entry.begin, entry.end);
    if (entry.end - entry.begin != bytes)
      fail("{}: data_offsets span {} bytes, but the shape needs {}", where, entry.end - entry.begin, bytes);
    if (entry.begin != position)
      fail("{}: data_offsets begin at {}, but the tensor before ends at {}: {}", where, entry.begin, position,
           entry.begin < position ? "an overlap" : "a gap");
    if (!fits(entry.begin, bytes, data.size()))
      fail("{}: data_offsets end at {}, but the file has {} bytes of data", where, entry.end, data.size());
    entry.tensor.data = data.subspan(entry.begin, bytes);
    position = entry.end;
    tensors.push_back(std::move(entry.tensor));
  }
  if (position != data.size())
    fail("{}: the tensors end at byte {} of the data, but the file has {}", file_name, position, data.size());
  return tensors;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(MappedFile file) {
  SafetensorsFile result{std::move(file)};
  const std::string file_name = printable(result.path(), 300);
  const std::string_view header = header_text(result.file_, file_name);
  HeaderReader reader;
  parse_json_events(header, result.path() + ": header", reader);
  result.metadata_ = std::move(reader.metadata);
  result.tensors_ = place_tensors(std::move(reader.entries),
                                  result.file_.bytes().subspan(sizeof(uint64_t) + header.size()), file_name);
  result.by_name_ = index_by_name(result.tensors_, file_name);
  return result;
}

const FileTensor* SafetensorsFile::find(std::string_view name) const {
  return find_by_name(tensors_, by_name_, name);
}

}  // namespace chorus
