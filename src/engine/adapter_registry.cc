#include "engine/adapter_registry.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <ranges>
#include <utility>

#include "base/error.h"
#include "engine/adapter_paths.h"

namespace chorus {
namespace {

MixPart parse_part(std::string_view text, const IsAdapter& is_adapter) {
  if (is_adapter && is_adapter(text)) return {std::string(text), 1};
  const size_t at = text.rfind('@');
  MixPart part{std::string(text.substr(0, at)), 1};
  if (!is_adapter || !is_adapter(part.name)) require_adapter_name(part.name);
  if (at == std::string_view::npos) return part;
  const std::string_view number = text.substr(at + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), part.scale);
  if (error != std::errc() || end != number.data() + number.size() || !(std::abs(part.scale) <= 100)) {
    fail("adapter mix: the scale \"{}\" of {} is not a number in -100..100", printable(number), part.name);
  }
  return part;
}

}  // namespace

std::vector<MixPart> parse_mix(std::string_view text, const IsAdapter& is_adapter) {
  std::vector<MixPart> parts;
  for (;;) {
    const size_t plus = text.find('+');
    MixPart part = parse_part(text.substr(0, plus), is_adapter);
    for (const MixPart& other : parts) {
      if (other.name == part.name) fail("adapter mix: {} occurs twice", part.name);
    }
    parts.push_back(std::move(part));
    if (plus == std::string_view::npos) return parts;
    text.remove_prefix(plus + 1);
  }
}

void AdapterRegistry::load(const std::string& name, const std::string& path) {
  loader_.require_name(name);
  Entry entry{loader_.load(FileRoot(), path), path};
  const std::lock_guard lock(mutex_);
  adapters_[name] = std::move(entry);
}

void AdapterRegistry::load_flag(std::string_view flag) {
  const size_t equals = flag.find('=');
  if (equals == std::string_view::npos || equals + 1 == flag.size()) {
    fail("--adapter {}: must be NAME=PATH", printable(flag));
  }
  load(std::string(flag.substr(0, equals)), std::string(flag.substr(equals + 1)));
}

void AdapterRegistry::load_directory(const std::string& directory) {
  for (const AdapterPlace& place : find_adapters(FileRoot(directory, Links::kFollow)))
    load(place.name, fmt::format("{}/{}", directory, place.path));
}

bool AdapterRegistry::unload(const std::string& name) {
  Entry removed;  // declared first: if this was its last user, it is freed after the lock
  const std::lock_guard lock(mutex_);
  const auto it = adapters_.find(name);
  if (it == adapters_.end()) return false;
  removed = std::move(it->second);
  adapters_.erase(it);
  return true;
}

std::vector<std::string> AdapterRegistry::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, entry] : adapters_) names.push_back(name);
  return names;
}

std::vector<AdapterInfo> AdapterRegistry::infos() const {
  const std::lock_guard lock(mutex_);
  std::vector<AdapterInfo> infos;
  for (const auto& [name, entry] : adapters_) {
    const Adapter& adapter = *entry.loaded.adapter;
    infos.push_back({name, adapter.form(), adapter.bytes(), entry.loaded.divergence, entry.loaded.warnings});
  }
  return infos;
}

AdapterHandle AdapterRegistry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = adapters_.find(name);
  return it == adapters_.end() ? nullptr : it->second.loaded.adapter;
}

AdapterSelection AdapterRegistry::select(std::string_view mix) const {
  if (mix.empty() || loader_.is_base(mix)) return {};
  return select(parse_mix(mix));
}

AdapterSelection AdapterRegistry::select(const std::vector<MixPart>& parts) const {
  AdapterSelection selection;
  const std::lock_guard lock(mutex_);
  for (const MixPart& part : parts) {
    const auto it = adapters_.find(part.name);
    if (it == adapters_.end()) {
      fail("no adapter \"{}\"; known: {}", part.name,
           adapters_.empty() ? "none" : fmt::format("{}", fmt::join(std::views::keys(adapters_), ", ")));
    }
    selection.uses.push_back({it->second.loaded.adapter, part.scale});
    if (parts.size() == 1) selection.chat_template = it->second.loaded.chat_template;
  }
  return selection;
}

std::map<std::string, AdapterRegistry::Entry> AdapterRegistry::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(adapters_, {});
}

}  // namespace chorus
