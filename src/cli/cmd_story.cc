#include <cstdio>
#include <iostream>

#include "cli/commands.h"
#include "cli/common.h"
#include "cli/generate.h"

namespace chorus {
namespace {

struct StoryOptions {
  ModelFlags model;
  std::string premise =
      "A lighthouse keeper's daughter finds a door under the tide line that opens only at night.";
  uint64_t seed = 1;
};

Generation make_generation(Runtime& runtime, const std::string& use, const std::string& user, int max_tokens,
                           float temperature, uint64_t seed) {
  Generation generation;
  Request& request = generation.request;
  const json::array messages{{{"role", "user"}, {"content", user}}};
  AdapterSelection adapters = runtime.adapters().select(use);
  request.prompt = runtime.encode_chat({{"messages", messages}}, true, adapters.chat_template.get());
  request.adapters = std::move(adapters.uses);
  request.max_tokens = max_tokens;
  request.stop_ids = runtime.tokenizer().stop_ids();
  request.sampling.temperature = temperature;
  request.sampling.min_p = 0.1f;
  request.sampling.repetition_penalty = 1.05f;
  request.sampling.seed = seed;
  return generation;
}

int total_tokens(const std::vector<Generation>& generations) {
  int tokens = 0;
  for (const Generation& g : generations) tokens += g.tokens;
  return tokens;
}

// The premise, expanded by the base.
std::string expand(Runtime& runtime, const StoryOptions& options) {
  const std::string request =
      "Expand this premise into a short concept of three sentences, with a place, a person and what they "
      "want: " +
      options.premise;
  std::vector<Generation> base = {make_generation(runtime, "", request, 120, 0.6f, options.seed)};
  std::cout << "Premise: " << options.premise << "\n\nConcept (base): " << std::flush;
  const TextSink stream = [](size_t, const std::string& piece) { std::cout << piece << std::flush; };
  generate(runtime, base, stream, interrupted);
  std::cout << "\n\n";
  return base[0].text;
}

int story(const StoryOptions& options) {
  install_interrupt_handler();
  const std::unique_ptr<Runtime> runtime = open_runtime(options.model);
  const std::string concept_text = expand(*runtime, options);
  const std::vector<Generation> voices = {
      make_generation(*runtime, "story",
                      "Turn these notes into a story: " + options.premise + " " + concept_text, 320, 0.6f,
                      options.seed),
      make_generation(*runtime, "image-prompt", "Write an SDXL prompt for this scene: " + options.premise,
                      110, 0.6f, options.seed)};
  if (interrupted()) return 130;

  const TextSink silent = [](size_t, const std::string&) {};
  std::vector<Generation> together = voices;
  const double batch_seconds = generate(*runtime, together, silent, interrupted);
  std::cout << "Story:\n"
            << together[0].text << "\n\nImage prompt:\n"
            << together[1].text << "\n\n"
            << std::flush;

  double single_seconds = 0;
  bool equal = true;
  for (size_t i = 0; i < voices.size() && !interrupted(); ++i) {
    std::vector<Generation> alone = {voices[i]};
    single_seconds += generate(*runtime, alone, silent, interrupted);
    equal = equal && alone[0].text == together[i].text;
  }
  if (interrupted()) return 130;
  const double batch_rate = total_tokens(together) / batch_seconds,
               single_rate = total_tokens(together) / single_seconds;
  std::fprintf(stderr,
               "one batch: %.1f tokens/s; one after the other: %.1f tokens/s (%.2f x); texts equal: %s\n",
               batch_rate, single_rate, batch_rate / single_rate, equal ? "yes" : "NO");
  return equal ? 0 : 1;
}

}  // namespace

void add_story_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand(
      "story", "From a premise to a structured story and its image prompt, two adapters in one batch");
  command->footer(
      "Example: chorus story smollm2 \"A clockmaker repairs a watch that runs backwards.\" --adapters "
      "adapters");
  auto options = std::make_shared<StoryOptions>();
  add_model_flags(*command, options->model);
  command->add_option("PREMISE", options->premise)->capture_default_str();
  command->add_option("--seed", options->seed)->check(CLI::NonNegativeNumber)->capture_default_str();
  command->callback([=, &exit_code] { exit_code = story(*options); });
}

}  // namespace chorus
