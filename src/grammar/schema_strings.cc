#include "grammar/schema_strings.h"

#include <algorithm>
#include <limits>
#include <map>
#include <unordered_set>
#include <utility>

#include "base/utf8.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

constexpr int kMaxPatternLength = 4096;

struct Format {
  std::string_view name, pattern;
};

// Dates: years 1000 to 2999, days as the months and leap years have them; times without leap seconds (RFC
// 3339). E-mail addresses and host names: letters, digits and few signs, short enough for RFC 5321 and 1035.
// IPv6 without an embedded IPv4 address. URIs with a host that is a name. Durations: ISO 8601 as RFC 3339,
// appendix A.
constexpr Format kFormats[] = {
    {"date",
     R"~((?:[12][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12)~"
     R"~(][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[12][0-9](?:0[48]|[2468][048]|[13579][26])|(?:12|)~"
     R"~(16|20|24|28)00)-02-29))~"},
    {"time",
     R"~((?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-)~"
     R"~(5][0-9]))~"},
    {"date-time",
     R"~((?:[12][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12)~"
     R"~(][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|(?:[12][0-9](?:0[48]|[2468][048]|[13579][26])|(?:12|)~"
     R"~(16|20|24|28)00)-02-29)T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,9})?(?:Z|[+-]()~"
     R"~(?:[01][0-9]|2[0-3]):[0-5][0-9]))~"},
    {"duration",
     R"~(P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[)~"
     R"~(0-9]{1,4}D)(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0)~"
     R"~(-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-)~"
     R"~(9]{1,4}S)))~"},
    {"uuid", R"~([0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12})~"},
    {"email",
     R"~([A-Za-z0-9_+-]{1,20}(?:\.[A-Za-z0-9_+-]{1,20}){0,2}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za)~"
     R"~(-z0-9])?\.){1,3}[A-Za-z](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?)~"},
    {"hostname",
     R"~((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){0,3}[A-Za-z](?:[A-Za-z0-9-]{0,30}[A-Za-z)~"
     R"~(0-9])?)~"},
    {"ipv4",
     R"~((?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[)~"
     R"~(1-9]?[0-9]))~"},
    {"ipv6",
     R"~((?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,6})?|[)~"
     R"~(0-9a-fA-F]{1,4}::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,5})?|[0-9a-fA-F]{1,4}(?::[0-9a-f)~"
     R"~(A-F]{1,4}){1}::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,4})?|[0-9a-fA-F]{1,4}(?::[0-9a-fA-)~"
     R"~(F]{1,4}){2}::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,3})?|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F])~"
     R"~({1,4}){3}::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,2})?|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1)~"
     R"~(,4}){4}::(?:[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){0,1})?|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4)~"
     R"~(}){5}::(?:[0-9a-fA-F]{1,4})?|[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{1,4}){6}::)~"},
    {"uri",
     R"~([A-Za-z][A-Za-z0-9+.-]{0,15}://(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?\.){0,3}[A-Za)~"
     R"~(-z](?:[A-Za-z0-9-]{0,30}[A-Za-z0-9])?(?::[0-9]{1,5})?(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0)~"
     R"~(-9A-Fa-f]{2})*)*(?:\?(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})|[/?])*)?(?:#(?:(?:[)~"
     R"~(A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})|[/?])*)?)~"},
    {"uri-reference",
     R"~(/?(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})+(?:/(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A)~"
     R"~(-Fa-f]{2})*)*(?:\?(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})|[/?])*)?(?:#(?:(?:[A-Z)~"
     R"~(a-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})|[/?])*)?)~"},
    {"json-pointer", R"~((?:/(?:[^~/]|~[01])*)*)~"},
};

// How many characters texts of an expression have, at least and at most.
struct Lengths {
  double least = 0, greatest = std::numeric_limits<double>::infinity();
};

// `begin`: the first expression that add_regex made; those of one character each are in `characters`.
Lengths lengths_of(const Grammar& grammar, ExprId begin, ExprId root,
                   const std::unordered_set<ExprId>& characters) {
  std::map<ExprId, Lengths> known;
  for (ExprId id = begin; id < static_cast<ExprId>(grammar.exprs()); ++id) {
    const Grammar::Expr& expr = grammar.expr(id);
    Lengths lengths;
    const bool complete = std::ranges::all_of(
        expr.parts, [&](ExprId part) { return characters.contains(part) || known.contains(part); });
    const auto of = [&](ExprId part) { return characters.contains(part) ? Lengths{1, 1} : known[part]; };
    if (characters.contains(id)) {
      lengths = {1, 1};
    } else if (!complete || expr.kind == Grammar::Kind::kLiteral || expr.kind == Grammar::Kind::kCharClass) {
      if (expr.kind == Grammar::Kind::kLiteral && expr.literal.empty()) lengths.greatest = 0;
    } else if (expr.kind == Grammar::Kind::kSequence) {
      lengths.greatest = 0;
      for (const ExprId part : expr.parts) {
        lengths.least += of(part).least;
        lengths.greatest += of(part).greatest;
      }
    } else if (expr.kind == Grammar::Kind::kChoice && !expr.parts.empty()) {
      lengths = of(expr.parts[0]);
      for (const ExprId part : expr.parts) {
        lengths.least = std::min(lengths.least, of(part).least);
        lengths.greatest = std::max(lengths.greatest, of(part).greatest);
      }
    } else if (expr.kind == Grammar::Kind::kRepeat) {
      const Lengths one = of(expr.parts[0]);
      lengths.least = one.least * expr.min;
      lengths.greatest = one.greatest == 0 || expr.max == 0 ? 0
                         : expr.max < 0                     ? lengths.greatest
                                                            : one.greatest * expr.max;
    }
    known[id] = lengths;
  }
  return characters.contains(root) ? Lengths{1, 1} : known[root];
}

