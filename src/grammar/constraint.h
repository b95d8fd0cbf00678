#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "formats/tokenizer.h"
#include "grammar/grammar.h"

namespace chorus {

// Bounds of one compiled grammar; passing one at compile time is an Error that names it. What is worked out
// while generating begins anew where it passes them, and answers under way move over.
struct ConstraintLimits {
  std::chrono::milliseconds compile_time{
      1000};  // a few is usual; a busy machine must not refuse what an idle one takes
  size_t states = 10'000;
  size_t bytes = size_t{64} << 20;
  size_t cache_bytes = size_t{256} << 20;  // of all compiled grammars that are kept for the next request
};

// A grammar compiled against a vocabulary: a token-level automaton whose states hold a mask of the tokens
// that may come next. Thread-safe; lives as long as somebody holds it.
class Constraint;
using ConstraintHandle = std::shared_ptr<const Constraint>;

// Compiles grammars for one tokenizer, keeps those used last, and owns the thread that builds the masks of
// states that are met for the first time. Thread-safe.
class ConstraintCompiler {
 public:
  // `stop_ids` end an answer where the grammar may end. `on_ready` is called on the builder's thread each
  // time a state that somebody waits for has its mask. `tokenizer` must outlive this, and this every
  // Constraint.
  ConstraintCompiler(const Tokenizer& tokenizer, std::vector<int32_t> stop_ids,
                     std::function<void()> on_ready, ConstraintLimits limits = {});
  ~ConstraintCompiler();

  // `key` names the grammar for the cache ("json_schema:" and its text, say); `make` is called where it is
  // not there. On the caller's thread, never the engine's. The first state's mask is ready when this returns.
  // Error: `make`'s; a rule that is not defined, can only recurse or is left-recursive; a bound; a grammar
  // that no text matches.
  ConstraintHandle compile(const std::string& key, const std::function<Grammar()>& make);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Where one answer stands in its grammar. One thread at a time; nothing here blocks or allocates where the
// step was taken before by anybody; else the builder's thread takes it and ready() says when.
class ConstraintState {
 public:
  explicit ConstraintState(ConstraintHandle constraint);
  ConstraintState(ConstraintState&&) noexcept;
  ConstraintState& operator=(ConstraintState&&) noexcept;
  ~ConstraintState();

  // Whether the mask of the present state is there. A sequence is not stepped until it is.
  bool ready() const;
  // The next state could not be worked out within the bounds, which is ready() too: the answer ends here, and
  // only error() may still be called.
  bool failed() const;
  const std::string& error() const;
  // Bit i % 64 of word i / 64: token i may come next. [ceil(vocab / 64)]; valid until advance(). The stop ids
  // are among them exactly where the text may end. Never all zero.
  std::span<const uint64_t> mask() const;
  bool must_end() const;              // only the stop ids are left
  bool is_stop(int32_t token) const;  // ends the text
  // The token was chosen; it is one of mask()'s. After a stop id nothing more may be called.
  void advance(int32_t token);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
