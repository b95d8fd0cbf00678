#include "train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "formats/json.h"
#include "formats/safetensors.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kManifest = "manifest.json";
constexpr size_t kKept = 2;

// Bytes as an f32 tensor, which safetensors can say; they are copied, never computed with.
FileTensor tensor_of(std::string name, std::span<const std::byte> bytes) {
  return {std::move(name), DType::kF32, {bytes.size() / sizeof(float)}, bytes};
}

// A piece at a time: checkpoints may be large. Of a file that cannot be read it is no file's.
std::string hash_of_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  Sha256 hash;
  std::vector<char> piece(size_t{1} << 20);
  while (file.read(piece.data(), static_cast<std::streamsize>(piece.size())) || file.gcount() > 0) {
    hash.add(std::as_bytes(std::span(piece).first(static_cast<size_t>(file.gcount()))));
  }
  return file.eof() ? to_hex(hash.finish()) : "";
}

// Numbers as text: exact both ways, which JSON parsers do not promise.
std::string exact_text(double number) { return fmt::format("{}", number); }

double exact_number(const json::value& value) {
  const std::string_view text = value.as_string();
  double number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

json::object state_json(const Trainer::Saved& saved) {
  const TuneState& state = saved.state;
  return {{"step", state.step},
          {"steps", state.steps},
          {"optimizer_steps", saved.optimizer_steps},
          {"train_loss", exact_text(state.train_loss)},
          {"gradient_norm", exact_text(state.gradient_norm)},
          {"learning_rate", exact_text(state.learning_rate)},
          {"validation_loss", exact_text(state.validation_loss)},
          {"best_loss", exact_text(state.best_loss)},
          {"best_step", state.best_step},
          {"worse", state.worse},
          {"stopped", state.stopped}};
}

TuneState state_of(const json::object& object) {
  const auto number = [&](const char* name) { return exact_number(object.at(name)); };
  const auto count = [&](const char* name) { return object.at(name).to_number<int64_t>(); };
  return {.step = count("step"),
          .steps = count("steps"),
          .train_loss = number("train_loss"),
          .gradient_norm = number("gradient_norm"),
          .learning_rate = number("learning_rate"),
          .validation_loss = number("validation_loss"),
          .best_loss = number("best_loss"),
          .best_step = count("best_step"),
          .worse = static_cast<int>(count("worse")),
          .stopped = object.at("stopped").as_bool()};
}

// Directories of checkpoints, whole or not, the newest first.
std::vector<fs::path> checkpoints_in(const std::string& directory) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().filename().string().starts_with("step-")) found.push_back(entry.path());
  }
  std::ranges::sort(found, std::greater<>());
  return found;
}

