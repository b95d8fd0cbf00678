#pragma once

// safetensors (https://github.com/huggingface/safetensors): u64 header length | JSON header, padded with
// spaces | data. The header maps a name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets from the
// data's start;
// "__metadata__" maps strings to strings.

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/mapped_file.h"
#include "formats/file_tensor.h"

namespace chorus {

// A checked safetensors file: header at most 100 MB and 100,000 tensors, no duplicate names, shape x dtype
// equal to the span, spans contiguous from 0 to the file's end without gap or overlap. Dtypes F32, F16, BF16.
// Refused as well: a dimension of 0, more than 8 dimensions, and "__metadata__" of more than 1 MiB or 1024
// keys.
class SafetensorsFile {
 public:
  // Errors name the file and the tensor or field.
  static SafetensorsFile open(const std::string& path, MappedFile::Access access = MappedFile::Access::kMap) {
    return open(MappedFile(path, access));
  }
  static SafetensorsFile open(MappedFile file);

  const std::string& path() const { return file_.path(); }
  const std::vector<FileTensor>& tensors() const { return tensors_; }  // in order of their data
  const FileTensor* find(std::string_view name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const MappedFile& file() const { return file_; }

 private:
  explicit SafetensorsFile(MappedFile file) : file_(std::move(file)) {}
  MappedFile file_;
  std::vector<FileTensor> tensors_;
  std::vector<uint32_t> by_name_;
  std::map<std::string, std::string> metadata_;
};

// Writes as write_gguf does: temporary file, sync, rename.
void write_safetensors(const std::string& path, const std::vector<FileTensor>& tensors,
                       const std::map<std::string, std::string>& metadata);

}  // namespace chorus
