#include "model/adapter_file.h"

#include "base/error.h"

namespace chorus {
namespace {

void check_pair(const FilePair& pair, const std::string& path) {
  if (pair.a == nullptr && pair.b == nullptr)
    fail("{}: tensor {} has no lora_A and lora_B beside it", path, printable(pair.magnitude->name));
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
  if (pair.magnitude != nullptr) {
    const FileTensor& magnitude = *pair.magnitude;
    if (magnitude.shape.size() != 1 || dtype_info(magnitude.type).block_elements != 1 ||
        magnitude.shape[0] != pair.b->shape[0]) {
      fail("{}: tensor {} must be [{}], as {} has rows, of F32, F16 or BF16", path, printable(magnitude.name),
           pair.b->shape[0], printable(pair.b->name));
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

FilePair& PairCollector::pair_at(int layer, Target target) {
  FilePair& pair = target == Target::kHead ? head_ : layers_[{layer, target}];
  pair.layer = layer;
  pair.target = target;
  return pair;
}

void PairCollector::add(int layer, Target target, bool is_a, const FileTensor& tensor) {
  FilePair& pair = pair_at(layer, target);
  (is_a ? pair.a : pair.b) = &tensor;
}

void PairCollector::add_magnitude(int layer, Target target, const FileTensor& tensor) {
  pair_at(layer, target).magnitude = &tensor;
}

std::vector<FilePair> PairCollector::finish() const {
  std::vector<FilePair> pairs;
  for (const auto& [key, pair] : layers_) pairs.push_back(pair);
  if (head_.a != nullptr || head_.b != nullptr || head_.magnitude != nullptr) pairs.push_back(head_);
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
