#include <algorithm>
#include <array>
#include <filesystem>

#include "base/mapped_file.h"
#include "base/utf8.h"
#include "train/data_csv.h"
#include "train/data_json.h"
#include "train/data_records.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxFileBytes = size_t{2} << 30, kMaxFiles = 4096;
constexpr std::array<std::string_view, 4> kDataEndings = {".jsonl", ".json", ".csv", ".txt"};

std::string lower_extension(const std::string& path) {
  std::string extension = fs::path(path).extension().string();
  std::ranges::transform(extension, extension.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return extension;
}

// What people hand in that is no text.
void refuse_other_kinds(const std::string& path, std::string_view text) {
  using namespace std::string_view_literals;
  struct Kind {
    std::string_view magic, name;
  };
  constexpr std::array kKinds = {Kind{"PAR1"sv, "a Parquet file"},
                                 Kind{"\x1f\x8b"sv, "a gzip file"},
                                 Kind{"PK\x03\x04"sv, "a ZIP or spreadsheet file"},
                                 Kind{"ARROW1"sv, "an Arrow file"},
                                 Kind{"GGUF"sv, "a GGUF file"},
                                 Kind{"\xff\xfe"sv, "UTF-16 text"},
                                 Kind{"\xfe\xff"sv, "UTF-16 text"},
                                 Kind{"\x28\xb5\x2f\xfd"sv, "a Zstandard file"}};
  for (const Kind& kind : kKinds) {
    if (text.starts_with(kind.magic))
      fail("{}: {}; must be JSONL, JSON, CSV or plain text in UTF-8", printable(path, 300), kind.name);
  }
}

// Whether a .txt file is a series of records after all.
bool begins_with_record(std::string_view text) {
  const std::string_view line = take_line(text);
  if (!line.starts_with('{') || line.size() > kMaxRecordBytes) return false;
  try {
    const json::value value = parse_json(line, "record");
    return value.is_object() && form_of(value.get_object()).has_value();
  } catch (const Error&) {
    return false;
  }
}

void read_plain(DataFile& file, std::string_view text) {
  file.known_form = true;
  if (const int line = first_bad_line(text); line != 0) return file.problem(line, kNotUtf8);
  Example example;
  example.text = std::string(text);
  if (!is_blank(text)) file.add(1, DataFormat::kText, std::move(example));
}

void read_json_text(DataFile& file, std::string_view text, std::string_view start) {
  std::string_view rest = start;
  const bool opens_only = is_blank(take_line(rest).substr(1));  // a record printed over several lines
  if (start.starts_with('[') || opens_only) {
    read_json_values(file, text);
  } else {
    read_json_lines(file, text);
  }
}

DataFile read_data_file(const std::string& path, int index) {
  DataFile file;
  file.path = path;
  file.index = index;
  read_data(file, read_file(path, kMaxFileBytes), lower_extension(path));
  return file;
}

std::vector<std::string> files_of_directory(const std::string& directory) {
  std::vector<std::string> files;
  std::error_code code;
  for (fs::directory_iterator it(directory, code), end; !code && it != end; it.increment(code)) {
    const std::string name = it->path().filename().string();
    const bool data = std::ranges::find(kDataEndings, lower_extension(name)) != kDataEndings.end();
    if (!data || name.starts_with('.') || !it->is_regular_file(code)) continue;
    files.push_back(it->path().string());
    if (files.size() > kMaxFiles) fail("{}: more than {} data files", printable(directory, 300), kMaxFiles);
  }
  if (code) fail("{}: {}", printable(directory, 300), code.message());
  if (files.empty())
    fail("{}: no {} file in this directory", printable(directory, 300), fmt::join(kDataEndings, ", "));
  std::ranges::sort(files);
  return files;
}

void append(Dataset& dataset, DataFile file) {
  dataset.files.push_back(std::move(file.path));
  dataset.formats.push_back(file.format.value_or(DataFormat::kText));
  std::ranges::move(file.examples, std::back_inserter(dataset.examples));
  std::ranges::move(file.problems, std::back_inserter(dataset.problems));
  dataset.problem_count += file.problem_count;
}

}  // namespace

void read_data(DataFile& file, std::string_view bytes, std::string_view extension) {
  std::string_view text = bytes;
  refuse_other_kinds(file.path, text);
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  const std::string_view start = text.substr(std::min(text.find_first_not_of(" \t\r\n"), text.size()));
  if (start.empty()) {
    file.known_form = true;
  } else if (extension == ".csv") {
    read_csv(file, text);
  } else if (extension == ".txt" && !begins_with_record(start)) {
    read_plain(file, text);
  } else if (start[0] == '{' || start[0] == '[') {
    read_json_text(file, text, start);
  } else {
    fail("{}: begins with \"{}\"; must be JSON records, or a .csv or .txt file", printable(file.path, 300),
         printable(start.substr(0, 40), 40));
  }
  if (!file.known_form && !file.problems.empty())
    fail("{}: {}", file.problems[0].where, file.problems[0].what);
}

int first_bad_line(std::string_view text) {
  int line = 1;
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == 0) return line;
    if (byte < 0x80) {
      line += byte == '\n';
      ++i;
      continue;
    }
    const Utf8Char c = decode_utf8(text.substr(i));
    if (!c.valid) return line;
    i += c.length;
  }
  return 0;
}

std::string_view name_of(DataFormat format) {
  switch (format) {
    case DataFormat::kChat:
      return "chat";
    case DataFormat::kCompletion:
      return "prompt/completion";
    case DataFormat::kAlpaca:
      return "alpaca";
    case DataFormat::kShareGpt:
      return "sharegpt";
    case DataFormat::kText:
      return "text";
    case DataFormat::kCsv:
      break;
  }
  return "csv";
}

void append_dataset(Dataset& dataset, Dataset more) {
  const int offset = static_cast<int>(dataset.files.size());
  for (Example& example : more.examples) example.file += offset;
  std::ranges::move(more.files, std::back_inserter(dataset.files));
  std::ranges::move(more.formats, std::back_inserter(dataset.formats));
  std::ranges::move(more.examples, std::back_inserter(dataset.examples));
  std::ranges::move(more.problems, std::back_inserter(dataset.problems));
  dataset.problem_count += more.problem_count;
}

Dataset read_dataset(const std::vector<std::string>& paths) {
  std::vector<std::string> files;
  for (const std::string& path : paths) {
    std::error_code code;
    if (fs::is_directory(path, code)) {
      std::ranges::move(files_of_directory(path), std::back_inserter(files));
    } else {
      files.push_back(path);
    }
  }
  Dataset dataset;
  for (size_t i = 0; i < files.size(); ++i) append(dataset, read_data_file(files[i], static_cast<int>(i)));
  if (!dataset.examples.empty()) return dataset;
  if (!dataset.problems.empty()) {
    fail("{}: {} (and no good record in {} of {})", dataset.problems[0].where, dataset.problems[0].what,
         dataset.problem_count, dataset.problem_count);
  }
  fail("{}: no record", files.empty() ? "the data" : printable(files[0], 300));
}

}  // namespace chorus
