#include "train/data_doctor.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "base/error.h"
#include "train/data_file.h"

namespace chorus {
namespace {

constexpr size_t kPlaces = 5, kProblemPlaces = 20;
constexpr size_t kShownBytes = 1500;
// An answer of fewer tokens, its end mark among them.
constexpr int kShortAnswer = 3;

std::string place_of(const Dataset& dataset, int file, int line) {
  return fmt::format("{}:{}", printable(dataset.files[static_cast<size_t>(file)], 300), line);
}

std::string counted(int64_t count, std::string_view one, std::string_view more) {
  return fmt::format("{} {}", count, count == 1 ? one : more);
}

// Collects the sequences or records that a check is about.
struct Collector {
  int64_t count = 0;
  std::vector<std::string> places;

  void add(std::string place) {
    ++count;
    if (places.size() < kPlaces) places.push_back(std::move(place));
  }
  // None: fine, with `fine` as its text.
  Finding finding(std::string_view name, std::string_view fine, std::string text, Verdict verdict) && {
    if (count == 0) return {Verdict::kFine, std::string(name), std::string(fine), {}};
    return {verdict, std::string(name), std::move(text), std::move(places)};
  }
};

class Examination {
 public:
  explicit Examination(const DoctorInput& input) : in_(input) {}

  std::vector<Finding> findings() {
    std::vector<Finding> out{records(), labels(), cut_answers(), answers(), duplicates()};
    if (in_.tokens.split > 0) out.push_back(split_answers());
    if (in_.wants_validation) {
      out.push_back(validation());
      out.push_back(leaks());
    }
    return out;
  }

 private:
  const TokenizedExample& sequence(int index) const {
    return in_.tokens.examples[static_cast<size_t>(index)];
  }
  const ContentKeys& keys(int index) const { return in_.keys[static_cast<size_t>(index)]; }
  std::string place(int index) const {
    return place_of(in_.dataset, sequence(index).file, sequence(index).line);
  }

  Finding records() const {
    const int64_t wrong = in_.dataset.problem_count + in_.tokens.problem_count;
    const auto good = static_cast<int64_t>(in_.dataset.examples.size()) - in_.tokens.problem_count;
    if (wrong == 0)
      return {
          Verdict::kFine, "records", fmt::format("{}, none wrong", counted(good, "record", "records")), {}};
    Finding finding{Verdict::kLook,
                    "records",
                    fmt::format("{} of {} left out", wrong, counted(good + wrong, "record", "records")),
                    {}};
    if (wrong * 10 > good + wrong) {
      finding.verdict = Verdict::kStop;
      finding.text += ": more than a tenth";
    }
    for (const auto* problems : {&in_.dataset.problems, &in_.tokens.problems}) {
      for (const DataProblem& problem : *problems) {
        if (finding.places.size() < kProblemPlaces)
          finding.places.push_back(fmt::format("{}: {}", problem.where, problem.what));
      }
    }
    return finding;
  }

  Finding labels() const {
    Collector none;
    for (const int index : in_.split.train) {
      if (sequence(index).labels == 0) none.add(place(index));
    }
    const auto all = static_cast<int64_t>(in_.split.train.size());
    const Verdict verdict = none.count == all ? Verdict::kStop : Verdict::kLook;
    if (all == 0) return {Verdict::kStop, "labels", "nothing to train on", {}};
    return std::move(none).finding(
        "labels", "every sequence has something to learn",
        fmt::format("{} of {} with nothing to learn", none.count, counted(all, "sequence", "sequences")),
        verdict);
  }

  Finding cut_answers() const {
    Collector cut;
    for (size_t i = 0; i < in_.tokens.examples.size(); ++i) {
      if (in_.tokens.examples[i].truncated) cut.add(place(static_cast<int>(i)));
    }
    return std::move(cut).finding(
        "truncated", fmt::format("none is longer than {} tokens", in_.options.max_tokens),
        fmt::format("{} cut at {} tokens: the answer's end is lost (--max-tokens)",
                    counted(cut.count, "sequence", "sequences"), in_.options.max_tokens),
        Verdict::kLook);
  }

