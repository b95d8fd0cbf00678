// POST /tokenize and /detokenize, in vLLM's and llama-server's forms.

#include <utility>

#include "formats/unicode.h"
#include "server/openai_messages.h"
#include "server/services.h"

namespace chorus {
namespace {

void check_members(const json::object& body, std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : body) {
    if (std::ranges::find(known, std::string_view(key)) == known.end())
      refuse(printable(key), "unknown field: {}", printable(key));
  }
}

// {"prompt"} (vLLM), {"content"} (llama-server) or {"messages"}.
void tokenize(const Services& services, HttpExchange& exchange) {
  const json::object body = read_json_body(exchange.request());
  check_members(body, {"model", "prompt", "content", "messages", "tools", "add_special_tokens", "add_special",
                       "parse_special", "add_generation_prompt", "return_token_strs", "with_pieces"});
  std::vector<int32_t> ids;
  const Tokenizer& tokenizer = services.model.tokenizer;
  if (find_field(body, "messages") != nullptr) {
    json::object variables = read_template_variables(body, read_tools(body));
    ids = services.model.encode_rendered(services.model.render_chat(
        std::move(variables), bool_field(body, "add_generation_prompt", true), nullptr));
  } else {
    const bool llama = find_field(body, "content") != nullptr;
    const std::string_view name = llama ? "content" : "prompt";
    const json::value* text = find_field(body, name);
    if (text == nullptr) refuse("prompt", "prompt is missing");
    const bool special =
        llama ? bool_field(body, "add_special", false) : bool_field(body, "add_special_tokens", true);
    ids =
        tokenizer.encode(read_string(*text, name),
                         {.add_special = special, .parse_special = bool_field(body, "parse_special", true)});
  }
  json::object answer{{"tokens", json::value_from(ids)},
                      {"count", ids.size()},
                      {"max_model_len", services.model.limits.context_length}};
  if (bool_field(body, "return_token_strs", false)) {
    json::array texts;
    for (const int32_t id : ids) texts.push_back(json::value(to_valid_utf8(tokenizer.token_bytes(id))));
    answer["token_strs"] = std::move(texts);
  }
  answer_json(exchange, answer);
}

void detokenize(const Services& services, HttpExchange& exchange) {
  const json::object body = read_json_body(exchange.request());
  check_members(body, {"model", "tokens"});
  const json::value* tokens = find_field(body, "tokens");
  if (tokens == nullptr) refuse("tokens", "tokens is missing");
  if (!tokens->is_array()) refuse("tokens", "tokens must be a list");
  const std::vector<int32_t> ids = read_token_ids(tokens->get_array(), "tokens", services.model.limits.vocab);
  const std::string text = to_valid_utf8(services.model.tokenizer.decode(ids, true));
  answer_json(exchange, json::object{{"prompt", text}, {"content", text}});
}

HttpRoute text_route(const Services& services, const char* path,
                     void (*action)(const Services&, HttpExchange&)) {
  return {
      .method = "POST", .path = path, .handler = [&services, action](std::shared_ptr<HttpExchange> exchange) {
        HttpExchange& client = *exchange;
        run_later(services, std::move(exchange), [&services, &client, action] { action(services, client); });
      }};
}

}  // namespace

std::vector<HttpRoute> text_routes(const Services& services) {
  return {text_route(services, "/tokenize", tokenize), text_route(services, "/detokenize", detokenize)};
}

}  // namespace chorus
