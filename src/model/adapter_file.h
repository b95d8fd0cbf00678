#pragma once

// Adapter files, read and checked as far as that goes without a base model.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_root.h"
#include "formats/file_tensor.h"
#include "formats/gguf.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "model/module_set.h"
#include "model/target.h"

namespace chorus {

// A and B of one linear, and with DoRA the lengths of its rows; `layer` is 0 for the head.
struct FilePair {
  int layer = 0;
  Target target = Target::kQ;
  const FileTensor* a = nullptr;  // [rank, in]
  const FileTensor* b = nullptr;  // [out, rank]
  float scale = 0;
  const FileTensor* magnitude = nullptr;  // [out], DoRA's; null: none
};

// A tensor with memory of its own.
struct OwnedTensor {
  std::string name;
  DType type;
  std::vector<uint64_t> shape;
  std::vector<std::byte> bytes;
};

// What an adapter was made on, where its files say so. Hashes are hex.
struct AdapterBase {
  std::string name;           // for people
  std::string id;             // Model::id; empty: not said
  std::string chat_template;  // hash of its source; empty: none, or not said
};

// The names of the hashes: keys of the metadata in safetensors and in GGUF.
constexpr std::string_view kBaseKey = "chorus.base", kChatTemplateKey = "chorus.chat_template";

struct AdapterFile {
  std::string path;          // of the tensors, for errors
  std::string format;        // "PEFT", "GGUF" or "MLX"
  std::string architecture;  // GGUF only
  std::vector<std::string>
      hints;  // GGUF only: names of keys for people, which other formats have no place for
  double alpha = 0;
  bool rslora = false;
  bool permuted_qk = false;     // rows of q's and k's B are in GGUF-Llama's order
  std::vector<FilePair> pairs;  // by layer and target, the head last
  // Whether the adapter's configuration says that it adapts a linear; empty: it does not say.
  std::function<bool(int layer, Target target)> expects;
  AdapterBase base;
  std::unique_ptr<GgufFile> gguf;  // keep the tensors' bytes
  std::unique_ptr<SafetensorsFile> safetensors;
  std::deque<OwnedTensor> memory;  // of tensors that are not as a file has them
  std::deque<FileTensor> views;

  // Keep a tensor that is not of the file; what they return lives as long as this.
  const FileTensor& own(OwnedTensor tensor);
  const FileTensor& view(FileTensor tensor) { return views.emplace_back(std::move(tensor)); }
};

// The files of a PEFT directory that are read.
constexpr std::string_view kPeftConfig = "adapter_config.json", kPeftTensors = "adapter_model.safetensors";
constexpr std::string_view kPeftPickle = "adapter_model.bin";  // only to be refused
// How the name of a DoRA magnitude ends.
constexpr std::string_view kPeftMagnitude = ".lora_magnitude_vector";
// Of an MLX directory; its configuration has PEFT's name.
constexpr std::string_view kMlxTensors = "adapters.safetensors";

// A GGUF key: the base, for people.
constexpr const char* kGgufBaseName = "general.base_model.0.name";

// Whether GGUF files of that architecture hold the rows of q and k, and so of their B, in the order of
// RowOrder.
inline bool gguf_permutes_qk(std::string_view architecture) { return architecture == "llama"; }

AdapterFile read_peft_adapter(const FileRoot& root, const std::string& directory);
AdapterFile read_gguf_adapter(const FileRoot& root, const std::string& path);
AdapterFile read_mlx_adapter(const FileRoot& root, const std::string& directory);
// A directory is PEFT, or MLX if it holds that one's tensors only; a file is GGUF.
AdapterFile read_adapter_file(const FileRoot& root, const std::string& path);

// Gathers A and B tensors by linear.
class PairCollector {
 public:
  explicit PairCollector(std::string path) : path_(std::move(path)) {}
  void add(int layer, Target target, bool is_a, const FileTensor& tensor);
  void add_magnitude(int layer, Target target, const FileTensor& tensor);
  // All pairs. Error: an A without its B or the other way round, not matrices, ranks that differ, no pair at
  // all.
  std::vector<FilePair> finish() const;

 private:
  FilePair& pair_at(int layer, Target target);

  std::string path_;
  std::map<std::pair<int, Target>, FilePair> layers_;
  FilePair head_{0, Target::kHead, nullptr, nullptr, 0};
};

}  // namespace chorus