  // Of the examples that are turns.
  Finding answers() const {
    Collector empty, brief;
    int64_t all = 0;
    for (const Example& example : in_.dataset.examples) {
      if (example.messages.empty()) continue;
      ++all;
      const json::object& last = example.messages.back().get_object();
      const json::value& content = last.at("content");
      const bool nothing = !content.is_string() || is_blank(content.get_string());
      if (nothing && !last.contains("tool_calls"))
        empty.add(place_of(in_.dataset, example.file, example.line));
    }
    if (empty.count > 0) {
      const std::string text = fmt::format("{} of {} empty", empty.count, counted(all, "answer", "answers"));
      return std::move(empty).finding("answers", "", text,
                                      empty.count * 2 > all ? Verdict::kStop : Verdict::kLook);
    }
    for (size_t i = 0; i < in_.tokens.examples.size(); ++i) {
      const TokenizedExample& one = in_.tokens.examples[i];
      if (one.labels > 0 && one.labels < kShortAnswer) brief.add(place(static_cast<int>(i)));
    }
    // Where most are, it is what is to be learned: classes, yes and no.
    const bool meant = brief.count * 2 > static_cast<int64_t>(in_.tokens.examples.size());
    return std::move(brief).finding("answers", "none is empty",
                                    fmt::format("{} of fewer than {} tokens with the end mark",
                                                counted(brief.count, "answer", "answers"), kShortAnswer),
                                    meant ? Verdict::kFine : Verdict::kLook);
  }

  Finding duplicates() const {
    std::unordered_map<uint64_t, int> seen, seen_exactly;
    Collector same;
    int64_t exact = 0;
    for (const int index : in_.split.train) {
      const auto [first, fresh] = seen.emplace(keys(index).normalized, index);
      const bool fresh_exactly = seen_exactly.emplace(keys(index).exact, index).second;
      if (fresh || sequence(first->second).example == sequence(index).example) continue;
      exact += !fresh_exactly;
      same.add(fmt::format("{} as {}", place(index), place(first->second)));
    }
    const std::string text = fmt::format("{} that came before, {} of them byte for byte",
                                         counted(same.count, "sequence", "sequences"), exact);
    return std::move(same).finding("duplicates", "none", text, Verdict::kLook);
  }

  Finding split_answers() const {
    return {Verdict::kFine,
            "template",
            fmt::format("renders earlier turns differently: {} became a sequence for each answer",
                        counted(in_.tokens.split, "conversation", "conversations")),
            {}};
  }

  Finding validation() const {
    const auto count = static_cast<int64_t>(in_.split.validation.size());
    if (count == 0) return {Verdict::kStop, "validation", "nothing is left to validate on", {}};
    if (count < 5)
      return {Verdict::kLook,
              "validation",
              fmt::format("only {}: its loss will say little", counted(count, "sequence", "sequences")),
              {}};
    return {Verdict::kFine, "validation", counted(count, "sequence", "sequences"), {}};
  }

  Finding leaks() const {
    struct Asked {
      int first = 0;
      size_t times = 0;
    };
    std::unordered_map<uint64_t, int> wholes;
    std::unordered_map<uint64_t, Asked> prompts;
    for (const int index : in_.split.train) {
      wholes.emplace(keys(index).normalized, index);
      ++prompts.emplace(keys(index).prompt, Asked{index}).first->second.times;
    }
    Collector leaked;
    int64_t whole = 0;
    for (const int index : in_.split.validation) {
      const auto same = wholes.find(keys(index).normalized);
      const auto asked = prompts.find(keys(index).prompt);
      whole += same != wholes.end();
      if (same != wholes.end()) {
        leaked.add(fmt::format("{} as {}", place(index), place(same->second)));
      } else if (asked != prompts.end() && asked->second.times * 10 <= in_.split.train.size()) {
        // One that most share is the task itself.
        leaked.add(fmt::format("{} asks the same as {}", place(index), place(asked->second.first)));
      }
    }
    const std::string text =
        fmt::format("{} of {} in the training set too: {} whole, {} with another answer", leaked.count,
                    counted(static_cast<int64_t>(in_.split.validation.size()), "validation sequence",
                            "validation sequences"),
                    whole, leaked.count - whole);
    return std::move(leaked).finding("leaks", "no validation sequence is in the training set", text,
                                     Verdict::kLook);
  }

