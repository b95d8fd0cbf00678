#pragma once

#include <optional>
#include <vector>

#include "grammar/json_grammar.h"

namespace chorus {

struct ListElement {
  ExprId expr;
  bool required;
};

// At least one element: `elements` in their order, each at most once, then any number of `more`; between
// `least` and `greatest` (below 0: no bound) in all. `distinct_more`: two of `more` may be the same, so that
// only one of them counts towards `least`. Nothing: more than 10,000 combinations of place and count.
std::optional<ExprId> list_of(JsonGrammar& text, const std::vector<ListElement>& elements,
                              std::optional<ExprId> more, int least, int greatest, bool distinct_more);

}  // namespace chorus
