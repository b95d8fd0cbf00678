#include "server/batch_output.h"

#include <charconv>
#include <filesystem>
#include <limits>
#include <utility>

#include "base/atomic_file.h"
#include "base/mapped_file.h"
#include "formats/json_fields.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

std::string header(std::string_view fingerprint) {
  return json::serialize(json::object{{"chorus_batch", json::string_view(fingerprint)}}) + "\n";
}

// The line's number, from "batch_req_N".
size_t number_of(std::string_view text, const std::string& where) {
  constexpr std::string_view kPrefix = "batch_req_";
  const json::value value = parse_json(text, where);
  const std::string_view id = string_member(as_object(value, where), "id", where);
  size_t number = 0;
  if (id.starts_with(kPrefix)) std::from_chars(id.data() + kPrefix.size(), id.data() + id.size(), number);
  if (number == 0) fail("{}: a line without the id of a result", where);
  return number;
}

}  // namespace

BatchOutput::BatchOutput(std::string path, std::string_view fingerprint)
    : path_(std::move(path)), partial_path_(path_ + ".partial") {
  std::error_code unused;
  if (fs::is_directory(path_, unused)) fail("{}: is a directory", printable(path_, 300));
  if (fs::file_size(partial_path_, unused) > 0 && !unused) resume(fingerprint);
  file_.open(partial_path_, std::ios::binary | std::ios::app);
  if (size_ == 0) {
    const std::string first = header(fingerprint);
    file_ << first << std::flush;
    size_ = first.size();
  }
  if (!file_) fail("{}: cannot write", printable(partial_path_, 300));
}

void BatchOutput::resume(std::string_view fingerprint) {
  const std::string where = printable(partial_path_, 300);
  const std::string text = read_file(partial_path_, std::numeric_limits<size_t>::max());
  const std::string first = header(fingerprint);
  if (!text.starts_with(first)) {
    fail("{}: holds results of another input, model or adapters; remove it to begin anew", where);
  }
  size_ = first.size();
  for (size_t end; (end = text.find('\n', size_)) != std::string::npos; size_ = end + 1) {
    const size_t size = end + 1 - size_;
    lines_[number_of(std::string_view(text).substr(size_, size - 1), where)] = {size_, size};
  }
  if (size_ < text.size()) fs::resize_file(partial_path_, size_);  // a line cut off while it was written
}

void BatchOutput::add(const BatchResult& result) {
  file_ << result.json << '\n' << std::flush;
  if (!file_) fail("{}: cannot write; is the disk full?", printable(partial_path_, 300));
  lines_[result.line] = {size_, result.json.size() + 1};
  size_ += result.json.size() + 1;
}

void BatchOutput::commit() {
  file_.close();
  {
    const MappedFile partial(partial_path_);
    AtomicFile output(path_);
    for (const auto& [number, slice] : lines_)
      output.write(partial.bytes().subspan(slice.offset, slice.size));
    output.commit();
  }
  fs::remove(partial_path_);
}

std::unordered_set<size_t> BatchOutput::finished() const {
  std::unordered_set<size_t> numbers;
  for (const auto& [number, slice] : lines_) numbers.insert(number);
  return numbers;
}

}  // namespace chorus
