#include "cli/run_voices.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>

#include "cli/common.h"
#include "formats/text_columns.h"

namespace chorus {
namespace {

constexpr int kLeastTerminal = 100, kLeastColumn = 24, kSeparator = 3;

// Cells of stdout's terminal; 0: it is none.
int terminal_width() {
  winsize size{};
  return isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

// Of each of so many columns; 0: they do not fit.
int column_width(size_t voices) {
  const int terminal = terminal_width(), count = static_cast<int>(voices);
  const int width = (terminal - kSeparator * (count - 1)) / count;
  return terminal >= kLeastTerminal && width >= kLeastColumn ? width : 0;
}

bool stopped() { return interrupted() || !std::cout; }

void print_rows(TextColumns& columns) {
  for (const std::string& row : columns.take()) std::cout << row << '\n';
  std::cout << std::flush;
}

double generate_side_by_side(Runtime& runtime, std::vector<Generation>& generations,
                             const std::vector<std::string>& names, int width) {
  TextColumns head(names.size(), width), columns(names.size(), width);
  for (size_t i = 0; i < names.size(); ++i) {
    head.add(i, names[i] + "\n" + std::string(static_cast<size_t>(width), '-'));
    head.end(i);
  }
  print_rows(head);
  const auto sink = [&](size_t i, const std::string& piece) {
    columns.add(i, piece);
    print_rows(columns);
  };
  // A column that has ended holds the others up until that is known: it is looked at after every step.
  const auto look = [&] {
    for (size_t i = 0; i < generations.size(); ++i) {
      if (generations[i].finish != FinishReason::kNone) columns.end(i);
    }
    print_rows(columns);
    return stopped();
  };
  const double seconds = generate(runtime, generations, sink, look);
  look();
  return seconds;
}

double generate_in_turn(Runtime& runtime, std::vector<Generation>& generations,
                        const std::vector<std::string>& names) {
  size_t at = 0;  // the one that is being printed
  const auto head = [&] { std::cout << (at > 0 ? "\n" : "") << "== " << names[at] << " ==\n"; };
  const auto go_on = [&] {
    while (at < generations.size() && generations[at].finish != FinishReason::kNone) {
      std::cout << '\n';
      if (++at == generations.size()) break;
      head();
      std::cout << generations[at].text;
    }
    std::cout << std::flush;
    return stopped();
  };
  head();
  const double seconds = generate(
      runtime, generations,
      [&](size_t i, const std::string& piece) {
        if (i == at) std::cout << piece << std::flush;
      },
      go_on);
  go_on();
  return seconds;
}

void print_json(const std::vector<Generation>& generations, const std::vector<std::string>& names,
                double seconds) {
  json::array voices;
  for (size_t i = 0; i < names.size(); ++i) {
    json::object voice = generation_json(generations[i]);
    voice["name"] = names[i];
    voices.push_back(std::move(voice));
  }
  std::cout << json::serialize(json::object{{"voices", std::move(voices)}, {"seconds", seconds}}) << '\n';
}

}  // namespace

void run_voices(Runtime& runtime, std::vector<RunVoice> voices, bool json) {
  std::vector<Generation> generations;
  std::vector<std::string> names;
  for (RunVoice& voice : voices) {
    names.push_back(std::move(voice.name));
    generations.push_back(std::move(voice.generation));
  }
  const EngineStats before = runtime.engine().stats();
  const int width = json ? 0 : column_width(names.size());
  double seconds = 0;
  if (json) {
    seconds = generate(
        runtime, generations, [](size_t, const std::string&) {}, stopped);
    print_json(generations, names, seconds);
  } else {
    seconds = width > 0 ? generate_side_by_side(runtime, generations, names, width)
                        : generate_in_turn(runtime, generations, names);
  }
  flush_output();
  int tokens = 0;
  for (const Generation& generation : generations) tokens += generation.tokens;
  const uint64_t steps = runtime.engine().stats().steps - before.steps;
  std::fprintf(stderr, "%zu voices, %d tokens in %llu steps, %.1f tokens/s together\n", names.size(), tokens,
               static_cast<unsigned long long>(steps), tokens / seconds);
}

const char* finish_name(FinishReason reason) {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCancelled:
      return "cancelled";
    default:
      return "error";
  }
}

json::object generation_json(const Generation& generation) {
  return {{"text", generation.text},
          {"finish_reason", finish_name(generation.finish)},
          {"prompt_tokens", generation.request.prompt.size()},
          {"completion_tokens", generation.tokens},
          {"first_token_seconds", generation.first_token_seconds}};
}

}  // namespace chorus
