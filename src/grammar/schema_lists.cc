#include "grammar/schema_lists.h"

#include <algorithm>
#include <utility>

namespace chorus {
namespace {

constexpr size_t kMaxCells = 10'000;

// Where one element is required and no count is asked for, commas go with the others: behind those before
// it, before those behind it.
ExprId around_required(JsonGrammar& text, const std::vector<ListElement>& elements, size_t required,
                       std::optional<ExprId> more) {
  Grammar& g = text.grammar();
  std::vector<ExprId> parts;
  for (size_t i = 0; i < elements.size(); ++i) {
    const ExprId element = elements[i].expr;
    if (i == required) {
      parts.push_back(element);
    } else {
      const ExprId with_comma =
          i < required ? g.sequence({element, text.comma()}) : g.sequence({text.comma(), element});
      parts.push_back(elements[i].required ? with_comma : g.optional(with_comma));
    }
  }
  if (more) parts.push_back(g.repeat(g.sequence({text.comma(), *more}), 0, -1));
  return g.sequence(std::move(parts));
}

// What may follow when `count` elements are written and all before `elements.size()` are done with.
ExprId final_cell(JsonGrammar& text, std::optional<ExprId> more, int count, int least, int greatest,
                  bool distinct_more) {
  Grammar& g = text.grammar();
  const int missing = std::max(0, least - count);
  const int room = greatest < 0 ? -1 : greatest - count;
  if (!more || room == 0) return missing == 0 && count > 0 ? g.literal("") : g.choice({});
  if ((distinct_more && missing > 1) || (room >= 0 && room < missing)) return g.choice({});
  const ExprId next = g.sequence({text.comma(), *more});
  if (count > 0) return g.repeat(next, missing, room);
  return g.sequence({*more, g.repeat(next, std::max(0, missing - 1), room < 0 ? -1 : room - 1)});
}

}  // namespace

std::optional<ExprId> list_of(JsonGrammar& text, const std::vector<ListElement>& elements,
                              std::optional<ExprId> more, int least, int greatest, bool distinct_more) {
  Grammar& g = text.grammar();
  const auto required = std::ranges::find(elements, true, &ListElement::required);
  const size_t size = elements.size();
  if (greatest >= 0 && !more && static_cast<size_t>(greatest) >= size) greatest = -1;
  const auto all_required = static_cast<int>(std::ranges::count(elements, true, &ListElement::required));
  if (required != elements.end() && least <= all_required && greatest < 0)
    return around_required(text, elements, static_cast<size_t>(required - elements.begin()), more);

  // Counts above `least` are alike where nothing bounds them.
  const auto top = static_cast<size_t>(
      std::min<int64_t>(greatest < 0 ? std::max(least, 1) : greatest, static_cast<int64_t>(size)));
  if ((size + 1) * (top + 1) > kMaxCells) return std::nullopt;
  std::vector<ExprId> behind(top + 1);
  for (size_t count = 0; count <= top; ++count)
    behind[count] = final_cell(text, more, static_cast<int>(count), least, greatest, distinct_more);
  for (size_t i = size; i-- > 0;) {
    std::vector<ExprId> cell(top + 1);
    for (size_t count = 0; count <= std::min(top, i); ++count) {
      std::vector<ExprId> choices;
      if (count < top || greatest < 0) {
        const ExprId rest = behind[std::min(count + 1, top)];
        choices.push_back(count == 0 ? g.sequence({elements[i].expr, rest})
                                     : g.sequence({text.comma(), elements[i].expr, rest}));
      }
      if (!elements[i].required) choices.push_back(behind[count]);
      const RuleId rule = g.add_rule("json-list");
      g.define(rule, g.choice(std::move(choices)));
      cell[count] = g.reference(rule);
    }
    behind = std::move(cell);
  }
  return behind[0];
}

}  // namespace chorus
