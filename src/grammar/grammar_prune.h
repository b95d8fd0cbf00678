#pragma once

#include <optional>

#include "grammar/grammar.h"

namespace chorus {

// Copies what `root` reaches in `from` into `to`, without whatever no text can end: such a part of a choice
// is left out, such an optional part is never there. Nothing where `root` itself matches no text. Linear in
// the size of `from`; `from` is built bottom up, as Grammar's functions do.
std::optional<ExprId> copy_productive(const Grammar& from, ExprId root, Grammar& to);

}  // namespace chorus
