#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <set>

#include "base/error.h"
#include "base/process_memory.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/tune_report.h"
#include "cli/tune_server.h"
#include "cli/tune_sweep.h"
#include "train/tune_model.h"
#include "train/tuner.h"
#include "tuning/tune_data.h"
#include "tuning/tune_forecast.h"
#include "tuning/tune_samples.h"
#include "tuning/tune_settings.h"

namespace chorus {
namespace {

struct TuneOptions {
  RuntimeFlags runtime;
  std::vector<std::string> data, validation, sweep;
  TuneDataOptions split;
  std::string train_on = "assistant", output, targets = "all-linear", layers, schedule = "cosine",
              format = "peft", elements = "f32";
  TuneTask task;
  TrainerLimits limits;
  TunerOptions run;
  TuneSampleOptions samples;
  ServerTuneOptions server;  // not in use without a URL
  int moments = 32, memory = 512;
  bool check = false, json = false;
};

// https://no-color.org: set and not empty.
bool wants_colour() {
  const char* no_colour = std::getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) != 0 && (no_colour == nullptr || *no_colour == '\0');
}

// The validation files of the index-th of the data.
std::vector<std::string> validation_of(const TuneOptions& options, size_t index) {
  if (options.validation.empty() || options.data.size() == 1) return options.validation;
  if (options.validation.size() == 1) return options.validation;
  if (options.validation.size() != options.data.size()) {
    fail("--val is given {} times for {} adapters: once, or once for each", options.validation.size(),
         options.data.size());
  }
  return {options.validation[index]};
}

std::vector<TuneData> read_all(const TuneOptions& options, const TextFiles& text) {
  std::vector<TuneData> all;
  std::set<std::string> names;
  for (size_t i = 0; i < options.data.size(); ++i) {
    TuneDataOptions split = options.split;
    split.train_on = train_on_named(options.train_on);
    split.validation = validation_of(options, i);
    split.seed = options.task.seed;
    all.push_back(read_tune_data(options.data[i], text, split));
    if (!names.insert(all.back().name).second)
      fail("{}: two of the data would give an adapter of this name: rename one", printable(all.back().name));
  }
  return all;
}

// What there is to learn, and what the doctor has to say of it before a run. Error: what stops it.
void announce(const TuneData& data) {
  for (const Finding& finding : data.report.findings) {
    if (finding.verdict == Verdict::kFine) continue;
    std::fprintf(stderr, "%s: %s: %s\n", data.name.c_str(), finding.name.c_str(), finding.text.c_str());
    for (const std::string& place : finding.places) std::fprintf(stderr, "  %s\n", place.c_str());
  }
  if (data.report.verdict() == Verdict::kStop)
    fail("{}: the data cannot be learned from: see above, or --check", printable(data.name));
  std::fprintf(stderr, "%s: %zu examples, %zu held out, %lld tokens, %lld of them learned\n",
               data.name.c_str(), data.train.size(), data.validation.size(),
               static_cast<long long>(data.report.train.tokens),
               static_cast<long long>(data.report.train.labels));
}

// Takes the examples out of `data`.
std::vector<TuneTask> tasks_of(const TuneOptions& options, std::vector<TuneData>& data, int layers) {
  const std::vector<SweepAxis> axes = parse_sweep(options.sweep);
  if (!axes.empty() && data.size() > 1)
    fail("--sweep goes through settings for one of DATA, not for several");
  std::vector<TuneTask> tasks;
  for (TuneData& one : data) {
    TuneTask task = options.task;
    task.name = one.name;
    task.train = std::move(one.train);
    task.validation = std::move(one.validation);
    set_targets(task.shape, options.targets, options.layers, layers);
    task.schedule = schedule_named(options.schedule);
    task.eight_bit = options.moments == 8;
    std::ranges::move(sweep_tasks(task, axes), std::back_inserter(tasks));
  }
  return tasks;
}

bool can_be_learned(const TuneData& data) { return data.report.verdict() != Verdict::kStop; }

int print_reports(const std::vector<TuneData>& data, bool as_json) {
  json::array reports;
  for (const TuneData& one : data) {
    if (as_json) {
      reports.push_back(report_json(one.report));
    } else {
      std::cout << report_text(one.report, wants_colour());
    }
  }
  if (as_json) std::cout << json::serialize(data.size() == 1 ? reports[0] : json::value(reports)) << '\n';
  return std::ranges::all_of(data, can_be_learned) ? 0 : 1;
}

// What of the flags goes along to a server.
TuneSettings settings_of(const TuneOptions& options) {
  const TuneTask& task = options.task;
  return {.rank = task.shape.rank,
          .alpha = task.shape.alpha,
          .rslora = task.shape.rslora,
          .dora = task.shape.dora,
          .targets = options.targets,
          .layers = options.layers,
          .dropout = task.dropout,
          .learning_rate = task.adam.learning_rate,
          .lr_b_ratio = task.adam.b_ratio,
          .weight_decay = task.adam.weight_decay,
          .clip = task.adam.clip_norm,
          .warmup = task.warmup,
          .schedule = options.schedule,
          .moments = options.moments,
          .epochs = task.epochs,
          .max_steps = task.max_steps,
          .batch = task.batch,
          .eval_every = task.eval_every,
          .patience = task.patience,
          .val_split = options.split.validation_share,
          .train_on = options.train_on,
          .max_tokens = options.split.max_tokens,
          .seed = static_cast<int64_t>(task.seed)};
}

int run_on_server(const TuneOptions& options) {
  if (options.output.empty()) fail("tune: -o DIR is missing: where the adapter goes");
  ServerTuneOptions server = options.server;
  server.model = options.runtime.model;
  server.data = options.data;
  server.validation = options.validation;
  server.output = options.output;
  server.settings = settings_of(options);
  server.json = options.json;
  return tune_on_server(server);
}

int run(TuneOptions& options) {
  TensorSource source = TensorSource::open(model_path(options.runtime.model));
  const TextFiles text = load_text_files(source);
  std::vector<TuneData> data = read_all(options, text);
  if (!options.check) {
    if (options.output.empty()) fail("tune: -o DIR is missing: where the adapter goes");
    for (const TuneData& one : data) announce(one);
  } else if (!std::ranges::all_of(data, can_be_learned)) {
    return print_reports(data, options.json);
  }
  std::vector<TuneTask> tasks = tasks_of(options, data, static_cast<int>(source.config().layers.size()));
  const std::vector<int> cpus =
      options.runtime.cpus.empty() ? std::vector<int>() : parse_cpus(options.runtime.cpus);
  TuneModel model(source, options.runtime.threads, cpus, packed_cache(options.runtime));
  options.limits.activation_bytes = static_cast<size_t>(options.memory) << 20;
  options.limits.exact = options.runtime.exact;
  options.run.output = options.output;
  options.run.form.gguf = options.format == "gguf";
  if (options.elements != "f32") {
    options.run.form.elements = options.elements == "f16" ? DType::kF16 : DType::kBF16;
  }
  options.run.identity = {model.model().id, model.kernels_name(), settings_hash(tasks, options.limits)};
  options.run.base_name = options.runtime.model;
  options.run.template_hash = template_hash(text.chat_template);
  Trainer trainer = model.trainer(std::move(tasks), options.limits);
  const std::vector<Forecast> forecasts = forecast(trainer);
  if (options.check) {
    for (size_t i = 0; i < data.size(); ++i) {
      data[i].report.forecast = data.size() == 1 ? together(forecasts) : forecasts[i];
    }
    return print_reports(data, options.json);
  }
  const int twice = static_cast<int>(model.model().config.layers.size()) - trainer.kept_layers();
  std::fprintf(stderr, "forecast: %s; %d layers are computed twice\n",
               forecast_text(together(forecasts)).c_str(), twice);
  TuneProgress progress(trainer);
  if (!options.sweep.empty() && options.samples.prompts.empty()) options.samples.max_tokens = 0;
  TuneSamples samples(model, text, options.samples, options.output + "/samples.jsonl", options.run.resume);
  const auto sample = [&](const auto& take) {
    try {
      progress.samples(take());
    } catch (const Error& error) {
      progress.note(fmt::format("no samples: {}", error.what()));
    }
  };
  install_interrupt_handler();
  const TuneEnd end = tune(trainer, options.run,
                           {.begun = [&] { sample([&] { return samples.begin(trainer); }); },
                            .stepped = [&](double rate, double left) { progress.stepped(rate, left); },
                            .evaluated =
                                [&](size_t index) {
                                  progress.evaluated(index);
                                  sample([&] { return samples.evaluated(trainer, index); });
                                },
                            .note = [&](const std::string& line) { progress.note(line); },
                            .interrupted = interrupted});
  if (end == TuneEnd::kInterrupted) {
    progress.note("interrupted; the same command with --resume goes on from here");
    return 130;
  }
  if (options.json) {
    std::cout << json::serialize(options.sweep.empty() ? verdict_json(trainer, judge(trainer), options.output)
                                                       : sweep_json(trainer, options.output))
              << '\n';
  } else {
    std::cout << (options.sweep.empty() ? verdict_text(trainer, judge(trainer)) : sweep_text(trainer));
  }
  progress.note(fmt::format("{}: done; {:.2f} GB at most", options.output,
                            static_cast<double>(peak_resident_bytes()) / 1e9));
  return 0;
}

void add_data_flags(CLI::App& command, TuneOptions& options) {
  command.add_option("DATA", options.data, "JSONL, JSON, CSV or text files, or directories; an adapter each")
      ->required();
  command.add_flag("--check", options.check, "Look at the data and report; do not tune");
  auto* share =
      command
          .add_option("--val-split", options.split.validation_share, "Hold back this share for validation")
          ->check(number_in(0, 0.9));
  options.split.validation_share = 0.1;
  share->capture_default_str();
  command
      .add_option("--val", options.validation,
                  "Validate on this file or directory instead; once, or once for each of DATA")
      ->type_name("FILE")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->excludes(share);
  command
      .add_option("--train-on", options.train_on,
                  "What is learned: every turn of the assistant, the last one, or all tokens")
      ->check(CLI::IsMember({"assistant", "last", "all"}))
      ->capture_default_str();
  command.add_option("--max-tokens", options.split.max_tokens, "Longest sequence")
      ->check(CLI::Range(2, 1 << 20))
      ->capture_default_str();
  command.add_option("--seed", options.task.seed, "Of all that is left to chance")->capture_default_str();
  command.add_flag("--json", options.json, "The report, or the verdict, as JSON");
}

void add_lora_flags(CLI::App& command, TuneOptions& options) {
  TuneTask& task = options.task;
  command.add_option("--rank", task.shape.rank, "Rank of A and B")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  command.add_option("--alpha", task.shape.alpha, "The adapter counts alpha / rank")
      ->check(number_in(1e-3, 1e5))
      ->capture_default_str();
  command.add_flag("--rslora", task.shape.rslora, "It counts alpha / sqrt(rank)");
  command.add_flag("--dora", task.shape.dora, "Tune the lengths of the adapted rows too (DoRA)");
  command
      .add_option("--targets", options.targets,
                  "all-linear, some of q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj,lm_head, or a "
                  "regular expression for names as model.layers.0.self_attn.q_proj")
      ->capture_default_str();
  command.add_option("--layers", options.layers, "Layers to adapt, as 10-29; all by default")
      ->type_name("LIST");
  command.add_option("--dropout", task.dropout, "Of the adapter's input")
      ->check(number_in(0, 0.9))
      ->capture_default_str();
}

void add_training_flags(CLI::App& command, TuneOptions& options) {
  TuneTask& task = options.task;
  command.add_option("--epochs", task.epochs, "Times through the data")
      ->check(number_in(1e-3, 1e4))
      ->capture_default_str();
  command.add_option("--steps", task.max_steps, "At most so many steps; 0: as the epochs give")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command.add_option("--batch", task.batch, "Examples a step")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  command.add_option("--lr", task.adam.learning_rate, "Learning rate")
      ->check(number_in(0, 10))
      ->capture_default_str();
  command.add_option("--lr-b-ratio", task.adam.b_ratio, "B's learning rate over A's (LoRA+)")
      ->check(number_in(1e-3, 1e3))
      ->capture_default_str();
  command
      .add_option(
          "--sweep", options.sweep,
          "Tune an adapter with each of the values, as lr=1e-4,2e-4; also rank and alpha; may be repeated")
      ->type_name("KEY=LIST")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--schedule", options.schedule, "How the learning rate falls")
      ->check(CLI::IsMember({"constant", "linear", "cosine"}))
      ->capture_default_str();
  command.add_option("--warmup", task.warmup, "Share of the steps over which it rises first")
      ->check(number_in(0, 1))
      ->capture_default_str();
  command.add_option("--weight-decay", task.adam.weight_decay)
      ->check(number_in(0, 10))
      ->capture_default_str();
  command.add_option("--clip", task.adam.clip_norm, "Longest gradient; 0: any")
      ->check(number_in(0, 1e6))
      ->capture_default_str();
  command.add_option("--moments", options.moments, "Bits of the optimizer's moments")
      ->check(CLI::IsMember({8, 32}))
      ->capture_default_str();
  command.add_option("--eval-every", task.eval_every, "Steps between evaluations; 0: an epoch")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command
      .add_option("--patience", task.patience,
                  "Stop after so many evaluations without a better loss; 0: never")
      ->check(CLI::Range(0, 1 << 20));
}

void add_sample_flags(CLI::App& command, TuneOptions& options) {
  command
      .add_option("--sample", options.samples.prompts,
                  "Answer this at each evaluation; else the first held-out example; may be repeated")
      ->type_name("TEXT")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  command.add_option("--sample-tokens", options.samples.max_tokens, "Of such an answer; 0: no answers")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
}

void add_run_flags(CLI::App& command, TuneOptions& options) {
  command
      .add_option("-o,--output", options.output,
                  "Directory for the adapter; of several, for a directory each")
      ->type_name("DIR");
  command
      .add_option("--format", options.format,
                  "The result: a PEFT directory; with gguf, adapter.gguf in it too")
      ->check(CLI::IsMember({"peft", "gguf"}))
      ->capture_default_str();
  command.add_option("--dtype", options.elements, "Of the result's A and B")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->capture_default_str();
  command.add_flag("--resume", options.run.resume, "Go on with the run that the directory holds");
  command
      .add_option("--checkpoint-steps", options.run.checkpoint_steps,
                  "Save each so many steps as well as every two minutes")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 40));
  command
      .add_option("--rows", options.limits.rows,
                  "Tokens that go through the model at once, at least the longest example's")
      ->check(CLI::Range(16, 1 << 16))
      ->capture_default_str();
  command.add_option("--memory", options.memory, "MiB for activations; layers beyond it are computed twice")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
}

