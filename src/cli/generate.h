#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engine/runtime.h"

namespace chorus {

// One text to generate, and what came of it.
struct Generation {
  Request request;
  std::string text;
  int tokens = 0;
  double first_token_seconds = 0;  // from the start of generate()
  FinishReason finish = FinishReason::kNone;
};

// Called with each piece of text as it comes; `index` is the generation's.
using TextSink = std::function<void(size_t index, const std::string& piece)>;

// Runs all generations together in one batch until they have ended, or `stop` says so: then they are
// cancelled. Returns the seconds it took. Error: a request that is refused, or fails.
double generate(Runtime& runtime, std::vector<Generation>& generations, const TextSink& sink,
                const std::function<bool()>& stop);

}  // namespace chorus
