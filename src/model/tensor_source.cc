#include "model/tensor_source.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

std::string shape_text(const std::vector<uint64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// The files that hold a directory's weights: model.safetensors, or what model.safetensors.index.json lists.
std::set<std::string> shard_names(const std::string& directory) {
  const std::string index_path = directory + "/model.safetensors.index.json";
  if (!fs::exists(index_path)) return {"model.safetensors"};
  const json::value index = read_json_file(index_path);
  const json::value* map = index.is_object() ? index.get_object().if_contains("weight_map") : nullptr;
  if (map == nullptr || !map->is_object()) fail("{}: weight_map is missing or not an object", index_path);
  std::set<std::string> names;
  for (const auto& [tensor, file] : map->get_object()) {
    const std::string name = file.is_string() ? std::string(file.get_string()) : std::string();
    if (name.empty() || name.find('/') != std::string::npos || !name.ends_with(".safetensors")) {
      fail("{}: weight_map of {} must be the name of a .safetensors file beside it", index_path,
           printable(tensor));
    }
    names.insert(name);
  }
  return names;
}

}  // namespace

TensorSource TensorSource::open(const std::string& path) {
  TensorSource source;
  source.path_ = path;
  if (!fs::is_directory(path)) {
    source.gguf_ = std::make_unique<GgufFile>(GgufFile::open(path));
    source.config_ = config_from_gguf(*source.gguf_);
    source.add(source.gguf_->tensors(), source.gguf_->file());
    return source;
  }
  const std::string config_path = path + "/config.json";
  const json::value config = read_json_file(config_path);
  if (!config.is_object()) fail("{}: must be a JSON object", config_path);
  source.config_ = config_from_json(config.get_object(), config_path);
  if (source.config_.name.empty()) source.config_.name = fs::path(path).filename().string();
  for (const std::string& name : shard_names(path)) {
    source.shards_.push_back(std::make_unique<SafetensorsFile>(SafetensorsFile::open(path + "/" + name)));
    source.add(source.shards_.back()->tensors(), source.shards_.back()->file());
  }
  return source;
}

void TensorSource::add(const std::vector<FileTensor>& tensors, const MappedFile& file) {
  for (const FileTensor& tensor : tensors) {
    if (!tensors_.emplace(tensor.name, Entry{&tensor, &file}).second) {
      fail("{}: tensor {} occurs in two files", path_, printable(tensor.name));
    }
  }
}

const FileTensor& TensorSource::take(const std::string& name, const std::vector<uint64_t>& shape) {
  const auto it = tensors_.find(name);
  if (it == tensors_.end()) fail("{}: tensor {} is missing", path_, name);
  const FileTensor& tensor = *it->second.tensor;
  if (tensor.shape != shape) {
    fail("{}: tensor {} has shape {}; {} is needed", it->second.file->path(), name, shape_text(tensor.shape),
         shape_text(shape));
  }
  it->second.taken = true;
  return tensor;
}

void TensorSource::skip(const std::string& name) {
  if (const auto it = tensors_.find(name); it != tensors_.end()) it->second.taken = true;
}

void TensorSource::require_all_taken() const {
  for (const FileTensor* tensor : sorted()) {
    if (!tensors_.at(tensor->name).taken) {
      fail("{}: tensor {} has no place in a {} model", path_, printable(tensor->name), config_.architecture);
    }
  }
}

void TensorSource::release(const FileTensor& tensor) const {
  const MappedFile& file = *tensors_.at(tensor.name).file;
  file.release(static_cast<size_t>(tensor.data.data() - file.bytes().data()), tensor.data.size());
}

std::vector<const MappedFile*> TensorSource::files() const {
  std::vector<const MappedFile*> all;
  if (gguf_ != nullptr) all.push_back(&gguf_->file());
  for (const auto& shard : shards_) all.push_back(&shard->file());
  return all;
}

std::vector<const FileTensor*> TensorSource::sorted() const {
  std::vector<const FileTensor*> all;
  for (const auto& [name, entry] : tensors_) all.push_back(entry.tensor);
  std::ranges::sort(all, {}, [](const FileTensor* tensor) -> const std::string& { return tensor->name; });
  return all;
}

}  // namespace chorus
