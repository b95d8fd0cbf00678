#pragma once

#include "formats/jinja_context.h"

namespace chorus::jinja {

// range, dict, namespace, joiner, cycler, raise_exception, strftime_now.
void define_globals(Context& ctx, Scope& scope);

}  // namespace chorus::jinja
