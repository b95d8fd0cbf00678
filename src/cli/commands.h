#pragma once

#include <CLI/CLI.hpp>

namespace chorus {

// Each adds one command to the program. When it has been parsed, it runs and sets `exit_code`; it throws
// Error.
void add_run_command(CLI::App& app, int& exit_code);
void add_story_command(CLI::App& app, int& exit_code);
void add_batch_command(CLI::App& app, int& exit_code);
void add_eval_command(CLI::App& app, int& exit_code);
void add_inspect_command(CLI::App& app, int& exit_code);
void add_convert_command(CLI::App& app, int& exit_code);
void add_tokenize_command(CLI::App& app, int& exit_code);
void add_serve_command(CLI::App& app, int& exit_code);
void add_bench_command(CLI::App& app, int& exit_code);
void add_tune_command(CLI::App& app, int& exit_code);

}  // namespace chorus
