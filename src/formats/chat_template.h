#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "formats/json.h"

namespace chorus {

// Bounds on one rendering; passing one is an Error that names it. A template is data from a model file: it
// gets no file, no environment, no attribute of a C++ object, and no way to run for ever.
struct TemplateLimits {
  int64_t fuel = 500'000;  // expression and statement evaluations, and elements or bytes produced by
                           // range(), repetition, joins and the like
  int depth = 64;          // nested expressions, blocks and macro calls
  size_t output_bytes = 8u << 20;
};

// A chat template: Jinja2 as Hugging Face transformers configures it (trim_blocks, lstrip_blocks, loop
// controls, `tojson` without HTML escapes and with non-ASCII kept, raise_exception, strftime_now). Immutable
// and thread-safe.
class ChatTemplate {
 public:
  // Parses the template. Error: the syntax error with its line, or a construct outside the subset, by name.
  explicit ChatTemplate(std::string_view source, TemplateLimits limits = {});
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The text for `variables` (messages, tools, documents, add_generation_prompt, bos_token, eos_token, ...).
  // Error: what the template raised, or an undefined operation, with its line. `now_unix` is what
  // strftime_now formats (UTC), so that a rendering is a function of its input.
  std::string render(const json::object& variables, int64_t now_unix = 0) const;

  const std::string& source() const;

 private:
  struct Impl;
  std::unique_ptr<const Impl> impl_;
};

}  // namespace chorus
