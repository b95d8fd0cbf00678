#include <algorithm>
#include <array>

#include "base/error.h"
#include "train/data_doctor.h"

namespace chorus {
namespace {

constexpr int kBarWidth = 40;
constexpr size_t kMaxShown = 8192;  // bytes of a sequence that a document shows
constexpr std::string_view kGreen = "\x1b[32m", kYellow = "\x1b[33m", kRed = "\x1b[31m", kDim = "\x1b[2m",
                           kPlain = "\x1b[0m";

std::string_view colour_of(Verdict verdict) {
  constexpr std::array kColours = {kGreen, kYellow, kRed};
  return kColours[static_cast<size_t>(verdict)];
}

std::string painted(std::string_view text, std::string_view colour, bool with_colour) {
  return with_colour ? fmt::format("{}{}{}", colour, text, kPlain) : std::string(text);
}

double percent(int64_t part, int64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

// Lines stay lines; whatever else a terminal would obey is written out.
std::string printable_lines(std::string_view text) {
  std::string out;
  while (true) {
    const size_t end = text.find('\n');
    out += printable(text.substr(0, end), 2000);
    if (end == std::string_view::npos) return out;
    out += '\n';
    text.remove_prefix(end + 1);
  }
}

std::string summary_line(std::string_view name, const SetSummary& set) {
  if (set.sequences == 0) return fmt::format("{:<11} none\n", name);
  return fmt::format(
      "{:<11} {} sequences, {} tokens (shortest {}, median {}, longest {}), {:.1f} % learned\n", name,
      set.sequences, set.tokens, set.shortest, set.median, set.longest, percent(set.labels, set.tokens));
}

std::string histogram(const SetSummary& set) {
  int64_t most = 1;
  for (const LengthBucket& bucket : set.lengths) most = std::max(most, bucket.count);
  std::string out;
  for (const LengthBucket& bucket : set.lengths) {
    // A bucket that is not empty is seen.
    const int64_t width = (bucket.count * kBarWidth + most - 1) / most;
    out += fmt::format("  {:>6}..{:<6} {:>7} {}\n", bucket.from, bucket.to - 1, bucket.count,
                       std::string(static_cast<size_t>(width), '#'));
  }
  return out;
}

std::string shown_example(const DoctorReport& report, bool colour) {
  std::string out =
      fmt::format("\n{}, what is learned {}:\n", report.shown_place, colour ? "in green" : "in ⟦brackets⟧");
  for (const ShownSpan& span : report.shown) {
    const std::string text = printable_lines(span.text);
    if (colour) {
      out += painted(text, span.learned ? kGreen : kDim, true);
    } else {
      out += span.learned ? fmt::format("⟦{}⟧", text) : text;
    }
  }
  return out + (out.ends_with('\n') ? "" : "\n");
}

std::string duration(double seconds) {
  if (seconds < 120) return fmt::format("{:.0f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.0f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

json::object summary_json(const SetSummary& set) {
  json::array lengths;
  for (const LengthBucket& bucket : set.lengths)
    lengths.push_back({{"from", bucket.from}, {"to", bucket.to}, {"count", bucket.count}});
  return {{"sequences", set.sequences}, {"tokens", set.tokens}, {"learned", set.labels},
          {"shortest", set.shortest},   {"median", set.median}, {"longest", set.longest},
          {"lengths", lengths}};
}

// None where it is long.
json::array shown_json(const DoctorReport& report) {
  json::array spans;
  size_t bytes = 0;
  for (const ShownSpan& span : report.shown) {
    bytes += span.text.size();
    spans.push_back({{"text", span.text}, {"learned", span.learned}});
  }
  return bytes > kMaxShown ? json::array() : spans;
}

}  // namespace

std::string forecast_text(const Forecast& forecast) {
  return fmt::format("{} for {:.3g} epochs at {:.0f} tokens/s, {:.2f} GB", duration(forecast.seconds),
                     forecast.epochs, forecast.tokens_per_second,
                     static_cast<double>(forecast.memory_bytes) / 1e9);
}

std::string report_text(const DoctorReport& report, bool colour) {
  std::string out;
  for (const DoctorReport::File& file : report.files)
    out +=
        fmt::format("{}: {}, {} examples\n", printable(file.path, 300), name_of(file.format), file.examples);
  out += summary_line("training", report.train) + histogram(report.train);
  if (report.validation.sequences > 0) out += summary_line("validation", report.validation);
  if (!report.shown.empty()) out += shown_example(report, colour);
  if (report.forecast) {
    out += fmt::format("\nforecast: {}\n", forecast_text(*report.forecast));
  }
  out += '\n';
  for (const Finding& finding : report.findings) {
    out += fmt::format("{:<11} {}: {}\n", finding.name,
                       painted(name_of(finding.verdict), colour_of(finding.verdict), colour), finding.text);
    for (const std::string& place : finding.places) out += fmt::format("    {}\n", place);
  }
  return out + fmt::format("{:<11} {}\n", "verdict",
                           painted(name_of(report.verdict()), colour_of(report.verdict()), colour));
}

json::object report_json(const DoctorReport& report) {
  json::array files, checks;
  for (const DoctorReport::File& file : report.files)
    files.push_back({{"path", file.path}, {"format", name_of(file.format)}, {"examples", file.examples}});
  for (const Finding& finding : report.findings) {
    checks.push_back({{"name", finding.name},
                      {"verdict", name_of(finding.verdict)},
                      {"text", finding.text},
                      {"places", json::value_from(finding.places)}});
  }
  json::object out{{"files", files},
                   {"training", summary_json(report.train)},
                   {"validation", summary_json(report.validation)},
                   {"shown", shown_json(report)},
                   {"checks", checks},
                   {"verdict", name_of(report.verdict())}};
  if (report.forecast) {
    out["forecast"] = {{"seconds", report.forecast->seconds},
                       {"epochs", report.forecast->epochs},
                       {"tokens_per_second", report.forecast->tokens_per_second},
                       {"memory_bytes", report.forecast->memory_bytes}};
  }
  return out;
}

}  // namespace chorus
