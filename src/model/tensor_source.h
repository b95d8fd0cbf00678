#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/gguf.h"
#include "formats/safetensors.h"
#include "model/config.h"

namespace chorus {

// The named tensors of a base model, whatever they are stored in, with a tick for each one used.
class TensorSource {
 public:
  // A GGUF file, or a directory with config.json and model.safetensors or its shards.
  static TensorSource open(const std::string& path);

  const ModelConfig& config() const { return config_; }
  bool is_gguf() const { return gguf_ != nullptr; }
  const GgufFile* gguf() const { return gguf_.get(); }  // nullptr: a directory
  const std::string& path() const { return path_; }

  bool has(std::string_view name) const { return tensors_.contains(std::string(name)); }
  // The tensor of that name, which must have that shape; ticks it. Error: missing, or another shape.
  const FileTensor& take(const std::string& name, const std::vector<uint64_t>& shape);
  void skip(const std::string& name);  // ticks a tensor that is not needed
  void require_all_taken() const;      // Error naming the first tensor without a tick
  // Gives the tensor's pages back to the system once it has been packed.
  void release(const FileTensor& tensor) const;
  // All files that hold tensors, always in the same order.
  std::vector<const MappedFile*> files() const;
  // Names in sorted order.
  std::vector<const FileTensor*> sorted() const;

 private:
  struct Entry {
    const FileTensor* tensor;
    const MappedFile* file;
    bool taken = false;
  };
  void add(const std::vector<FileTensor>& tensors, const MappedFile& file);

  std::string path_;
  ModelConfig config_;
  std::unique_ptr<GgufFile> gguf_;
  std::vector<std::unique_ptr<SafetensorsFile>> shards_;
  std::unordered_map<std::string, Entry> tensors_;
};

}  // namespace chorus
