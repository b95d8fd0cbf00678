#pragma once

#include <string>

#include "engine/benchmark.h"
#include "formats/json.h"

namespace chorus {

// Every figure with its unit in its name. Rates come twice: tokens_per_second from the median sample,
// mean_tokens_per_second from all of them, disturbances included. What was not measured is absent.
json::object benchmark_json(const BenchmarkReport& report);

// The same for people, as lines of text.
std::string benchmark_table(const BenchmarkReport& report);

}  // namespace chorus
