#include "http/gate.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace chorus {
namespace {

// A file of keys that is gone with the test.
class KeyFile {
 public:
  explicit KeyFile(std::string_view text)
      : path_(std::filesystem::temp_directory_path() /
              fmt::format("chorus_keys_{}_{}", ::getpid(), next_++)) {
    std::ofstream(path_) << text;
  }
  ~KeyFile() { std::filesystem::remove(path_); }
  std::string path() const { return path_; }

 private:
  static inline int next_ = 0;
  std::filesystem::path path_;
};

std::vector<HttpRoute> routes() {
  const HttpHandler none = [](const std::shared_ptr<HttpExchange>&) {};
  return {{"GET", "/health", Access::kPublic, none},
          {"POST", "/v1/chat", Access::kUser, none},
          {"GET", "/v1/models", Access::kUser, none},
          {"POST", "/v1/load", Access::kAdmin, none},
          {"GET", "/static/*", Access::kUser, none},
          {"GET", "/static/one", Access::kPublic, none},
          {"POST", "/upload", Access::kUser, none, "multipart/form-data"},
          {"POST", "/stop", Access::kUser, none, "application/json", true}};
}

HttpRequest request(std::string method, std::string path, HttpHeaders headers = {}) {
  HttpRequest made;
  made.method = std::move(method);
  made.path = std::move(path);
  made.headers = std::move(headers);
  if (made.header("host").empty()) made.headers.emplace_back("Host", "localhost");
  if (made.header("content-type").empty()) made.headers.emplace_back("Content-Type", "application/json");
  return made;
}

// 0: let in.
int judge(const Gate& gate, HttpRequest asked) {
  const Verdict verdict = gate.judge(asked);
  return verdict.route != nullptr ? 0 : verdict.status;
}

TEST(GateTest, KnowsItsHosts) {
  HttpOptions options;
  options.allowed_hosts = {"chorus.example", "other.example:8443"};
  const Gate gate(options, routes());
  for (const char* host : {"localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:1", "[::1]", "[::1]:8080",
                           "chorus.example", "chorus.example:80", "other.example:8443"})
    EXPECT_EQ(judge(gate, request("GET", "/health", {{"Host", host}})), 0) << host;
  for (const char* host : {"evil.example", ":11434", "localhost.evil.example",
                           "localhost:", "localhost:80:80", "127.0.0.1:123456", "other.example", "[::1",
                           "::1", "*", "localhost@evil.example", "localhost:80a", "a[::1]"})
    EXPECT_EQ(judge(gate, request("GET", "/health", {{"Host", host}})), 421) << host;
  HttpRequest without = request("GET", "/health");
  without.headers.clear();
  EXPECT_EQ(gate.judge(without).status, 421);
}

TEST(GateTest, GoesByTheAddressItIsBoundTo) {
  HttpOptions options;
  options.host = "127.0.0.7";
  EXPECT_EQ(judge(Gate(options, routes()), request("GET", "/health", {{"Host", "127.0.0.7:80"}})), 0);
  options.host = "::";
  options.insecure = true;
  EXPECT_EQ(judge(Gate(options, routes()), request("GET", "/health", {{"Host", "[::]"}})), 421);
  options.allowed_hosts = {"*"};
  EXPECT_EQ(judge(Gate(options, routes()), request("GET", "/health", {{"Host", "any"}})), 0);
}

TEST(GateTest, KnowsItsOrigins) {
  HttpOptions options;
  options.allowed_origins = {"https://page.example"};
  const Gate gate(options, routes());
  const auto with_origin = [](const char* method, const char* origin) {
    return request(method, "/v1/models", {{"Origin", origin}, {"Host", "localhost:8080"}});
  };
  HttpRequest listed = with_origin("GET", "https://page.example");
  const Verdict verdict = gate.judge(listed);
  EXPECT_NE(verdict.route, nullptr);
  EXPECT_EQ(verdict.allowed_origin, "https://page.example");
  EXPECT_EQ(judge(gate, with_origin("GET", "http://localhost:8080")), 0);  // our own page
  for (const char* origin : {"https://evil.example", "null", "http://localhost", "http://localhost:8081",
                             "https://page.example.evil", "page.example", "ftp://localhost:8080"})
    EXPECT_EQ(judge(gate, with_origin("GET", origin)), 403) << origin;
  EXPECT_EQ(judge(gate, with_origin("OPTIONS", "https://page.example")), 204);
  EXPECT_EQ(judge(gate, with_origin("OPTIONS", "https://evil.example")), 403);
  EXPECT_EQ(judge(gate, request("OPTIONS", "/v1/models")), 405);
}

TEST(GateTest, FindsRoutes) {
  const Gate gate(HttpOptions(), routes());
  EXPECT_EQ(judge(gate, request("GET", "/v1/models")), 0);
  EXPECT_EQ(judge(gate, request("HEAD", "/v1/models")), 0);
  EXPECT_EQ(judge(gate, request("GET", "/static/a/b")), 0);
  for (const char* path : {"/", "/v1", "/v1/models/", "/static", "/V1/models", "/nothing"})
    EXPECT_EQ(judge(gate, request("GET", path)), 404) << path;
  for (const char* method : {"GET", "HEAD", "TRACE", "BREW", "OPTIONS", "get", "post"}) {
    HttpRequest asked = request(method, "/v1/chat");
    const Verdict verdict = gate.judge(asked);
    EXPECT_EQ(verdict.status, 405) << method;
    EXPECT_EQ(verdict.headers, (HttpHeaders{{"allow", "POST"}}));
  }
  HttpRequest exact = request("GET", "/static/one");
  EXPECT_EQ(gate.judge(exact).route->path, "/static/one");
}

TEST(GateTest, WantsJson) {
  const Gate gate(HttpOptions(), routes());
  for (const char* type : {"application/json", "Application/JSON ; charset=utf-8"})
    EXPECT_EQ(judge(gate, request("POST", "/v1/chat", {{"Content-Type", type}})), 0) << type;
  for (const char* type :
       {"", "text/plain", "application/jsonp", "multipart/form-data", ";application/json"}) {
    EXPECT_EQ(judge(gate, request("POST", "/v1/chat", {{"Content-Type", type}})), 415) << type;
  }
}

TEST(GateTest, WantsWhatTheRouteTakes) {
  const Gate gate(HttpOptions(), routes());
  const auto post = [&](const char* path, HttpHeaders headers) {
    HttpRequest made = request("POST", path);
    std::erase_if(made.headers, [](const auto& header) { return header.first == "Content-Type"; });
    made.headers.insert(made.headers.end(), headers.begin(), headers.end());
    return gate.judge(made).status;
  };
  const auto type = [](const char* of) { return HttpHeaders{{"Content-Type", of}}; };
  EXPECT_EQ(post("/upload", type("multipart/form-data; boundary=x")), 0);
  for (const char* other : {"", "text/plain", "application/json"})
    EXPECT_EQ(post("/upload", type(other)), 415) << other;
  EXPECT_EQ(post("/v1/chat", {}), 415);
  EXPECT_EQ(post("/stop", {}), 0);
  EXPECT_EQ(post("/stop", HttpHeaders{{"Content-Length", "0"}}), 0);
  EXPECT_EQ(post("/stop", type("application/json")), 0);
  EXPECT_EQ(post("/stop", type("text/plain")), 415);
  EXPECT_EQ(post("/stop", HttpHeaders{{"Content-Length", "2"}}), 415);
  EXPECT_EQ(post("/stop", HttpHeaders{{"Transfer-Encoding", "chunked"}}), 415);
}

TEST(GateTest, AsksForAKeyOnEveryPath) {
  const KeyFile users("# ours\n\n  key-one  # a comment\nkey-two\r\n"), admins("root-key\n");
  HttpOptions options;
  options.api_key_file = users.path();
  options.admin_key_file = admins.path();
  const Gate gate(options, routes());
  const std::string long_key(10 << 10, 'k');
  std::vector<std::pair<std::string, std::string>> all{
      {"GET", "/nothing"}, {"TRACE", "/v1/chat"}, {"PUT", "/health"}};
  for (const HttpRoute& route : routes()) all.emplace_back(route.method, route.path);
  for (const auto& [method, path] : all) {
    const bool open = method == "GET" && (path == "/health" || path == "/static/one");
    EXPECT_EQ(judge(gate, request(method, path)), open ? 0 : 401) << path;
    for (const std::string& value :
         {std::string("Bearer wrong"), std::string("Bearer "), std::string("key-one"),
          std::string("Basic key-one"), std::string("Bearer key-one x"), "Bearer " + long_key,
          std::string("Bearer # ours")})
      EXPECT_EQ(judge(gate, request(method, path, {{"Authorization", value}})), open ? 0 : 401)
          << path << value;
  }
  for (const HttpHeaders& headers :
       {HttpHeaders{{"Authorization", "Bearer key-one"}}, HttpHeaders{{"authorization", "bearer key-two"}},
        HttpHeaders{{"X-Api-Key", "key-one"}}}) {
    EXPECT_EQ(judge(gate, request("GET", "/v1/models", headers)), 0);
    EXPECT_EQ(judge(gate, request("POST", "/v1/load", headers)), 403);
    EXPECT_EQ(judge(gate, request("GET", "/nothing", headers)), 404);
  }
  const HttpHeaders admin{{"Authorization", "Bearer root-key"}};
  EXPECT_EQ(judge(gate, request("GET", "/v1/models", admin)), 0);
  EXPECT_EQ(judge(gate, request("POST", "/v1/load", admin)), 0);
}

TEST(GateTest, NamesKeysWithoutShowingThem) {
  const KeyFile users("key-one\nkey-two\n");
  HttpOptions options;
  options.api_key_file = users.path();
  const Gate gate(options, routes());
  const auto name = [&](const Gate& by, const char* key) {
    HttpRequest asked = request("GET", "/v1/models", {{"X-Api-Key", key}});
    by.judge(asked);
    return asked.key;
  };
  EXPECT_EQ(name(gate, "key-one").size(), 16u);
  EXPECT_EQ(name(gate, "key-one"), name(gate, "key-one"));
  EXPECT_NE(name(gate, "key-one"), name(gate, "key-two"));
  EXPECT_NE(name(gate, "key-one"), name(Gate(options, routes()), "key-one"));
  EXPECT_EQ(name(gate, "key-three"), "");
}

TEST(GateTest, AnAdminKeyAloneGuardsOnlyAdminPaths) {
  const KeyFile admins("root-key\n");
  HttpOptions options;
  options.admin_key_file = admins.path();
  const Gate gate(options, routes());
  EXPECT_EQ(judge(gate, request("GET", "/v1/models", {{"Authorization", "Bearer sk-any"}})), 0);
  EXPECT_EQ(judge(gate, request("POST", "/v1/load")), 401);
  EXPECT_EQ(judge(gate, request("POST", "/v1/load", {{"Authorization", "Bearer root-key"}})), 0);
}

std::string start_error(const HttpOptions& options) {
  try {
    const Gate gate(options, routes());
    return {};
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(GateTest, RefusesUnsafeStarts) {
  const KeyFile users("key\n"), admins("root\n"), empty("# none\n"), blank("a b\n");
  const auto with = [](const char* host, const std::string& keys, const std::string& admin_keys) {
    HttpOptions options;
    options.host = host;
    options.api_key_file = keys;
    options.admin_key_file = admin_keys;
    return start_error(options);
  };
  EXPECT_EQ(with("127.0.0.1", "", ""), "");
  EXPECT_EQ(with("::1", "", ""), "");
  EXPECT_EQ(with("0.0.0.0", users.path(), ""), "");
  EXPECT_NE(with("0.0.0.0", "", "").find("--insecure"), std::string::npos);
  EXPECT_NE(with("0.0.0.0", "", admins.path()), "");  // most paths would be open
  EXPECT_NE(with("192.168.1.2", "", ""), "");
  EXPECT_NE(with("127.evil.example", "", ""), "");
  EXPECT_NE(with("127.0.0.1", "/nowhere/keys", "").find("/nowhere/keys"), std::string::npos);
  EXPECT_NE(with("127.0.0.1", empty.path(), ""), "");
  EXPECT_NE(with("127.0.0.1", blank.path(), ""), "");
  HttpOptions insecure;
  insecure.host = "0.0.0.0";
  insecure.insecure = true;
  EXPECT_EQ(start_error(insecure), "");
}

}  // namespace
}  // namespace chorus
