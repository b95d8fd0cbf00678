#include <unistd.h>

#include <cstdio>
#include <iostream>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/generate.h"
#include "cli/run_voices.h"

namespace chorus {
namespace {

struct RunOptions {
  ModelFlags model;
  std::string prompt, system;
  std::vector<std::string> uses;  // a voice each; none: the base
  int max_tokens = 512;
  float temperature = 0.7f, top_p = 1, min_p = 0.05f, repetition_penalty = 1;
  int top_k = 0;
  uint64_t seed = 0;
  bool raw = false, json = false, stats = false;
};

// The first voice's, where there is no other.
std::string single_use(const RunOptions& options) { return options.uses.empty() ? "" : options.uses[0]; }

Request make_request(Runtime& runtime, const RunOptions& options, const std::string& use,
                     std::vector<int32_t> prompt) {
  Request request;
  request.prompt = std::move(prompt);
  request.adapters = runtime.adapters().select(use).uses;
  const int room = runtime.engine().config().context_length - static_cast<int>(request.prompt.size());
  if (room < 1) {
    fail("the prompt has {} tokens; the context holds {}", request.prompt.size(),
         runtime.engine().config().context_length);
  }
  request.max_tokens = std::min(options.max_tokens, room);
  request.stop_ids = runtime.tokenizer().stop_ids();
  SamplingParams& sampling = request.sampling;
  sampling.temperature = options.temperature;
  sampling.top_k = options.top_k;
  sampling.top_p = options.top_p;
  sampling.min_p = options.min_p;
  sampling.repetition_penalty = options.repetition_penalty;
  sampling.seed = options.seed;
  return request;
}

void print_stats(const Generation& g, size_t prompt_tokens, double seconds) {
  const double decoding = seconds - g.first_token_seconds;
  std::fprintf(stderr, "%zu prompt tokens, first token after %.0f ms, %d tokens, %.1f tokens/s\n",
               prompt_tokens, g.first_token_seconds * 1e3, g.tokens,
               g.tokens > 1 ? (g.tokens - 1) / decoding : 0.0);
}

// Generates one answer, streamed to stdout unless it is to be JSON; returns its text.
std::string answer(Runtime& runtime, const RunOptions& options, std::vector<int32_t> prompt) {
  std::vector<Generation> generations(1);
  generations[0].request = make_request(runtime, options, single_use(options), std::move(prompt));
  const size_t prompt_tokens = generations[0].request.prompt.size();
  const TextSink stream = [&](size_t, const std::string& piece) {
    if (!options.json) std::cout << piece << std::flush;
  };
  const auto stop = [] { return interrupted() || !std::cout; };
  const double seconds = generate(runtime, generations, stream, stop);
  const Generation& g = generations[0];
  if (options.json) {
    json::object document = generation_json(g);
    document["seconds"] = seconds;
    std::cout << json::serialize(document) << '\n';
  } else {
    std::cout << '\n';
  }
  flush_output();
  if (options.stats) print_stats(g, prompt_tokens, seconds);
  return g.text;
}

json::object turn(std::string_view role, std::string_view content) {
  return {{"role", role}, {"content", content}};
}

json::array opening(const RunOptions& options) {
  json::array messages;
  if (!options.system.empty()) messages.push_back(turn("system", options.system));
  return messages;
}

std::vector<int32_t> encode_chat(Runtime& runtime, const std::string& use, const json::array& messages) {
  const AdapterSelection adapters = runtime.adapters().select(use);
  return runtime.encode_chat({{"messages", messages}}, true, adapters.chat_template.get());
}

// A conversation on the terminal until its input ends.
void chat(Runtime& runtime, const RunOptions& options) {
  json::array messages = opening(options);
  std::fprintf(stderr, "%s; Ctrl-C stops an answer, Ctrl-D ends.\n", runtime.model().config.name.c_str());
  for (std::string line; std::cerr << "> " << std::flush, std::getline(std::cin, line);) {
    if (line.empty()) continue;
    clear_interrupt();
    messages.push_back(turn("user", line));
    const std::string text = answer(runtime, options, encode_chat(runtime, single_use(options), messages));
    messages.push_back(turn("assistant", text));
  }
  std::cerr << '\n';
}

int run(const RunOptions& options, bool has_prompt) {
  const bool terminal = isatty(STDIN_FILENO) != 0;
  if (!has_prompt && terminal && options.raw) fail("--raw needs a prompt: -p TEXT");
  install_interrupt_handler();
  const std::unique_ptr<Runtime> runtime = open_runtime(options.model);
  if (!has_prompt && terminal) {
    if (options.uses.size() > 1) fail("several --use need a prompt: -p TEXT");
    chat(*runtime, options);
    return 0;
  }
  std::string prompt = options.prompt;
  if (!has_prompt) prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  if (prompt.empty()) fail("the prompt is empty");
  json::array messages = opening(options);
  messages.push_back(turn("user", prompt));
  const auto encode = [&](const std::string& use) {
    return options.raw ? runtime->encode_text(prompt) : encode_chat(*runtime, use, messages);
  };
  if (options.uses.size() < 2) {
    answer(*runtime, options, encode(single_use(options)));
  } else {
    std::vector<RunVoice> voices;
    for (const std::string& use : options.uses) {
      voices.push_back({use.empty() ? "base" : use, {}});
      voices.back().generation.request = make_request(*runtime, options, use, encode(use));
    }
    run_voices(*runtime, std::move(voices), options.json);
  }
  return interrupted() ? 130 : 0;
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("run", "Complete one prompt, or chat on a terminal");
  command->footer(
      "Example: chorus run smollm2 --adapters adapters --use elf -p \"Who rules this forest?\"\n"
      "         chorus run smollm2 --adapters adapters --use elf --use villain --use elf@0.5+villain@0.5 -p "
      "Hello");
  auto options = std::make_shared<RunOptions>();
  add_model_flags(*command, options->model);
  CLI::Option* prompt =
      command->add_option("-p,--prompt", options->prompt, "The prompt; without it, a chat or stdin");
  command
      ->add_option("--use", options->uses,
                   "Adapter or mix: NAME[@SCALE][+NAME[@SCALE]]...; given again, they answer in one batch")
      ->type_name("MIX")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command->add_option("--system", options->system, "System message");
  command->add_option("--max-tokens", options->max_tokens)
      ->check(CLI::Range(1, 1 << 24))
      ->capture_default_str();
  command->add_option("--temperature", options->temperature)
      ->check(number_in(0.0, 100.0))
      ->capture_default_str();
  command->add_option("--top-k", options->top_k, "0: all")->check(CLI::Range(0, 1 << 24));
  command->add_option("--top-p", options->top_p)->check(number_in(0.0, 1.0))->capture_default_str();
  command->add_option("--min-p", options->min_p)->check(number_in(0.0, 1.0))->capture_default_str();
  command->add_option("--repetition-penalty", options->repetition_penalty)->check(number_in(0.01, 100.0));
  command->add_option("--seed", options->seed)->check(CLI::NonNegativeNumber)->capture_default_str();
  command->add_flag("--raw", options->raw, "Without the chat template");
  command->add_flag("--json", options->json, "One JSON document instead of streamed text");
  command->add_flag("--stats", options->stats, "Times and rates on stderr");
  command->callback([=, &exit_code] { exit_code = run(*options, prompt->count() > 0); });
}

}  // namespace chorus
