#include "train/tune_model.h"

#include <algorithm>
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

std::vector<Target> parse_targets(const std::string& text) {
  std::vector<Target> targets;
  std::vector<std::string_view> names;
  for (int t = 0; t < kLayerTargets; ++t) {
    const auto target = static_cast<Target>(t);
    names.push_back(target_info(target).hf_name);
    if (text == "all-linear") targets.push_back(target);
  }
  if (!targets.empty()) return targets;
  for (const std::string_view part : split_commas(text)) {
    const auto found = std::ranges::find(names, part);
    if (found == names.end())
      fail("target \"{}\": must be all-linear, or some of {}", printable(part), fmt::join(names, ","));
    const auto target = static_cast<Target>(found - names.begin());
    if (std::ranges::find(targets, target) == targets.end()) targets.push_back(target);
  }
  std::ranges::sort(targets);
  return targets;
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
