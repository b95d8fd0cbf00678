#include <algorithm>
#include <cmath>

#include "formats/jinja_context.h"
#include "formats/jinja_format.h"
#include "formats/jinja_operators.h"
#include "formats/jinja_text.h"

namespace chorus::jinja {
namespace {

// json.dumps() of Python: every byte counts, as models were trained on it.
class JsonWriter {
 public:
  JsonWriter(Context& ctx, const Args& args);
  std::string run(const Value& value) {
    write(value, 0);
    return std::move(out_);
  }

 private:
  void write(const Value& value, size_t level);
  void write_text(std::string_view text);
  void write_number(const Value& value);
  void write_list(const List& list, size_t level);
  void write_dict(const Dict& dict, size_t level);
  void write_key(const Value& key);
  void new_line(size_t level);

  Context& ctx_;
  std::string out_;
  std::optional<std::string> indent_;
  std::string item_separator_ = ", ";
  std::string key_separator_ = ": ";
  bool ascii_ = false;
  bool sort_ = false;
};

JsonWriter::JsonWriter(Context& ctx, const Args& args) : ctx_(ctx) {
  const Bound bound(ctx, args, "tojson", {"ensure_ascii", "indent", "separators", "sort_keys"});
  ascii_ = bound.flag(0);
  sort_ = bound.flag(3);
  if (bound[1] != nullptr && bound[1]->text() != nullptr) {
    indent_ = *bound[1]->text();
  } else if (const auto width = bound.integer(1)) {
    if (*width > 100) ctx.fail("tojson: an indent of more than 100");
    indent_ = std::string(static_cast<size_t>(std::max<int64_t>(*width, 0)), ' ');
  }
  if (indent_) item_separator_ = ",";
  if (bound[2] == nullptr || bound[2]->is<None>()) return;
  const ListPtr separators = iterate(ctx, *bound[2]);
  if (separators->items.size() != 2 || separators->items[0].text() == nullptr ||
      separators->items[1].text() == nullptr)
    ctx.fail("tojson: separators must be two strings");
  item_separator_ = *separators->items[0].text();
  key_separator_ = *separators->items[1].text();
}

void JsonWriter::new_line(size_t level) {
  if (!indent_) return;
  ctx_.charge_bytes(level * indent_->size());
  out_ += '\n';
  for (size_t i = 0; i < level; ++i) out_ += *indent_;
}

void JsonWriter::write_text(std::string_view text) {
  ctx_.charge_bytes(text.size());
  out_ += '"';
  for (size_t i = 0; i < text.size();) {
    const Utf8Char c = decode_utf8(text.substr(i));
    const uint32_t p = c.code_point;
    constexpr std::string_view kFrom = "\"\\\n\r\t\b\f";
    constexpr std::string_view kTo = "\"\\nrtbf";
    const size_t known = p < 0x80 ? kFrom.find(static_cast<char>(p)) : std::string_view::npos;
    if (known != std::string_view::npos) {
      out_ += '\\';
      out_ += kTo[known];
    } else if (p < 0x20 || (ascii_ && p >= 0x7F && p < 0x10000 && p != 0x7F)) {
      out_ += fmt::format("\\u{:04x}", p);
    } else if (ascii_ && p >= 0x10000) {
      out_ += fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + ((p - 0x10000) >> 10), 0xDC00 + (p & 0x3FF));
    } else {
      out_ += text.substr(i, c.length);
    }
    i += c.length;
  }
  out_ += '"';
}

void JsonWriter::write_number(const Value& value) {
  const double* real = value.get<double>();
  if (real != nullptr && !std::isfinite(*real))
    out_ += std::isnan(*real) ? "NaN" : *real < 0 ? "-Infinity" : "Infinity";
  else
    out_ += to_text(ctx_, value);
}

void JsonWriter::write_list(const List& list, size_t level) {
  if (list.items.empty()) {
    out_ += "[]";
    return;
  }
  out_ += '[';
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out_ += item_separator_;
    new_line(level + 1);
    write(list.items[i], level + 1);
  }
  new_line(level);
  out_ += ']';
}

void JsonWriter::write_key(const Value& key) {
  if (key.text() != nullptr) return write_text(*key.text());
  if (!key.is<None>() && !number_of(key)) ctx_.fail("tojson: {} cannot be a key", type_name(key));
  out_ += '"';
  write(key, 0);
  out_ += '"';
}

void JsonWriter::write_dict(const Dict& dict, size_t level) {
  if (dict.entries.empty()) {
    out_ += "{}";
    return;
  }
  std::vector<const std::pair<Value, Value>*> entries;
  for (const auto& entry : dict.entries) entries.push_back(&entry);
  if (sort_)
    std::stable_sort(entries.begin(), entries.end(),
                     [&](const auto* a, const auto* b) { return less(ctx_, a->first, b->first); });
  out_ += '{';
  for (size_t i = 0; i < entries.size(); ++i) {
    if (i > 0) out_ += item_separator_;
    new_line(level + 1);
    write_key(entries[i]->first);
    out_ += key_separator_;
    write(entries[i]->second, level + 1);
  }
  new_line(level);
  out_ += '}';
}

void JsonWriter::write(const Value& value, size_t level) {
  ctx_.charge(1);
  ctx_.charge_bytes(item_separator_.size() + key_separator_.size());
  if (value.is<None>())
    out_ += "null";
  else if (const bool* boolean = value.get<bool>())
    out_ += *boolean ? "true" : "false";
  else if (number_of(value))
    write_number(value);
  else if (const std::string* text = value.text())
    write_text(*text);
  else if (const ListPtr* list = value.get<ListPtr>())
    write_list(**list, level);
  else if (const DictPtr* dict = value.get<DictPtr>())
    write_dict(**dict, level);
  else
    ctx_.fail("tojson: {} cannot be written as JSON", type_name(value));
}

}  // namespace

Value to_json(Context& ctx, const Value& value, const Args& args) {
  return ctx.text(JsonWriter(ctx, args).run(value));
}

}  // namespace chorus::jinja
