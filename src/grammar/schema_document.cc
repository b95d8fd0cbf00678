#include "grammar/schema_document.h"

#include <algorithm>
#include <cmath>

namespace chorus {
namespace {

std::string escaped_token(std::string_view key) {
  std::string token;
  for (const char c : key) token += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return token;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') return (c | 0x20) - 'a' + 10;
  return -1;
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
      out += static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string unescaped_token(std::string_view token) {
  std::string key;
  for (size_t i = 0; i < token.size(); ++i) {
    const bool escape = token[i] == '~' && i + 1 < token.size();
    key += !escape ? token[i] : token[++i] == '1' ? '/' : '~';
  }
  return key;
}

// Calls `see(value, path)` for `value` and all within it, until it answers true. Depth: parse_json's.
template <typename See>
bool walk(const json::value& value, const std::string& path, const See& see) {
  if (see(value, path)) return true;
  if (value.is_object()) {
    for (const auto& [key, member] : value.get_object()) {
      if (walk(member, path + "/" + escaped_token(view(key)), see)) return true;
    }
  } else if (value.is_array()) {
    size_t index = 0;
    for (const json::value& element : value.get_array()) {
      if (walk(element, fmt::format("{}/{}", path, index++), see)) return true;
    }
  }
  return false;
}

}  // namespace

std::string SchemaDocument::pointer(const json::value& schema) const {
  std::string place;
  const auto is_it = [&](const json::value& value, const std::string& path) {
    if (&value != &schema) return false;
    place = path;
    return true;
  };
  if (walk(root_, "#", is_it)) return place;
  for (const auto& [kept, origin] : kept_) {
    if (walk(kept, "", is_it)) return pointer(*origin);
  }
  return "#";
}

void SchemaDocument::refuse(const json::value& schema, std::string_view keyword,
                            std::string_view reason) const {
  fail("json_schema: {}: {}: {}", printable(pointer(schema), 200), keyword, reason);
}

const json::value& SchemaDocument::keep(json::value schema, const json::value& origin) {
  return kept_.emplace_back(std::move(schema), &origin).first;
}

const json::value* SchemaDocument::find(const json::value& schema, std::string_view keyword) const {
  return schema.get_object().if_contains(json::string_view(keyword.data(), keyword.size()));
}

const json::object* SchemaDocument::find_object(const json::value& schema, std::string_view keyword) const {
  const json::value* value = find(schema, keyword);
  if (value && !value->is_object()) refuse(schema, keyword, "must be an object");
  return value ? &value->get_object() : nullptr;
}

const json::array* SchemaDocument::find_array(const json::value& schema, std::string_view keyword) const {
  const json::value* value = find(schema, keyword);
  if (value && !value->is_array()) refuse(schema, keyword, "must be an array");
  return value ? &value->get_array() : nullptr;
}

const json::value* SchemaDocument::find_number(const json::value& schema, std::string_view keyword) const {
  const json::value* value = find(schema, keyword);
  if (value && !value->is_number()) refuse(schema, keyword, "must be a number");
  return value;
}

std::optional<std::string_view> SchemaDocument::find_string(const json::value& schema,
                                                            std::string_view keyword) const {
  const json::value* value = find(schema, keyword);
  if (!value) return std::nullopt;
  if (!value->is_string()) refuse(schema, keyword, "must be a string");
  return view(value->get_string());
}

bool SchemaDocument::is_true(const json::value& schema, std::string_view keyword) const {
  const json::value* value = find(schema, keyword);
  if (value && !value->is_bool()) refuse(schema, keyword, "must be true or false");
  return value && value->get_bool();
}

std::optional<int> SchemaDocument::find_count(const json::value& schema, std::string_view keyword) const {
  const json::value* value = find_number(schema, keyword);
  if (!value) return std::nullopt;
  const double count = value->to_number<double>();
  if (!(count >= 0) || count != std::floor(count))
    refuse(schema, keyword, "must be a whole number, 0 or more");
  return count > kHuge ? kHuge : static_cast<int>(count);
}

std::vector<std::string_view> SchemaDocument::find_names(const json::value& schema,
                                                         std::string_view keyword) const {
  std::vector<std::string_view> names;
  const json::array* array = find_array(schema, keyword);
  if (!array) return names;
  for (const json::value& name : *array) {
    if (!name.is_string()) refuse(schema, keyword, "must be an array of strings");
    names.push_back(view(name.get_string()));
  }
  return names;
}

const json::value* SchemaDocument::follow(std::string_view pointer) const {
  const json::value* at = &root_;
  while (!pointer.empty()) {
    if (pointer[0] != '/') return nullptr;
    const size_t end = std::min(pointer.find('/', 1), pointer.size());
    const std::string token = unescaped_token(pointer.substr(1, end - 1));
    pointer.remove_prefix(end);
    if (at->is_object()) {
      at = at->get_object().if_contains(token);
    } else if (at->is_array()) {
      if (token.empty() || token.size() > 8 || token.find_first_not_of("0123456789") != token.npos)
        return nullptr;
      at = at->get_array().if_contains(std::stoul(token));
    } else {
      return nullptr;
    }
    if (!at) return nullptr;
  }
  return at;
}

const json::value* SchemaDocument::find_anchor(std::string_view name) const {
  const json::value* found = nullptr;
  walk(root_, "", [&](const json::value& value, const std::string&) {
    if (!value.is_object()) return false;
    const json::value* anchor = value.get_object().if_contains("$anchor");
    const json::value* id = value.get_object().if_contains("$id");
    const bool is_it = (anchor && anchor->is_string() && view(anchor->get_string()) == name) ||
                       (id && id->is_string() && view(id->get_string()) == "#" + std::string(name));
    if (is_it) found = &value;
    return is_it;
  });
  return found;
}

const json::value& SchemaDocument::target(const json::value& schema) const {
  const std::string_view reference = *find_string(schema, "$ref");
  std::string_view fragment = reference;
  if (root_.is_object()) {
    const std::optional<std::string_view> id = find_string(root_, "$id");
    if (id && !id->empty() && fragment.starts_with(id->substr(0, id->find('#'))))
      fragment.remove_prefix(std::min(id->find('#'), id->size()));
  }
  const json::value* found = nullptr;
  if (fragment.empty() || fragment == "#") {
    found = &root_;
  } else if (fragment.starts_with("#/")) {
    found = follow(percent_decoded(fragment.substr(1)));
  } else if (fragment.starts_with("#")) {
    found = find_anchor(fragment.substr(1));
  }
  if (!found || (!found->is_object() && !found->is_bool()))
    refuse(schema, "$ref", fmt::format("\"{}\" is no schema within this document", printable(reference)));
  return *found;
}

}  // namespace chorus
