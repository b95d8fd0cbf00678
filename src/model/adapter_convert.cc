#include "model/adapter_convert.h"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "model/adapter_io.h"
#include "model/adapter_probe.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// A new directory beside `path`, which goes with all that is still in it.
class Workshop {
 public:
  explicit Workshop(const std::string& path) : directory_(path + ".XXXXXX") {
    if (mkdtemp(directory_.data()) == nullptr)
      fail("{}: cannot make a directory beside it: {}", printable(path, 300), std::strerror(errno));
  }
  ~Workshop() {
    std::error_code error;
    fs::remove_all(directory_, error);
  }
  Workshop(const Workshop&) = delete;
  Workshop& operator=(const Workshop&) = delete;
  std::string path(std::string_view name) const { return fmt::format("{}/{}", directory_, name); }

 private:
  std::string directory_;
};

constexpr int kSequences = 3, kTokens = 24;  // of one

// Tokens that mean nothing, the same each time, from all of the vocabulary.
std::vector<int32_t> check_tokens(int sequence, int vocab) {
  std::vector<int32_t> tokens;
  uint32_t state = 12345u + static_cast<uint32_t>(sequence);
  for (int i = 0; i < kTokens; ++i) {
    state = state * 1664525u + 1013904223u;
    tokens.push_back(static_cast<int32_t>((state >> 8) % static_cast<uint32_t>(vocab)));
  }
  return tokens;
}

ConversionCheck check(const Model& model, ThreadTeam& team, const Adapter& original,
                      const Adapter& converted) {
  ConversionCheck result;
  for (int i = 0; i < kSequences; ++i) {
    const std::vector<int32_t> tokens = check_tokens(i, model.config.vocab);
    const AdapterComparison same = compare_adapters(model, team, &original, &converted, tokens);
    const AdapterComparison base = compare_adapters(model, team, &original, nullptr, tokens);
    if (!(same.difference <= result.difference)) result.difference = same.difference;
    result.effect = std::max(result.effect, base.difference);
    result.largest = std::max(result.largest, same.largest);
    result.tokens += kTokens;
  }
  return result;
}

}  // namespace

bool ConversionCheck::close() const { return difference <= 1e-3 * effect + 1e-6 * largest; }

ConversionCheck convert_adapter(const AdapterFile& adapter, const std::string& out, AdapterFormat format,
                                const Model& model, ThreadTeam& team) {
  if (fs::exists(fs::symlink_status(out))) fail("{}: is there already", printable(out, 300));
  const AdapterHandle original = load_adapter(adapter, model.config, &model);
  const Workshop workshop(out);
  const std::string written = workshop.path("adapter");
  if (format == AdapterFormat::kPeft) {
    write_peft_adapter(written, adapter, model.config);
  } else {
    write_gguf_adapter(written, adapter, model.config);
  }
  const ConversionCheck result = check(model, team, *original, *load_adapter(written, model.config, &model));
  if (!result.close()) {
    fail(
        "{}: not written: its logits would be up to {:.3g} from the original's, which are up to {:.3g} from "
        "the base's",
        printable(out, 300), result.difference, result.effect);
  }
  rename_durably(written, out);
  return result;
}

}  // namespace chorus
