#include "train/tune_model.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/error.h"

namespace chorus {
namespace {

std::vector<std::string_view> split_commas(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) return parts;
    text.remove_prefix(comma + 1);
  }
}

// A whole number that is all of `text`; -1: it is not.
int number_of(std::string_view text) {
  int value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? value : -1;
}

// All that can be in a list: the head too, which all-linear leaves out as PEFT does.
constexpr std::array kListed = {Target::kQ,    Target::kK,  Target::kV,    Target::kO,
                                Target::kGate, Target::kUp, Target::kDown, Target::kHead};

// Those of a list of names; none: it is no such list.
std::optional<std::vector<Target>> listed_targets(const std::string& text) {
  if (text == "all-linear") return std::vector(kListed.begin(), kListed.begin() + kLayerTargets);
  std::vector<Target> targets;
  for (const std::string_view part : split_commas(text)) {
    const auto found =
        std::ranges::find(kListed, part, [](Target target) { return target_info(target).hf_name; });
    if (found == kListed.end()) return std::nullopt;
    targets.push_back(*found);
  }
  std::ranges::sort(targets);
  targets.erase(std::ranges::unique(targets).begin(), targets.end());
  return targets;
}

std::string known_targets() {
  std::vector<std::string_view> names;
  for (const Target target : kListed) names.push_back(target_info(target).hf_name);
  return fmt::format("all-linear, some of {}, or a regular expression for names as {}", fmt::join(names, ","),
                     module_name(0, Target::kQ));
}

// The modules that a regular expression matches: of the layers (empty: all), and the head.
std::vector<ModulePlace> matching_modules(const std::string& pattern, const std::vector<int>& layers,
                                          int model_layers) {
  const ModuleSet set(json::value(pattern), fmt::format("targets \"{}\"", printable(pattern)));
  std::vector<ModulePlace> modules;
  const auto add = [&](int layer, Target target) {
    if (set.contains(module_name(layer, target))) modules.push_back({layer, target});
  };
  for (int layer = 0; layer < model_layers; ++layer) {
    if (!layers.empty() && std::ranges::find(layers, layer) == layers.end()) continue;
    for (int t = 0; t < kLayerTargets; ++t) add(layer, static_cast<Target>(t));
  }
  add(0, Target::kHead);
  if (modules.empty())
    fail("targets \"{}\": no linear is called so; must be {}", printable(pattern), known_targets());
  return modules;
}

}  // namespace

TuneModel::TuneModel(TensorSource& source, int threads, std::vector<int> cpus, std::string cache)
    : team_(threads, std::move(cpus)),
      cache_{.directory = std::move(cache), .problem = {}},
      kernels_(choose_kernels()),
      model_(load_model(source, team_, cache_)) {}

const char* TuneModel::kernels_name() const { return kernels_.name; }

Trainer TuneModel::trainer(std::vector<TuneTask> tasks, const TrainerLimits& limits) {
  return {model_, kernels_, team_, std::move(tasks), limits};
}

TuneModel::Forward TuneModel::forward(int pages, const StepLimits& limits) {
  struct State {
    State(const Model& model, const Kernels& kernels, int pages, const StepLimits& limits)
        : kv(model.config, kernels.default_kv, pages), transformer(model, kernels, kv, limits) {}
    KvPages kv;
    Transformer transformer;
  };
  auto state = std::make_shared<State>(model_, kernels_, pages, limits);
  return [this, state](const Batch& batch, std::span<float> logits) {
    state->transformer.forward(team_, batch, logits);
  };
}

Trainer make_trainer(const Model& model, ThreadTeam& team, std::vector<TuneTask> tasks,
                     const TrainerLimits& limits) {
  return {model, choose_kernels(), team, std::move(tasks), limits};
}

void set_targets(LoraShape& shape, const std::string& targets, const std::string& layers, int model_layers) {
  shape.layers = parse_layers(layers, model_layers);
  if (std::optional<std::vector<Target>> listed = listed_targets(targets)) {
    shape.targets = std::move(*listed);
  } else {
    shape.modules = matching_modules(targets, shape.layers, model_layers);
  }
}

std::vector<int> parse_layers(const std::string& text, int layers) {
  std::vector<int> out;
  if (text.empty()) return out;
  for (const std::string_view part : split_commas(text)) {
    const size_t dash = part.find('-');
    const int first = number_of(part.substr(0, dash));
    const int last = dash == std::string_view::npos ? first : number_of(part.substr(dash + 1));
    if (first < 0 || last < first || last >= layers) {
      fail("layers \"{}\": must be a list like 0-3,7 of this model's layers 0-{}", printable(text),
           layers - 1);
    }
    for (int layer = first; layer <= last; ++layer) out.push_back(layer);
  }
  std::ranges::sort(out);
  out.erase(std::ranges::unique(out).begin(), out.end());
  return out;
}

}  // namespace chorus
