// What a client sends to have an adapter tuned: the first line a form's content type, the rest the form; and
// all of it as the description of a job. Whatever is taken must be within its bounds.

#include <algorithm>

#include "fuzz_target.h"
#include "server/multipart.h"
#include "server/tuning_objects.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = chorus::text_of(data, size);
  const size_t line = std::min(text.find('\n'), text.size());
  const std::string_view body = text.substr(std::min(line + 1, text.size()));
  try {
    size_t bytes = 0;
    const std::vector<chorus::FormPart> parts = chorus::read_form(text.substr(0, line), body);
    for (const chorus::FormPart& part : parts) bytes += part.content.size();
    chorus::require(parts.size() <= chorus::kMaxFormParts && bytes <= body.size());
  } catch (const chorus::Error&) {
  }
  try {
    const chorus::json::value value = chorus::parse_json(text, "the body");
    if (!value.is_object()) return 0;
    const chorus::JobRequest request = chorus::read_job_request(value.get_object());
    chorus::TuneSettings again;
    chorus::read_settings(chorus::settings_json(request.settings), again);
    chorus::require(again.rank >= 1 && again.rank <= 256 && again.batch >= 1);
  } catch (const chorus::Error&) {
  }
  return 0;
}
