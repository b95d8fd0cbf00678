#include "model/config.h"

#include "base/error.h"

namespace chorus {
namespace {

void require(bool ok, std::string_view what, std::string_view field, int64_t value, std::string_view right) {
  if (!ok) fail("{}: {} is {}; {}", what, field, value, right);
}

}  // namespace

void validate(const ModelConfig& c, std::string_view what) {
  constexpr int kMaxWidth = 1 << 20;
  const auto in_range = [&](std::string_view field, int64_t value, int64_t max) {
    require(value >= 1 && value <= max, what, field, value, fmt::format("it must be in 1..{}", max));
  };
  in_range("the number of layers", static_cast<int64_t>(c.layers.size()), 1024);
  in_range("the hidden size", c.hidden, kMaxWidth);
  in_range("the MLP size", c.ffn, kMaxWidth);
  in_range("the vocabulary size", c.vocab, 1 << 24);
  in_range("the context length", c.context_length, 1 << 28);
  in_range("the number of attention heads", c.heads, 4096);
  in_range("the number of key-value heads", c.kv_heads, c.heads);
  in_range("the head dimension", c.head_dim, 512);
  require(c.heads % c.kv_heads == 0, what, "the number of key-value heads", c.kv_heads,
          fmt::format("it must divide the {} attention heads", c.heads));
  require(c.head_dim % 16 == 0, what, "the head dimension", c.head_dim, "multiples of 16 are supported");
  if (!(c.norm_eps >= 0 && c.norm_eps < 1))
    fail("{}: the norm's epsilon is {}; it must be in 0..1", what, c.norm_eps);
}

}  // namespace chorus
