#pragma once

// JSON text as a series of events, for those who must see duplicate keys or refuse a text before a tree of it
// is built.

#include <boost/json/basic_parser_impl.hpp>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <system_error>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {

constexpr size_t kJsonMaxDepth = 64;

// Adapts a sink to Boost's basic_parser: joins the parts of strings, and parses numbers to the nearest
// double. A Sink has begin_object, end_object(count), begin_array, end_array(count), key(text), string(text),
// integer(int64), unsigned_integer(uint64), number(double), boolean and null, and a std::string `problem`;
// the text ends with that problem as soon as it is not empty.
template <typename Sink>
struct JsonEvents {
  static constexpr size_t max_object_size = static_cast<size_t>(-1);
  static constexpr size_t max_array_size = static_cast<size_t>(-1);
  static constexpr size_t max_key_size = static_cast<size_t>(-1);
  static constexpr size_t max_string_size = static_cast<size_t>(-1);

  explicit JsonEvents(Sink& target) : sink(target) {}

  Sink& sink;
  std::string joined;  // the parts so far of a string or number that comes in several

  using Code = json::error_code;
  using Text = json::string_view;

  bool go_on(Code& code) const {
    if (!sink.problem.empty()) code = json::make_error_code(json::error::exception);
    return sink.problem.empty();
  }
  std::string_view join(Text last) {
    if (joined.empty()) return {last.data(), last.size()};
    joined.append(last.data(), last.size());
    return joined;
  }
  bool add_part(Text part) {
    joined.append(part.data(), part.size());
    return true;
  }

  bool on_document_begin(Code&) { return true; }
  bool on_document_end(Code&) { return true; }
  bool on_object_begin(Code& code) {
    sink.begin_object();
    return go_on(code);
  }
  bool on_object_end(size_t count, Code& code) {
    sink.end_object(count);
    return go_on(code);
  }
  bool on_array_begin(Code& code) {
    sink.begin_array();
    return go_on(code);
  }
  bool on_array_end(size_t count, Code& code) {
    sink.end_array(count);
    return go_on(code);
  }
  bool on_key_part(Text part, size_t, Code&) { return add_part(part); }
  bool on_key(Text last, size_t, Code& code) {
    sink.key(join(last));
    joined.clear();
    return go_on(code);
  }
  bool on_string_part(Text part, size_t, Code&) { return add_part(part); }
  bool on_string(Text last, size_t, Code& code) {
    sink.string(join(last));
    joined.clear();
    return go_on(code);
  }
  bool on_number_part(Text part, Code&) { return add_part(part); }
  bool on_int64(int64_t value, Text, Code& code) {
    joined.clear();
    sink.integer(value);
    return go_on(code);
  }
  bool on_uint64(uint64_t value, Text, Code& code) {
    joined.clear();
    sink.unsigned_integer(value);
    return go_on(code);
  }
  // Boost 1.81's own value may be a unit in the last place off.
  bool on_double(double value, Text last, Code& code) {
    const std::string_view text = join(last);
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool overflows = parsed.ec == std::errc::result_out_of_range && std::abs(value) >= 1;
    joined.clear();
    if (overflows || !std::isfinite(value)) {
      sink.problem = "a number is too large for a double";
    } else {
      sink.number(value);
    }
    return go_on(code);
  }
  bool on_bool(bool value, Code& code) {
    sink.boolean(value);
    return go_on(code);
  }
  bool on_null(Code& code) {
    sink.null();
    return go_on(code);
  }
  bool on_comment_part(Text, Code&) { return true; }
  bool on_comment(Text, Code&) { return true; }
};

// Throws the Error of `text` at byte `position`: "<what>: line 3, column 7: <problem>".
[[noreturn]] void fail_json(std::string_view text, size_t position, std::string_view what,
                            std::string_view problem);

// Sends the whole of `text` to the sink. Error as fail_json's: bad syntax, invalid UTF-8, more than
// kJsonMaxDepth levels, anything after the value, and the sink's problem.
template <typename Sink>
void parse_json_events(std::string_view text, std::string_view what, Sink& sink) {
  json::parse_options options;
  options.max_depth = kJsonMaxDepth;
  json::basic_parser<JsonEvents<Sink>> parser(options, sink);
  json::error_code code;
  const size_t position = parser.write_some(false, text.data(), text.size(), code);
  if (!sink.problem.empty()) fail_json(text, position, what, sink.problem);
  if (code == json::error::too_deep)
    fail_json(text, position, what, fmt::format("nested more than {} levels deep", kJsonMaxDepth));
  if (code) fail_json(text, position, what, code.message());
  if (position < text.size()) fail_json(text, position, what, "text after the end of the value");
}

}  // namespace chorus
