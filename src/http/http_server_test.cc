#include "http/http_server.h"

#include <gtest/gtest.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "http/test_client.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;

constexpr const char* kGet = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

std::string post(std::string_view path, std::string_view body) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      path, body.size(), body);
}

bool wait_for(const std::function<bool()>& condition, std::chrono::milliseconds time = 5s) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// A server with a few routes of every kind.
class TestServer {
 public:
  explicit TestServer(HttpOptions options = {}) : server_(with_free_port(std::move(options)), routes()) {
    server_.start();
  }

  uint16_t port() const { return server_.port(); }
  HttpServer& server() { return server_; }
  TestClient connect() const { return TestClient(port()); }
  // One request on a connection of its own, which the server is asked to close.
  std::string ask(std::string_view request) const {
    TestClient client = connect();
    client.send(request);
    client.end_output();
    return client.receive_all();
  }
  int gone() const { return gone_; }
  // The last exchange of /hold.
  std::shared_ptr<HttpExchange> held() {
    const std::lock_guard lock(mutex_);
    return held_;
  }
  std::shared_ptr<HttpExchange> wait_for_held() {
    wait_for([this] { return held() != nullptr; });
    return held();
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    held_.reset();
  }

 private:
  static HttpOptions with_free_port(HttpOptions options) {
    options.port = 0;
    return options;
  }

  std::vector<HttpRoute> routes() {
    const auto hello = [](const std::shared_ptr<HttpExchange>& exchange) {
      exchange->answer(200, "text/plain", "hello");
    };
    const auto echo = [](const std::shared_ptr<HttpExchange>& exchange) {
      exchange->answer(200, "application/json", exchange->request().body);
    };
    const auto hold = [this](const std::shared_ptr<HttpExchange>& exchange) {
      exchange->on_gone([this] { ++gone_; });
      const std::lock_guard lock(mutex_);
      held_ = exchange;
    };
    const auto fail = [](const std::shared_ptr<HttpExchange>&) { throw std::runtime_error("secret"); };
    const auto forget = [](const std::shared_ptr<HttpExchange>&) {};
    return {{"GET", "/health", Access::kPublic, hello},  {"GET", "/hello", Access::kUser, hello},
            {"POST", "/echo", Access::kUser, echo},      {"POST", "/hold", Access::kUser, hold},
            {"POST", "/fail", Access::kUser, fail},      {"POST", "/forget", Access::kUser, forget},
            {"POST", "/admin", Access::kAdmin, echo},    {"GET", "/files/*", Access::kUser, hello},
            {"POST", "/any", Access::kUser, echo, true}, {"GET", "/hold", Access::kUser, hold}};
  }

  std::atomic<int> gone_{0};
  std::mutex mutex_;
  std::shared_ptr<HttpExchange> held_;
  HttpServer server_;
};

[[maybe_unused]] int status_of(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(std::string(answer.substr(9, 3))) : 0;
}

TEST(HttpServerTest, AnswersGetAndPost) {
  TestServer server;
  const std::string get = server.ask(kGet);
  EXPECT_TRUE(get.starts_with("HTTP/1.1 200 OK\r\n")) << get;
  EXPECT_TRUE(get.ends_with("\r\n\r\nhello")) << get;
  EXPECT_TRUE(server.ask(post("/echo", "{\"a\":1}")).ends_with("\r\n\r\n{\"a\":1}"));
}

TEST(HttpServerTest, StreamsInChunks) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/event-stream");
  exchange->write("data: 1\n\n");
  const std::string first = client.receive_through("data: 1\n\n");
  EXPECT_NE(first.find("transfer-encoding: chunked\r\n"), first.npos);
  EXPECT_NE(first.find("\r\n\r\n9\r\ndata: 1\n\n"), first.npos);
  exchange->write("data: 2\n\n");
  exchange->end();
  EXPECT_TRUE(client.receive_through("0\r\n\r\n").ends_with("9\r\ndata: 2\n\n\r\n0\r\n\r\n"));
  client.send(kGet);  // on the same connection
  EXPECT_TRUE(client.receive_through("hello").starts_with("HTTP/1.1 200"));
  EXPECT_EQ(server.gone(), 0);
}

TEST(HttpServerTest, TellsOnceThatTheClientIsGone) {
  enum How { kFin, kReset, kHalfClose };
  for (const How how : {kFin, kReset, kHalfClose}) {
    for (const bool streaming : {false, true}) {
      TestServer server;
      TestClient client = server.connect();
      client.send(post("/hold", "{}"));
      const auto exchange = server.wait_for_held();
      if (streaming) {
        exchange->begin(200, "text/event-stream");
        exchange->write("data: 1\n\n");
        client.receive_through("data: 1");
      }
      if (how == kFin) client.close();
      if (how == kReset) client.reset();
      if (how == kHalfClose) client.end_output();
      EXPECT_TRUE(wait_for([&] { return server.gone() == 1; })) << how << streaming;
      EXPECT_TRUE(exchange->gone());
      exchange->write("to nobody");
      exchange->end();
      EXPECT_TRUE(wait_for([&] { return server.server().open_exchanges() == 0; }));
      EXPECT_EQ(server.gone(), 1);
    }
  }
}

}  // namespace
}  // namespace chorus
