#include "model/adapter_file.h"

#include "base/error.h"

namespace chorus {
namespace {

void check_pair(const FilePair& pair, const std::string& path) {
  if (pair.a == nullptr || pair.b == nullptr) {
    const FileTensor& present = *(pair.a == nullptr ? pair.b : pair.a);
    fail("{}: tensor {} has no lora_{} beside it", path, printable(present.name),
         pair.a == nullptr ? "A" : "B");
  }
  for (const FileTensor* tensor : {pair.a, pair.b}) {
    if (tensor->shape.size() != 2) fail("{}: tensor {} is not a matrix", path, printable(tensor->name));
    if (dtype_info(tensor->type).block_elements != 1) {
      fail("{}: tensor {} has type {}; F32, F16 and BF16 are supported", path, printable(tensor->name),
           dtype_info(tensor->type).name);
    }
  }
  const uint64_t rank = pair.a->shape[0];
  if (pair.b->shape[1] != rank) {
    fail("{}: tensor {} has rank {} and tensor {} has rank {}; they must be equal", path,
         printable(pair.a->name), rank, printable(pair.b->name), pair.b->shape[1]);
  }
  if (rank < 1 || rank > static_cast<uint64_t>(kMaxRank)) {
    fail("{}: tensor {} has rank {}; it must be in 1..{}", path, printable(pair.a->name), rank, kMaxRank);
  }
}

}  // namespace

void PairCollector::add(int layer, Target target, bool is_a, const FileTensor& tensor) {
  FilePair& pair = target == Target::kHead ? head_ : layers_[{layer, target}];
  pair.layer = layer;
  pair.target = target;
  (is_a ? pair.a : pair.b) = &tensor;
}

std::vector<FilePair> PairCollector::finish() const {
  std::vector<FilePair> pairs;
  for (const auto& [key, pair] : layers_) pairs.push_back(pair);
  if (head_.a != nullptr || head_.b != nullptr) pairs.push_back(head_);
  if (pairs.empty()) fail("{}: no LoRA tensors", path_);
  for (const FilePair& pair : pairs) check_pair(pair, path_);
  return pairs;
}

const FileTensor& AdapterFile::own(OwnedTensor tensor) {
  const OwnedTensor& kept = memory.emplace_back(std::move(tensor));
  return view({kept.name, kept.type, kept.shape, kept.bytes});
}

AdapterFile read_adapter_file(const FileRoot& root, const std::string& path) {
  if (!root.is_directory(path)) return read_gguf_adapter(root, path);
  const auto holds = [&](std::string_view name) { return root.look(fmt::format("{}/{}", path, name)); };
  return holds(kMlxTensors) && !holds(kPeftTensors) ? read_mlx_adapter(root, path)
                                                    : read_peft_adapter(root, path);
}

}  // namespace chorus
