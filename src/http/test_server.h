#pragma once

#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "http/http_server.h"
#include "http/test_client.h"

namespace chorus {

inline constexpr const char* kGet = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";

inline std::string post(std::string_view path, std::string_view body) {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      path, body.size(), body);
}

inline bool wait_for(const std::function<bool()>& condition,
                     std::chrono::milliseconds time = std::chrono::seconds(5)) {
  const auto deadline = std::chrono::steady_clock::now() + time;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
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
  // The last exchange of /hold, which keeps them unanswered.
  std::shared_ptr<HttpExchange> held() {
    const std::lock_guard lock(mutex_);
    return held_.empty() ? nullptr : held_.back();
  }
  std::vector<std::shared_ptr<HttpExchange>> all_held() {
    const std::lock_guard lock(mutex_);
    return held_;
  }
  std::shared_ptr<HttpExchange> wait_for_held() {
    wait_for([this] { return held() != nullptr; });
    return held();
  }
  void let_go() {
    const std::lock_guard lock(mutex_);
    held_.clear();
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
      held_.push_back(exchange);
    };
    const auto fail = [](const std::shared_ptr<HttpExchange>&) { throw std::runtime_error("secret"); };
    const auto forget = [](const std::shared_ptr<HttpExchange>&) {};
    return {{"GET", "/health", Access::kPublic, hello}, {"GET", "/hello", Access::kUser, hello},
            {"POST", "/echo", Access::kUser, echo},     {"POST", "/hold", Access::kUser, hold},
            {"POST", "/fail", Access::kUser, fail},     {"POST", "/forget", Access::kUser, forget},
            {"POST", "/admin", Access::kAdmin, echo},   {"GET", "/files/*", Access::kUser, hello},
            {"GET", "/hold", Access::kUser, hold}};
  }

  std::atomic<int> gone_{0};
  std::mutex mutex_;
  std::vector<std::shared_ptr<HttpExchange>> held_;
  HttpServer server_;
};

inline int status_of(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(std::string(answer.substr(9, 3))) : 0;
}

}  // namespace chorus
