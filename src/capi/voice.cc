#include "capi/voice.h"

#include <algorithm>
#include <array>
#include <memory>

#include "formats/unicode.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr size_t kMaxStops = 16, kMaxStopBytes = 256, kMaxMessages = 4096,
                 kMaxGrammarBytes = size_t{64} << 10;

std::string text_of(const char* text, std::string_view what) {
  std::string copy(text == nullptr ? "" : text);
  if (to_valid_utf8(copy) != copy) fail("{} is no valid UTF-8", what);
  return copy;
}

json::object turn(const std::string& role, const std::string& content) {
  return {{"role", role}, {"content", content}};
}

json::array messages_of(const chorus_voice& voice) {
  json::array messages;
  if (voice.messages == nullptr) {
    if (voice.system != nullptr && *voice.system != '\0')
      messages.push_back(turn("system", text_of(voice.system, "system")));
    messages.push_back(turn("user", text_of(voice.prompt, "prompt")));
    return messages;
  }
  if (voice.message_count == 0 || voice.message_count > kMaxMessages)
    fail("message_count is {}; from 1 to {}", voice.message_count, kMaxMessages);
  constexpr std::array<std::string_view, 3> kRoles{"system", "user", "assistant"};
  for (size_t i = 0; i < voice.message_count; ++i) {
    const std::string role = text_of(voice.messages[i].role, "role");
    if (std::ranges::find(kRoles, role) == kRoles.end())
      fail("messages[{}].role is {}; it must be system, user or assistant", i, printable(role));
    messages.push_back(turn(role, text_of(voice.messages[i].content, "content")));
  }
  return messages;
}

std::vector<int32_t> prompt_of(const Runtime& runtime, const chorus_voice& voice,
                               const AdapterSelection& adapters) {
  const bool one = (voice.prompt != nullptr) != (voice.messages != nullptr);
  if (!one) fail("it must have a prompt or messages, and not both");
  if (voice.raw != 0) {
    if (voice.messages != nullptr) fail("raw goes with a prompt, not with messages");
    return runtime.encode_text(text_of(voice.prompt, "prompt"));
  }
  return runtime.encode_chat({{"messages", messages_of(voice)}}, true, adapters.chat_template.get());
}

AdapterSelection adapters_of(const Runtime& runtime, const chorus_voice& voice) {
  const std::string use = text_of(voice.use, "use");
  const AdapterRegistry& registry = runtime.adapters();
  if (use.empty() || registry.loader().is_base(use)) return {};
  const std::vector<MixPart> parts = parse_mix(use);
  for (const MixPart& part : parts) {
    if (registry.find(part.name) == nullptr)
      throw UnknownAdapter(fmt::format("no adapter {} is loaded", part.name));
  }
  return registry.select(parts);
}

SamplingParams sampling_of(const chorus_voice& voice) {
  const auto check = [](std::string_view name, float value, float min, float max) {
    if (!(value >= min && value <= max)) fail("{} is {}; from {} to {}", name, value, min, max);
  };
  check("temperature", voice.temperature, 0, 100);
  check("top_p", voice.top_p, 0, 1);
  check("min_p", voice.min_p, 0, 1);
  check("repetition_penalty", voice.repetition_penalty, 0.01F, 100);
  if (voice.top_k < 0) fail("top_k is {}; 0 or more", voice.top_k);
  SamplingParams sampling;
  sampling.temperature = voice.temperature;
  sampling.top_k = voice.top_k;
  sampling.top_p = voice.top_p;
  sampling.min_p = voice.min_p;
  sampling.repetition_penalty = voice.repetition_penalty;
  sampling.seed = voice.seed;
  return sampling;
}

std::vector<std::string> stops_of(const chorus_voice& voice) {
  if (voice.stop_count > kMaxStops) fail("stop_count is {}; at most {}", voice.stop_count, kMaxStops);
  if (voice.stop_count > 0 && voice.stop == nullptr)
    fail("stop is NULL and stop_count is {}", voice.stop_count);
  std::vector<std::string> stops;
  for (size_t i = 0; i < voice.stop_count; ++i) {
    stops.push_back(text_of(voice.stop[i], "stop"));
    if (stops.back().empty() || stops.back().size() > kMaxStopBytes)
      fail("stop[{}] has {} bytes; from 1 to {}", i, stops.back().size(), kMaxStopBytes);
  }
  return stops;
}

ConstraintHandle constraint_of(Runtime& runtime, const chorus_voice& voice) {
  const std::array<const char*, 3> kinds{voice.json_schema, voice.regex, voice.grammar};
  constexpr std::array<std::string_view, 3> kNames{"json_schema", "regex", "grammar"};
  const auto given = std::ranges::count_if(kinds, [](const char* text) { return text != nullptr; });
  if (given == 0) return nullptr;
  if (given > 1) fail("json_schema, regex and grammar all say what the answer must be; give one");
  const auto kind = static_cast<size_t>(
      std::ranges::find_if(kinds, [](const char* text) { return text != nullptr; }) - kinds.begin());
  const std::string text = text_of(kinds[kind], kNames[kind]);
  if (text.size() > kMaxGrammarBytes)
    fail("{} has {} bytes; at most {}", kNames[kind], text.size(), kMaxGrammarBytes);
  return runtime.constraints().compile(fmt::format("{}:{}", kNames[kind], text), [&] {
    if (kind == 0) return schema_grammar(parse_json(text, "json_schema"));
    return kind == 1 ? parse_regex(text) : parse_gbnf(text);
  });
}

}  // namespace

VoiceRequest read_voice(Runtime& runtime, const chorus_voice& voice) {
  VoiceRequest read;
  AdapterSelection adapters = adapters_of(runtime, voice);
  read.request.prompt = prompt_of(runtime, voice, adapters);
  read.request.adapters = std::move(adapters.uses);
  if (voice.max_tokens < 1) fail("max_tokens is {}; 1 or more", voice.max_tokens);
  const int context = runtime.engine().config().context_length;
  const int room = context - static_cast<int>(read.request.prompt.size());
  if (room < 1) fail("the prompt has {} tokens; the context holds {}", read.request.prompt.size(), context);
  read.request.max_tokens = std::min(voice.max_tokens, room);
  read.request.stop_ids = runtime.tokenizer().stop_ids();
  read.request.sampling = sampling_of(voice);
  read.request.constraint = constraint_of(runtime, voice);
  read.stops = stops_of(voice);
  return read;
}

}  // namespace chorus
