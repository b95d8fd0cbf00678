#include <algorithm>

#include "fuzz_target.h"
#include "http/request_parser.h"

namespace chorus {
namespace {

struct Outcome {
  RequestParser parser;
  size_t taken;
};

Outcome parse(std::string_view bytes, const HttpLimits& limits, size_t piece) {
  Outcome outcome{RequestParser(limits), 0};
  RequestParser& parser = outcome.parser;
  size_t end = 0;
  while (outcome.taken < bytes.size() && parser.state() < RequestParser::State::kDone) {
    if (end == outcome.taken) end = std::min(end + piece, bytes.size());
    outcome.taken += parser.feed(bytes.substr(outcome.taken, end - outcome.taken));
    if (parser.state() == RequestParser::State::kHeadDone) parser.read_body();
  }
  return outcome;
}

}  // namespace
}  // namespace chorus

// The first byte says how large the pieces are in which the rest comes. That must not change the outcome, and
// what is accepted must be within the limits.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using State = chorus::RequestParser::State;
  if (size == 0) return 0;
  const std::string_view bytes = chorus::text_of(data + 1, size - 1);
  chorus::HttpLimits limits;
  limits.body_bytes = 512;
  limits.header_bytes = 512;
  limits.target_bytes = 128;
  limits.headers = 16;
  const chorus::Outcome whole = chorus::parse(bytes, limits, std::max<size_t>(bytes.size(), 1));
  const chorus::Outcome cut = chorus::parse(bytes, limits, data[0] % 32u + 1u);
  chorus::require(whole.parser.state() == cut.parser.state());
  if (whole.parser.state() == State::kFailed) {
    chorus::require(whole.parser.problem().status == cut.parser.problem().status);
    return 0;
  }
  chorus::require(whole.taken == cut.taken);
  const chorus::HttpRequest &one = whole.parser.request(), &other = cut.parser.request();
  chorus::require(one.method == other.method && one.path == other.path && one.query == other.query &&
                  one.headers == other.headers && one.body == other.body);
  chorus::require(one.body.size() <= limits.body_bytes && one.headers.size() <= 16);
  if (whole.parser.state() == State::kDone)
    chorus::require(one.path.starts_with('/') && one.path.find('\0') == one.path.npos);
  return 0;
}
