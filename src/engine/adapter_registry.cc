#include "engine/adapter_registry.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "base/error.h"
#include "base/process_memory.h"
#include "model/adapter_pack.h"

namespace chorus {
namespace {

bool valid_name(std::string_view name) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && name[0] != '.' && std::ranges::all_of(name, allowed);
}

void require_name(std::string_view name) {
  if (valid_name(name)) return;
  fail("adapter name \"{}\": 1 to 64 letters, digits, '.', '_' and '-' are allowed, not beginning with '.'",
       printable(name));
}

MixPart parse_part(std::string_view text) {
  const size_t at = text.find('@');
  MixPart part{std::string(text.substr(0, at)), 1};
  require_name(part.name);
  if (at == std::string_view::npos) return part;
  const std::string_view number = text.substr(at + 1);
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), part.scale);
  if (error != std::errc() || end != number.data() + number.size() || !(std::abs(part.scale) <= 100)) {
    fail("adapter mix: the scale \"{}\" of {} is not a number in -100..100", printable(number), part.name);
  }
  return part;
}

}  // namespace

std::vector<MixPart> parse_mix(std::string_view text) {
  std::vector<MixPart> parts;
  for (;;) {
    const size_t plus = text.find('+');
    MixPart part = parse_part(text.substr(0, plus));
    for (const MixPart& other : parts) {
      if (other.name == part.name) fail("adapter mix: {} occurs twice", part.name);
    }
    parts.push_back(std::move(part));
    if (plus == std::string_view::npos) return parts;
    text.remove_prefix(plus + 1);
  }
}

AdapterRegistry::AdapterRegistry(const ModelConfig& config, std::vector<std::string> base_names,
                                 DivergenceProbe probe)
    : config_(config), base_names_(std::move(base_names)), probe_(std::move(probe)) {}

AdapterRegistry::Entry AdapterRegistry::choose_form(AdapterHandle exact) const {
  if (!probe_) return {std::move(exact), {}};
  AdapterHandle int8 = to_int8(*exact);
  if (int8->bytes() >= exact->bytes()) return {std::move(exact), {}};
  const double divergence = probe_(*exact, *int8);
  return {divergence <= kMaxInt8Divergence ? std::move(int8) : std::move(exact), divergence};
}

void AdapterRegistry::load(const std::string& name, const std::string& path) {
  require_name(name);
  if (std::ranges::find(base_names_, name) != base_names_.end())
    fail("adapter name \"{}\" is the base's", name);
  Entry entry = choose_form(load_adapter(path, config_));
  return_freed_memory();
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
  namespace fs = std::filesystem;
  std::error_code error;
  fs::directory_iterator entries(directory, error);
  if (error) fail("{}: {}", printable(directory, 300), error.message());
  for (const fs::directory_entry& entry : entries) {
    const bool folder = fs::exists(entry.path() / "adapter_config.json");
    if (folder) load(entry.path().filename(), entry.path());
    if (!folder && entry.path().extension() == ".gguf") load(entry.path().stem(), entry.path());
  }
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
    infos.push_back({name, entry.adapter->form(), entry.adapter->bytes(), entry.divergence});
  }
  return infos;
}

AdapterHandle AdapterRegistry::find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto it = adapters_.find(name);
  return it == adapters_.end() ? nullptr : it->second.adapter;
}

std::vector<AdapterUse> AdapterRegistry::resolve(std::string_view mix) const {
  if (mix.empty() || std::ranges::find(base_names_, mix) != base_names_.end()) return {};
  std::vector<AdapterUse> uses;
  for (const MixPart& part : parse_mix(mix)) {
    AdapterHandle adapter = find(part.name);
    if (adapter == nullptr) {
      fail("no adapter \"{}\"; known: {}", part.name,
           names().empty() ? "none" : fmt::format("{}", fmt::join(names(), ", ")));
    }
    uses.push_back({std::move(adapter), part.scale});
  }
  return uses;
}

}  // namespace chorus