// The rest of the flags say how this process tunes.
void add_server_flags(CLI::App& command, TuneOptions& options) {
  CLI::Option* server =
      command
          .add_option("--server", options.server.url,
                      "Have a server tune that was started with --tune-dir; MODEL is its name of the base")
          ->type_name("URL");
  for (const char* flag :
       {"--check", "--sweep", "--resume", "--format", "--dtype", "--sample", "--sample-tokens",
        "--checkpoint-steps", "--rows", "--memory", "--threads", "--cpus", "--exact"}) {
    server->excludes(command.get_option(flag));
  }
  command.add_option("--suffix", options.server.suffix, "The adapter's name there; by default that of DATA")
      ->type_name("NAME")
      ->needs(server);
  command.add_option("--server-key-file", options.server.key_file, "A file with its (admin) key")
      ->type_name("FILE")
      ->needs(server);
}

}  // namespace

void add_tune_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("tune", "Tune LoRA adapters on your data");
  command->footer(
      "Example: chorus tune smollm2 adapters/elf/data.jsonl -o /tmp/elf\n"
      "         chorus tune smollm2 adapters/elf/data.jsonl --check\n"
      "         chorus tune base adapters/elf/data.jsonl -o /tmp/elf --server http://127.0.0.1:8080");
  auto options = std::make_shared<TuneOptions>();
  add_runtime_flags(*command, options->runtime);
  add_data_flags(*command, *options);
  add_lora_flags(*command, *options);
  add_training_flags(*command, *options);
  add_sample_flags(*command, *options);
  add_run_flags(*command, *options);
  add_server_flags(*command, *options);
  command->callback([=, &exit_code] {
    options->split.wants_share = command->count("--val-split") > 0;
    exit_code = options->server.url.empty() ? run(*options) : run_on_server(*options);
  });
}

}  // namespace chorus
