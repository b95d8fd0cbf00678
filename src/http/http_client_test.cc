#include "http/http_client.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "http/test_server.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;

HttpClient client_of(const TestServer& server, const std::string& suffix = "") {
  return {fmt::format("http://127.0.0.1:{}{}", server.port(), suffix), ""};
}

TEST(HttpClientTest, AsksAndAnswers) {
  TestServer server;
  const HttpClient client = client_of(server, "/");
  const HttpAnswer hello = client.ask("GET", "/hello");
  EXPECT_EQ(hello.status, 200);
  EXPECT_EQ(hello.body, "hello");
  const std::string large = "\"" + std::string(3'000'000, 'x') + "\"";
  EXPECT_EQ(client.ask("POST", "/echo", "application/json", large).body, large);
  EXPECT_EQ(client.ask("GET", "/nothing").status, 404);
  EXPECT_EQ(client.ask("POST", "/fail", "application/json", "{}").status, 500);
}

TEST(HttpClientTest, ASilentServerIsNotWaitedForLong) {
  TestServer server;
  EXPECT_THROW(client_of(server).ask("POST", "/hold", "application/json", "{}", {.time = 1s}), HttpTimeout);
  EXPECT_NE(server.wait_for_held(), nullptr);
  server.let_go();
}

TEST(HttpClientTest, AStopEndsTheAsking) {
  TestServer server;
  std::stop_source stop;
  const std::jthread stopper([&] {
    EXPECT_NE(server.wait_for_held(), nullptr);
    stop.request_stop();
  });
  EXPECT_THROW(client_of(server).ask("POST", "/hold", "application/json", "{}", {.stop = stop.get_token()}),
               Error);
  EXPECT_THROW(client_of(server).ask("GET", "/hello", {}, {}, {.stop = stop.get_token()}), Error)
      << "stopped before";
  EXPECT_TRUE(wait_for([&] { return server.gone() == 1; })) << "the connection was kept";
  server.let_go();
}

TEST(HttpClientTest, TakesNoMoreThanItMay) {
  TestServer server;
  const std::string body = "\"" + std::string(5000, 'x') + "\"";
  EXPECT_THROW(client_of(server).ask("POST", "/echo", "application/json", body, {.answer_bytes = 4000}),
               Error);
}

TEST(HttpClientTest, UserAndPasswordAreNoPartOfTheUrl) {
  const HttpClient client("http://user:pass@127.0.0.1:7", "");
  EXPECT_EQ(client.url(), "http://127.0.0.1:7");
  EXPECT_EQ(client.host(), "127.0.0.1");
}

TEST(HttpClientTest, RefusesWhatIsNoServer) {
  for (const char* url : {"", "127.0.0.1", "ftp://x", "http://", "http://:1", "http://a:b", "http://a:123456",
                          "http://a b", "http://a/b", "http://a\r\nb", "http://a:"}) {
    EXPECT_THROW(HttpClient(url, ""), Error) << url;
  }
  EXPECT_THROW(HttpClient("http://a", "key\r\nX: y"), Error);
  EXPECT_THROW(HttpClient("http://127.0.0.1:1", "").ask("GET", "/"), Error) << "nobody listens";
  EXPECT_NO_THROW(HttpClient("https://[::1]:8080", "key"));
}

}  // namespace
}  // namespace chorus