// The manifest of a checkpoint whose files are all there and are what it says; none: it is not whole.
std::optional<json::object> manifest_of(const fs::path& checkpoint) {
  try {
    const std::string path = checkpoint / kManifest;
    const MappedFile file(path, MappedFile::Access::kCopy);
    const auto bytes = file.bytes();
    json::object manifest =
        parse_json({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, path).as_object();
    for (const json::value& adapter : manifest.at("adapters").as_array()) {
      const json::object& fields = adapter.as_object();
      if (hash_of_file(checkpoint / std::string(fields.at("file").as_string())) !=
          fields.at("sha256").as_string())
        return std::nullopt;
    }
    return manifest;
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

std::optional<std::pair<fs::path, json::object>> newest_whole(const std::string& directory) {
  for (const fs::path& checkpoint : checkpoints_in(directory)) {
    if (std::optional<json::object> manifest = manifest_of(checkpoint)) return {{checkpoint, *manifest}};
  }
  return std::nullopt;
}

void require_equal(const json::object& manifest, const char* field, const std::string& now,
                   const std::string& where, std::string_view what) {
  const json::value* then = manifest.if_contains(field);
  if (then != nullptr && then->is_string() && then->get_string() == now) return;
  fail("{}: was begun with {}; start anew in another directory, or without --resume", printable(where, 300),
       what);
}

void copy_tensor(const SafetensorsFile& file, std::string_view name, std::span<std::byte> to) {
  const FileTensor* tensor = file.find(name);
  if (tensor == nullptr || tensor->data.size() != to.size())
    fail("{}: {} is not of the size that this run has", printable(file.path(), 300), name);
  std::ranges::copy(tensor->data, to.begin());
}

int64_t step_of(Trainer& trainer) {
  int64_t step = 0;
  for (size_t i = 0; i < trainer.size(); ++i) step = std::max(step, trainer.state(i).step);
  return step;
}

void add_examples(Sha256& hash, const std::vector<TokenizedExample>& examples) {
  for (const TokenizedExample& example : examples) {
    hash.add(fmt::format("{}\n", example.tokens.size()));
    hash.add(std::as_bytes(std::span(example.tokens)));
    hash.add(std::as_bytes(std::span(example.label)));
  }
}

}  // namespace

std::string settings_hash(const std::vector<TuneTask>& tasks, const TrainerLimits& limits) {
  Sha256 hash;
  hash.add(fmt::format("2 {} {}\n", limits.rows, limits.exact));
  for (const TuneTask& task : tasks) {
    const AdamWOptions& adam = task.adam;
    hash.add(fmt::format("{} {} {} {} {} {} {}\n", task.name, task.shape.rank, task.shape.alpha,
                         task.shape.rslora, task.shape.dora, fmt::join(task.shape.layers, ","),
                         task.shape.targets.size()));
    for (const Target target : task.shape.targets) hash.add(fmt::format("{} ", static_cast<int>(target)));
    for (const ModulePlace& module : task.shape.modules)
      hash.add(fmt::format("{} ", module_name(module.layer, module.target)));
    hash.add(fmt::format("{} {} {} {} {} {} {}\n", adam.learning_rate, adam.beta1, adam.beta2, adam.epsilon,
                         adam.weight_decay, adam.b_ratio, adam.clip_norm));
    hash.add(fmt::format("{} {} {} {} {} {} {} {} {} {}\n", static_cast<int>(task.schedule), task.warmup,
                         task.epochs, task.max_steps, task.batch, task.dropout, task.eval_every,
                         task.patience, task.seed, task.eight_bit));
    add_examples(hash, task.train);
    add_examples(hash, task.validation);
  }
  return to_hex(hash.finish());
}

void save_checkpoint(Trainer& trainer, const std::string& directory, const RunIdentity& identity) {
  const fs::path checkpoint = fs::path(directory) / fmt::format("step-{:08}", step_of(trainer));
  std::error_code error;
  fs::remove_all(checkpoint, error);
  fs::create_directories(checkpoint, error);
  if (error) fail("{}: cannot be made: {}", printable(checkpoint.string(), 300), error.message());
  json::array adapters;
  for (size_t i = 0; i < trainer.size(); ++i) {
    const Trainer::Saved saved = trainer.saved(i);
    const std::string name = fmt::format("{}.safetensors", i);
    write_safetensors(checkpoint / name,
                      {tensor_of("values", saved.values), tensor_of("best_values", saved.best_values),
                       tensor_of("moments", saved.moments)},
                      {});
    json::object fields = state_json(saved);
    fields["name"] = trainer.task(i).name;
    fields["file"] = name;
    fields["sha256"] = hash_of_file(checkpoint / name);
    adapters.push_back(std::move(fields));
  }
  AtomicFile manifest(checkpoint / kManifest);
  manifest.write(json::serialize(json::object{{"base", identity.base},
                                              {"kernels", identity.kernels},
                                              {"settings", identity.settings},
                                              {"adapters", adapters}}) +
                 "\n");
  manifest.commit();
  const std::vector<fs::path> all = checkpoints_in(directory);
  for (size_t i = kKept; i < all.size(); ++i) fs::remove_all(all[i], error);
}

std::optional<int64_t> load_checkpoint(Trainer& trainer, const std::string& directory,
                                       const RunIdentity& identity) {
  const auto found = newest_whole(directory);
  if (!found) return std::nullopt;
  const auto& [checkpoint, manifest] = *found;
  require_equal(manifest, "base", identity.base, directory, "another base model");
  require_equal(manifest, "settings", identity.settings, directory, "other data or settings");
  require_equal(manifest, "kernels", identity.kernels, directory,
                fmt::format("other kernels than {}, which round otherwise", identity.kernels));
  const json::array& adapters = manifest.at("adapters").as_array();
  for (size_t i = 0; i < trainer.size(); ++i) {
    const json::object& fields = adapters.at(i).as_object();
    const SafetensorsFile file =
        SafetensorsFile::open(checkpoint / std::string(fields.at("file").as_string()));
    const Trainer::Saved saved = trainer.saved(i);
    copy_tensor(file, "values", saved.values);
    copy_tensor(file, "best_values", saved.best_values);
    copy_tensor(file, "moments", saved.moments);
    trainer.restore(i, state_of(fields), fields.at("optimizer_steps").to_number<int64_t>());
  }
  return step_of(trainer);
}

bool has_checkpoint(const std::string& directory) { return newest_whole(directory).has_value(); }

}  // namespace chorus
