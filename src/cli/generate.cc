#include "cli/generate.h"

#include <algorithm>
#include <chrono>
#include <map>

#include "base/error.h"
#include "engine/text_stream.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

bool is_stop(const Request& request, int32_t token) {
  return std::find(request.stop_ids.begin(), request.stop_ids.end(), token) != request.stop_ids.end();
}

}  // namespace

double generate(Runtime& runtime, std::vector<Generation>& generations, const TextSink& sink,
                const std::function<bool()>& stop) {
  const Clock::time_point start = Clock::now();
  Engine& engine = runtime.engine();
  std::map<uint64_t, size_t> index_of;
  std::vector<TextStream> streams;
  std::vector<Request> requests;
  for (const Generation& generation : generations) {
    streams.emplace_back(runtime.tokenizer(), std::vector<std::string>{});
    requests.push_back(generation.request);
  }
  const std::vector<uint64_t> ids = engine.submit(std::move(requests));
  for (size_t i = 0; i < ids.size(); ++i) index_of[ids[i]] = i;
  const auto emit = [&](size_t i, const std::string& piece) {
    if (piece.empty()) return;
    generations[i].text += piece;
    sink(i, piece);
  };
  std::string error;
  const auto on_event = [&](const TokenEvent& event) {
    const size_t i = index_of.at(event.request);
    Generation& generation = generations[i];
    if (event.token >= 0) {
      if (generation.tokens++ == 0) generation.first_token_seconds = seconds_since(start);
      const bool ends = event.finish == FinishReason::kStop && is_stop(generation.request, event.token);
      if (!ends) emit(i, streams[i].push(event.token));
    }
    if (event.finish == FinishReason::kNone) return;
    emit(i, streams[i].finish());
    generation.finish = event.finish;
    if (event.finish == FinishReason::kError) error = event.error;
  };
  bool cancelled = false;
  while (!engine.idle()) {
    if (!cancelled && stop()) {
      for (const auto& [id, index] : index_of) engine.cancel(id);
      cancelled = true;
    }
    engine.step(on_event);
  }
  if (!error.empty()) fail("{}", error);
  return seconds_since(start);
}

}  // namespace chorus