struct Content {
  ExprId expr;
  Lengths lengths;
};

Content regex_content(JsonGrammar& text, std::string_view pattern, bool search) {
  Grammar& grammar = text.grammar();
  std::unordered_set<ExprId> characters;
  const CharacterExpr one_of = [&](Grammar&, std::vector<CodepointRange> set) {
    const ExprId made = text.character(std::move(set));
    characters.insert(made);
    return made;
  };
  const CharacterExpr any = [&](Grammar&, std::vector<CodepointRange>) {
    characters.insert(text.plain_character());
    return text.plain_character();
  };
  text.plain_character();  // made before, so that every expression behind `begin` is the pattern's
  const auto begin = static_cast<ExprId>(grammar.exprs());
  const ExprId expr = add_regex(grammar, pattern, one_of, search, any);
  return {expr, lengths_of(grammar, begin, expr, characters)};
}

Content pattern_content(JsonGrammar& text, const SchemaDocument& document, const json::value& schema,
                        std::string_view keyword, std::string_view pattern) {
  if (pattern.size() > kMaxPatternLength)
    document.refuse(schema, keyword, fmt::format("longer than {} bytes", kMaxPatternLength));
  try {
    return regex_content(text, pattern, true);
  } catch (const Error& error) {
    document.refuse(schema, keyword, error.what());
  }
}

}  // namespace

std::optional<std::string_view> format_pattern(std::string_view format) {
  for (const Format& known : kFormats) {
    if (known.name == format) return known.pattern;
  }
  return std::nullopt;
}

ExprId string_content(JsonGrammar& text, const SchemaDocument& document, const SchemaAlternatives& schemas,
                      const Alternative& alternative, bool plain) {
  const int least = schemas.least(alternative, "minLength");
  const int greatest = schemas.greatest(alternative, "maxLength");
  const json::value* with_pattern = nullptr;
  std::optional<std::string_view> pattern, format;
  for (const Clause& clause : alternative.clauses) {
    if (const auto other = document.find_string(*clause.schema, "pattern")) {
      if (pattern && *pattern != *other)
        document.refuse(*clause.schema, "pattern", "together with another pattern is not supported");
      pattern = other;
      with_pattern = clause.schema;
    }
    const auto other = document.find_string(*clause.schema, "format");
    if (other && !format) format = format_pattern(*other);
  }
  const auto fits = [&](const Lengths& lengths) {
    return lengths.least >= least && (greatest == SchemaDocument::kHuge || lengths.greatest <= greatest);
  };
  if (pattern) {
    const Content content = pattern_content(text, document, *with_pattern, "pattern", *pattern);
    if (!fits(content.lengths))
      document.refuse(*with_pattern, "pattern",
                      "allows other lengths than minLength and maxLength do; write the lengths into it");
    return content.expr;
  }
  if (format) {
    const Content content = regex_content(text, *format, false);
    // An annotation by default, it gives way to what is not.
    if (fits(content.lengths)) return content.expr;
  }
  if (least > greatest) return text.grammar().choice({});
  const ExprId character = plain ? text.plain_character() : text.character();
  return text.grammar().repeat(character, least, greatest == SchemaDocument::kHuge ? -1 : greatest);
}

ExprId matching_content(JsonGrammar& text, const SchemaDocument& document, const json::value& schema,
                        std::string_view keyword, std::string_view pattern) {
  return pattern_content(text, document, schema, keyword, pattern).expr;
}

// A tree of the names' characters, from the last name to the first so that it needs no recursion: at each
// common beginning, what is not the next character of a name leaves the tree for good.
ExprId string_but(JsonGrammar& text, std::vector<std::string> names) {
  Grammar& grammar = text.grammar();
  std::ranges::sort(names);
  struct Node {
    std::map<uint32_t, size_t> next;
    bool is_name = false;
  };
  std::vector<Node> nodes(1);
  for (const std::string_view name : names) {
    size_t at = 0;
    for (size_t i = 0; i < name.size();) {
      const Utf8Char character = decode_utf8(name.substr(i));
      i += character.length;
      const auto [entry, added] = nodes[at].next.try_emplace(character.code_point, nodes.size());
      at = entry->second;
      if (added) nodes.emplace_back();
    }
    nodes[at].is_name = true;
  }
  const ExprId rest = grammar.repeat(text.plain_character(), 0, -1);
  std::vector<ExprId> exprs(nodes.size());
  for (size_t i = nodes.size(); i-- > 0;) {  // children come after their parents
    std::vector<ExprId> choices;
    if (!nodes[i].is_name) choices.push_back(grammar.literal(""));
    std::vector<CodepointRange> others;
    uint32_t first = 0;
    for (const auto& [code_point, node] : nodes[i].next) {
      if (code_point > first) others.push_back({first, code_point - 1});
      first = code_point + 1;
      choices.push_back(grammar.sequence({text.character({{code_point, code_point}}), exprs[node]}));
    }
    others.push_back({first, 0x10FFFF});
    choices.push_back(grammar.sequence({text.character(std::move(others)), rest}));
    exprs[i] = grammar.choice(std::move(choices));
  }
  return text.quoted(exprs[0]);
}

}  // namespace chorus
