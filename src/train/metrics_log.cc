#include "train/metrics_log.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/mapped_file.h"
#include "train/data_file.h"

namespace chorus {
namespace {

constexpr size_t kMaxLog = size_t{256} << 20;

json::object to_json(const Metric& metric) {
  json::object line = {{"adapter", metric.adapter}, {"step", metric.step}};
  if (metric.evaluation) {
    line["validation_loss"] = metric.loss;
    return line;
  }
  line["loss"] = metric.loss;
  line["learning_rate"] = metric.learning_rate;
  line["gradient_norm"] = metric.gradient_norm;
  return line;
}

Metric from_json(const json::object& line) {
  const auto number = [&](const char* name) { return line.at(name).to_number<double>(); };
  Metric metric{.adapter = std::string(line.at("adapter").as_string()), .step = line.at("step").as_int64()};
  metric.evaluation = line.contains("validation_loss");
  metric.loss = number(metric.evaluation ? "validation_loss" : "loss");
  if (metric.evaluation) return metric;
  metric.learning_rate = number("learning_rate");
  metric.gradient_norm = number("gradient_norm");
  return metric;
}

// The plot's place in the picture and its scales.
struct Axes {
  double left = 60, right = 700, top = 20, bottom = 340;
  double steps = 1, low = 0, high = 1;
  double x(double step) const { return left + (right - left) * step / steps; }
  double y(double loss) const { return bottom - (bottom - top) * (loss - low) / (high - low); }
};

Axes axes_of(const std::vector<Metric>& metrics) {
  Axes axes;
  axes.low = INFINITY;
  axes.high = 0;
  for (const Metric& metric : metrics) {
    axes.steps = std::max(axes.steps, static_cast<double>(metric.step));
    axes.low = std::min(axes.low, metric.loss);
    axes.high = std::max(axes.high, metric.loss);
  }
  if (!(axes.high > axes.low)) axes.low = axes.high - 1;
  const double margin = 0.05 * (axes.high - axes.low);
  axes.low = std::max(0.0, axes.low - margin);
  axes.high += margin;
  return axes;
}

constexpr std::array<std::string_view, 8> kColours = {"#1f6f8b", "#b5482a", "#4b7f3a", "#7a4a9c",
                                                      "#b58a1c", "#30456e", "#9c3b6d", "#5f5f5f"};

std::string frame(const Axes& axes) {
  std::string svg;
  for (int i = 0; i <= 4; ++i) {
    const double loss = axes.low + (axes.high - axes.low) * i / 4, step = axes.steps * i / 4;
    svg += fmt::format(
        "<line x1='{0:.0f}' x2='{1:.0f}' y1='{2:.1f}' y2='{2:.1f}' stroke='#8884'/>"
        "<text x='{3:.0f}' y='{4:.1f}' text-anchor='end'>{5:.2f}</text>"
        "<text x='{6:.1f}' y='{7:.0f}' text-anchor='middle'>{8:.0f}</text>\n",
        axes.left, axes.right, axes.y(loss), axes.left - 6, axes.y(loss) + 4, loss, axes.x(step),
        axes.bottom + 18, step);
  }
  return svg;
}

// XML text of a name.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<')
      out += "&lt;";
    else if (c == '&')
      out += "&amp;";
    else
      out += c;
  }
  return out;
}

std::string curve(const std::vector<Metric>& metrics, const std::string& adapter, size_t index,
                  const Axes& axes) {
  const std::string_view colour = kColours[index % kColours.size()];
  std::string steps, evaluations, points;
  for (const Metric& metric : metrics) {
    if (metric.adapter != adapter) continue;
    const double x = axes.x(static_cast<double>(metric.step)), y = axes.y(metric.loss);
    (metric.evaluation ? evaluations : steps) += fmt::format("{:.1f},{:.1f} ", x, y);
    if (metric.evaluation)
      points += fmt::format("<circle cx='{:.1f}' cy='{:.1f}' r='3.5' fill='{}'/>", x, y, colour);
  }
  return fmt::format(
      "<polyline points='{0}' fill='none' stroke='{1}' stroke-opacity='.4'/>\n"
      "<polyline points='{2}' fill='none' stroke='{1}' stroke-width='2'/>\n{3}\n"
      "<text x='{4:.0f}' y='{5}' fill='{1}' text-anchor='end'>{6}</text>\n",
      steps, colour, evaluations, points, axes.right, 16 + 16 * index, escaped(adapter));
}

}  // namespace

void MetricsLog::read(int64_t last_step) {
  if (!std::filesystem::exists(path_)) return;
  const std::string content = read_file(path_, kMaxLog);
  std::string_view text = content;
  while (!text.empty()) {
    const std::string_view line = take_line(text);
    Metric metric = from_json(parse_json(line, path_).as_object());
    if (metric.step > last_step) continue;
    metrics_.push_back(std::move(metric));
    lines_.emplace_back(line);
  }
}

void MetricsLog::add(Metric metric) {
  lines_.push_back(json::serialize(to_json(metric)));
  metrics_.push_back(std::move(metric));
}

void MetricsLog::write() const {
  AtomicFile file(path_);
  for (const std::string& line : lines_) file.write(line + "\n");
  file.commit();
}

std::string loss_plot(const std::vector<Metric>& metrics) {
  const Axes axes = axes_of(metrics);
  std::vector<std::string> adapters;
  for (const Metric& metric : metrics) {
    if (std::ranges::find(adapters, metric.adapter) == adapters.end()) adapters.push_back(metric.adapter);
  }
  std::string svg =
      "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 720 400' font-family='sans-serif' "
      "font-size='12'>\n"
      "<rect width='720' height='400' fill='#fff'/>\n" +
      frame(axes);
  for (size_t i = 0; i < adapters.size(); ++i) svg += curve(metrics, adapters[i], i, axes);
  svg += fmt::format(
      "<text x='{:.0f}' y='{:.0f}' text-anchor='middle'>step</text>"
      "<text x='14' y='14'>loss, nats per token (thin: steps, thick: held out)</text>\n</svg>\n",
      (axes.left + axes.right) / 2, axes.bottom + 40);
  return svg;
}

}  // namespace chorus
