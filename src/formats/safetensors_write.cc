#include <algorithm>

#include "base/atomic_file.h"
#include "base/checked_math.h"
#include "base/error.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "formats/safetensors_format.h"
#include "formats/text_check.h"

namespace chorus {
namespace {

void check_metadata(const std::map<std::string, std::string>& metadata, const std::string& file_name) {
  size_t bytes = 0;
  for (const auto& [key, value] : metadata) {
    if (!is_clean_text(key) || !is_clean_text(value))
      fail("{}: __metadata__: {} holds NUL or invalid UTF-8", file_name, printable(key));
    bytes += key.size() + value.size();
  }
  if (bytes > kSafetensorsMaxMetadata || metadata.size() > kSafetensorsMaxMetadataKeys)
    fail("{}: __metadata__ is too large; at most {} keys and {} bytes", file_name,
         kSafetensorsMaxMetadataKeys, kSafetensorsMaxMetadata);
}

void check_tensor(const FileTensor& tensor, const std::string& where) {
  if (!is_safetensors_name(tensor.name) || !is_clean_text(tensor.name) ||
      tensor.name == kSafetensorsMetadataKey)
    fail("{}: the name is empty, reserved, or holds NUL or invalid UTF-8", where);
  if (!dtype_of_safetensors(dtype_info(tensor.type).name))
    fail("{}: dtype {} is not supported; F32, F16 and BF16 are", where, dtype_info(tensor.type).name);
  if (tensor.shape.size() > kSafetensorsMaxDims)
    fail("{}: shape has more than {} numbers", where, kSafetensorsMaxDims);
  if (checked_tensor_bytes(tensor.type, tensor.shape, where) != tensor.data.size())
    fail("{}: {} bytes of data do not fill the shape", where, tensor.data.size());
}

}  // namespace

void write_safetensors(const std::string& path, const std::vector<FileTensor>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  const std::string file_name = printable(path, 300);
  check_metadata(metadata, file_name);
  index_by_name(tensors, file_name);  // for its error
  if (tensors.size() > kSafetensorsMaxTensors)
    fail("{}: {} tensors; at most {}", file_name, tensors.size(), kSafetensorsMaxTensors);

  json::object header;
  if (!metadata.empty()) {
    json::object& entries = header[kSafetensorsMetadataKey].emplace_object();
    for (const auto& [key, value] : metadata) entries[key] = value;
  }
  uint64_t end = 0;
  for (const FileTensor& tensor : tensors) {
    const std::string where = fmt::format("{}: tensor {}", file_name, printable(tensor.name));
    check_tensor(tensor, where);
    const uint64_t begin = end;
    const auto next = checked_add(begin, tensor.data.size());
    if (!next) fail("{}: the file's size does not fit 64 bits", where);
    end = *next;
    header[tensor.name] = {{"dtype", dtype_info(tensor.type).name},
                           {"shape", json::array(tensor.shape.begin(), tensor.shape.end())},
                           {"data_offsets", {begin, end}}};
  }
  std::string text = json::serialize(header);
  text.append((8 - text.size() % 8) % 8, ' ');  // so that the data is aligned
  if (text.size() > kSafetensorsMaxHeader)
    fail("{}: header length is {}; at most {}", file_name, text.size(), kSafetensorsMaxHeader);

  AtomicFile file(path);
  const uint64_t size = text.size();
  file.write(std::as_bytes(std::span(&size, 1)));
  file.write(text);
  for (const FileTensor& tensor : tensors) file.write(tensor.data);
  file.commit();
}

}  // namespace chorus