  const DoctorInput& in_;
};

// 1, 2 or 5 times a power of ten, so that about ten buckets reach `longest`.
int bucket_width(int longest) {
  int64_t power = 1;
  while (true) {
    for (const int digit : {1, 2, 5}) {
      if (digit * power * 10 > longest) return static_cast<int>(digit * power);
    }
    power *= 10;
  }
}

SetSummary summary_of(const TokenizedDataset& tokens, const std::vector<int>& part) {
  SetSummary out;
  std::vector<int> lengths;
  for (const int index : part) {
    const TokenizedExample& one = tokens.examples[static_cast<size_t>(index)];
    lengths.push_back(static_cast<int>(one.tokens.size()));
    out.tokens += lengths.back();
    out.labels += one.labels;
  }
  out.sequences = static_cast<int64_t>(part.size());
  if (lengths.empty()) return out;
  std::ranges::sort(lengths);
  out.shortest = lengths.front();
  out.median = lengths[lengths.size() / 2];
  out.longest = lengths.back();
  const int width = bucket_width(out.longest);
  for (int from = out.shortest / width * width; from <= out.longest; from += width) {
    const auto begin = std::ranges::lower_bound(lengths, from);
    const auto end = std::ranges::lower_bound(lengths, from + width);
    out.lengths.push_back({from, from + width, end - begin});
  }
  return out;
}

// The first sequence with a label, or the first.
int sequence_to_show(const TokenizedDataset& tokens, const std::vector<int>& part) {
  const auto labelled = std::ranges::find_if(
      part, [&](int index) { return tokens.examples[static_cast<size_t>(index)].labels > 0; });
  return labelled != part.end() ? *labelled : part.front();
}

std::vector<ShownSpan> spans_of(const TokenizedExample& sequence, const Tokenizer& tokenizer) {
  std::vector<ShownSpan> spans;
  size_t bytes = 0;
  for (size_t i = 0; i < sequence.tokens.size() && bytes < kShownBytes; ++i) {
    const bool learned = sequence.label[i] != 0;
    if (spans.empty() || spans.back().learned != learned) spans.push_back({"", learned});
    const std::string text = tokenizer.token_bytes(sequence.tokens[i]);
    spans.back().text += text;
    bytes += text.size();
    if (bytes >= kShownBytes && i + 1 < sequence.tokens.size()) spans.back().text += "...";
  }
  return spans;
}

}  // namespace

std::string_view name_of(Verdict verdict) {
  constexpr std::array<std::string_view, 3> kNames = {"fine", "look at this", "stops the run"};
  return kNames[static_cast<size_t>(verdict)];
}

Verdict DoctorReport::verdict() const {
  Verdict gravest = Verdict::kFine;
  for (const Finding& finding : findings) gravest = std::max(gravest, finding.verdict);
  return gravest;
}

DoctorReport examine(const DoctorInput& input) {
  DoctorReport report;
  for (size_t i = 0; i < input.dataset.files.size(); ++i)
    report.files.push_back({input.dataset.files[i], input.dataset.formats[i]});
  for (const Example& example : input.dataset.examples)
    ++report.files[static_cast<size_t>(example.file)].examples;
  report.train = summary_of(input.tokens, input.split.train);
  report.validation = summary_of(input.tokens, input.split.validation);
  if (!input.split.train.empty()) {
    const TokenizedExample& shown =
        input.tokens.examples[static_cast<size_t>(sequence_to_show(input.tokens, input.split.train))];
    report.shown_place = place_of(input.dataset, shown.file, shown.line);
    report.shown = spans_of(shown, input.tokenizer);
  }
  report.findings = Examination(input).findings();
  return report;
}

}  // namespace chorus
