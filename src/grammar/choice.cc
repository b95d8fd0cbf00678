#include <utility>

#include "base/error.h"
#include "grammar/sources.h"

namespace chorus {

Grammar choice_grammar(const std::vector<std::string>& choices) {
  if (choices.empty()) fail("choice: the list is empty; at least one text");
  Grammar grammar;
  std::vector<ExprId> parts;
  for (const std::string& choice : choices) parts.push_back(grammar.literal(choice));
  grammar.set_root(grammar.choice(std::move(parts)));
  return grammar;
}

}  // namespace chorus
