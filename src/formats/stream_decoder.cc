#include "base/utf8.h"
#include "formats/tokenizer.h"

namespace chorus {
namespace {

// Moves what is certain from `pending` to the result: all of it, or all but the beginning of a character.
std::string take_certain(std::string& pending, bool all) {
  std::string out;
  size_t i = 0;
  while (i < pending.size()) {
    const Utf8Char c = decode_utf8(std::string_view(pending).substr(i));
    if (c.truncated && !all) break;
    append_utf8(out, c.code_point);
    i += c.length;
  }
  pending.erase(0, i);
  return out;
}

}  // namespace

std::string StreamDecoder::push(int32_t id) {
  if (tokenizer_->is_special(id)) return {};
  const std::string bytes = tokenizer_->token_bytes(id);
  if (bytes.empty()) return {};
  pending_ += at_start_ ? tokenizer_->decode({&id, 1}) : bytes;
  at_start_ = false;
  return take_certain(pending_, false);
}

std::string StreamDecoder::finish() {
  at_start_ = true;
  return take_certain(pending_, true);
}

}  // namespace chorus
