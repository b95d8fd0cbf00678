#include "engine/benchmark_report.h"

#include <fmt/format.h>

#include <algorithm>

namespace chorus {
namespace {

double divided(double a, double b) { return b > 0 ? a / b : 0; }

bool measured(const Figure& figure) { return figure.samples > 0; }

// Multiplications and additions of a prefill: every row with the layers' linears, the last with the head.
double prefill_operations(const BenchmarkReport& r) {
  return 2 * (r.options.prompt * r.row_products + r.head_products);
}

double prefill_share(const BenchmarkReport& r) {
  return divided(divided(prefill_operations(r), r.prefill.seconds), r.int8_rate);
}

// Weights and adapters once, and of each row its context, which grows by a position a step.
double decode_bytes(const BenchmarkReport& r, const DecodeFigure& decode) {
  const double context = r.options.depth + (r.options.output + 1) / 2.0;
  const double used = decode.adapters == 0 ? 0 : std::min(1.0, divided(decode.rows, decode.adapters));
  return r.step_bytes + decode.rows * context * r.kv_bytes_per_position +
         used * static_cast<double>(r.adapter_bytes);
}

double decode_operations(const BenchmarkReport& r, const DecodeFigure& decode) {
  return 2 * decode.rows * (r.row_products + r.head_products + (decode.adapters > 0 ? r.lora_products : 0));
}

double decode_share(const BenchmarkReport& r, const DecodeFigure& decode) {
  return divided(divided(decode_bytes(r, decode), decode.step.seconds), r.read_rate);
}

double tokens_per_second(const DecodeFigure& decode) { return divided(decode.rows, decode.step.seconds); }

int output_tokens(const BenchmarkReport& r) { return r.options.requests * r.options.output; }

json::object figure_json(const Figure& figure, double tokens) {
  json::object object = {{"seconds", figure.seconds},     {"mean_seconds", figure.mean_seconds},
                         {"samples", figure.samples},     {"clean_samples", figure.clean_samples},
                         {"cpu_share", figure.cpu_share}, {"clean", figure.clean}};
  if (tokens > 0) {
    object["tokens_per_second"] = divided(tokens, figure.seconds);
    object["mean_tokens_per_second"] = divided(tokens, figure.mean_seconds);
  }
  return object;
}

json::object prefill_json(const BenchmarkReport& r) {
  json::object object = figure_json(r.prefill, r.options.prompt);
  object["tokens"] = r.options.prompt;
  object["operations"] = prefill_operations(r);
  if (r.int8_rate > 0) object["of_int8_peak"] = prefill_share(r);
  return object;
}

json::object decode_json(const BenchmarkReport& r, const DecodeFigure& decode) {
  json::object object = figure_json(decode.step, decode.rows);
  object["rows"] = decode.rows;
  object["adapters"] = decode.adapters;
  object["bytes"] = decode_bytes(r, decode);
  object["operations"] = decode_operations(r, decode);
  object["of_read_bandwidth"] = decode_share(r, decode);
  object["of_one_sequence"] = divided(tokens_per_second(decode), tokens_per_second(r.decode));
  return object;
}

json::object mixed_json(const BenchmarkReport& r) {
  return {{"batch", figure_json(r.batch, output_tokens(r))},
          {"one_by_one", figure_json(r.one_by_one, output_tokens(r))},
          {"ratio", divided(r.one_by_one.seconds, r.batch.seconds)},
          {"answers_equal", r.answers_equal}};
}

struct TaxCase {
  const char *key, *text;
  const Figure* figure;
};

std::vector<TaxCase> tax_cases(const LoraTax& tax) {
  return {{"all_rows", "one adapter on all rows", &tax.all_rows},
          {"one_row", "one adapter on one row", &tax.one_row},
          {"many", "the adapters in turn, a row each", &tax.many},
          {"no_neighbour", "one row less, no adapter", &tax.no_neighbour}};
}

json::object tax_json(const LoraTax& tax) {
  json::object object = {{"rows", tax.rows}, {"context", tax.context}, {"base", figure_json(tax.base, 0)}};
  for (const TaxCase& c : tax_cases(tax)) {
    if (!measured(*c.figure)) continue;
    json::object figure = figure_json(*c.figure, 0);
    figure["of_base"] = divided(c.figure->seconds, tax.base.seconds);
    object[c.key] = std::move(figure);
  }
  return object;
}

std::string line(std::string_view what, std::string_view figure, std::string_view beside, const Figure& f) {
  const std::string clean =
      f.clean ? fmt::format("{} of {} clean", f.clean_samples, f.samples)
              : fmt::format("NOT CLEAN: {:.0f} % of the processor, {} samples", 100 * f.cpu_share, f.samples);
  return fmt::format("{:<44}{:>16}  {:<28}{}\n", what, figure, beside, clean);
}

std::string decode_line(const BenchmarkReport& r, const DecodeFigure& decode, std::string_view what) {
  if (!measured(decode.step)) return {};
  std::string beside = fmt::format("{:.2f} of read bandwidth", decode_share(r, decode));
  if (decode.rows > 1) {
    beside =
        fmt::format("{:.2f} x one sequence", divided(tokens_per_second(decode), tokens_per_second(r.decode)));
  }
  return line(fmt::format("decode, {}", what), fmt::format("{:.1f} tok/s", tokens_per_second(decode)), beside,
              decode.step);
}

std::string mixed_lines(const BenchmarkReport& r) {
  const BenchmarkOptions& o = r.options;
  const std::string what = o.adapters > 0
                               ? fmt::format("{} requests, {} adapters r{}", o.requests, o.adapters, o.rank)
                               : fmt::format("{} requests, the base", o.requests);
  const auto rate = [&](const Figure& figure) {
    return fmt::format("{:.1f} tok/s", divided(output_tokens(r), figure.seconds));
  };
  return line(fmt::format("{}, {}/{}: one batch", what, o.prompt, o.output), rate(r.batch),
              fmt::format("{:.2f} x, answers {}", divided(r.one_by_one.seconds, r.batch.seconds),
                          r.answers_equal ? "equal" : "DIFFER"),
              r.batch) +
         line("  one after the other", rate(r.one_by_one), "", r.one_by_one);
}

std::string tax_lines(const BenchmarkReport& r) {
  std::string text = line(fmt::format("step of {} rows, context {}, no adapter", r.tax.rows, r.tax.context),
                          fmt::format("{:.2f} ms", 1e3 * r.tax.base.seconds), "", r.tax.base);
  for (const TaxCase& c : tax_cases(r.tax)) {
    if (!measured(*c.figure)) continue;
    text +=
        line(fmt::format("  {}", c.text), fmt::format("{:.2f} ms", 1e3 * c.figure->seconds),
             fmt::format("{:+.1f} %", 100 * (divided(c.figure->seconds, r.tax.base.seconds) - 1)), *c.figure);
  }
  return text;
}

}  // namespace

json::object benchmark_json(const BenchmarkReport& r) {
  const BenchmarkOptions& o = r.options;
  json::object document = {{"model", r.model},
                           {"kernels", r.kernels},
                           {"threads", r.threads},
                           {"options",
                            {{"prompt", o.prompt},
                             {"output", o.output},
                             {"requests", o.requests},
                             {"adapters", o.adapters},
                             {"rank", o.rank},
                             {"exact", o.exact},
                             {"depth", o.depth}}},
                           {"machine",
                            {{"int8_unit", r.int8_unit},
                             {"int8_operations_per_second", r.int8_rate},
                             {"read_bytes_per_second", r.read_rate}}},
                           {"work",
                            {{"row_products", r.row_products},
                             {"head_products", r.head_products},
                             {"lora_products", r.lora_products},
                             {"step_bytes", r.step_bytes},
                             {"kv_bytes_per_position", r.kv_bytes_per_position}}},
                           {"memory",
                            {{"peak_bytes", r.peak_bytes},
                             {"weights_bytes", r.weights_bytes},
                             {"kv_bytes", r.kv_bytes},
                             {"adapter_bytes", r.adapter_bytes}}}};
  if (measured(r.prefill)) document["prefill"] = prefill_json(r);
  if (measured(r.decode.step)) document["decode"] = decode_json(r, r.decode);
  if (measured(r.decode_batch.step)) document["decode_batch"] = decode_json(r, r.decode_batch);
  if (measured(r.decode_adapters.step)) document["decode_adapters"] = decode_json(r, r.decode_adapters);
  if (measured(r.batch)) document["mixed"] = mixed_json(r);
  if (measured(r.tax.base)) document["tax"] = tax_json(r.tax);
  return document;
}

std::string benchmark_table(const BenchmarkReport& r) {
  std::string text = fmt::format("{}: kernels {}, {} threads", r.model, r.kernels, r.threads);
  if (r.int8_rate > 0) text += fmt::format(", int8 peak {:.0f} GOPS ({})", r.int8_rate * 1e-9, r.int8_unit);
  if (r.read_rate > 0) text += fmt::format(", read bandwidth {:.1f} GB/s", r.read_rate * 1e-9);
  text += "\n";
  if (measured(r.prefill)) {
    text += line(fmt::format("prefill of {} tokens", r.options.prompt),
                 fmt::format("{:.1f} tok/s", divided(r.options.prompt, r.prefill.seconds)),
                 r.int8_rate > 0 ? fmt::format("{:.2f} of the int8 peak", prefill_share(r)) : "", r.prefill);
  }
  text += decode_line(r, r.decode, "one sequence");
  text += decode_line(r, r.decode_batch, fmt::format("{} sequences", r.decode_batch.rows));
  text += decode_line(r, r.decode_adapters,
                      fmt::format("{} sequences, {} adapters r{}", r.decode_adapters.rows, r.options.adapters,
                                  r.options.rank));
  if (measured(r.batch)) text += mixed_lines(r);
  if (measured(r.tax.base)) text += tax_lines(r);
  constexpr double kMiB = 1024 * 1024;
  text +=
      fmt::format("memory: peak {:.0f} MiB; weights {:.0f}, keys and values {:.0f}, adapters {:.0f} MiB\n",
                  static_cast<double>(r.peak_bytes) / kMiB, static_cast<double>(r.weights_bytes) / kMiB,
                  static_cast<double>(r.kv_bytes) / kMiB, static_cast<double>(r.adapter_bytes) / kMiB);
  return text;
}

}  // namespace chorus
