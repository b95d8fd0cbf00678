#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <new>

#include "base/error.h"
#include "cli/commands.h"
#include "cli/common.h"

namespace {

constexpr int kFailed = 1, kUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Chorus: one base model, many LoRA adapters, one batch", "chorus");
  app.require_subcommand(1);
  app.set_version_flag("--version", CHORUS_VERSION);
  std::signal(SIGPIPE, SIG_IGN);  // a reader that has gone is an error of the write, not the end of us
  int exit_code = 0;
  chorus::add_run_command(app, exit_code);
  chorus::add_story_command(app, exit_code);
  chorus::add_batch_command(app, exit_code);
  chorus::add_serve_command(app, exit_code);
  chorus::add_eval_command(app, exit_code);
  chorus::add_inspect_command(app, exit_code);
  chorus::add_convert_command(app, exit_code);
  chorus::add_tokenize_command(app, exit_code);
  chorus::add_bench_command(app, exit_code);
  chorus::add_tune_command(app, exit_code);
  try {
    app.parse(argc, argv);
    chorus::flush_output();
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kUsage;
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "chorus: out of memory\n");
    return kFailed;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "chorus: %s\n", e.what());
    return kFailed;
  }
  return exit_code;
}
