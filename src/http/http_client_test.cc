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
  EXPECT_THROW(client_of(server).ask("POST", "/hold", "application/json", "{}", 1s), Error);
  EXPECT_NE(server.wait_for_held(), nullptr);
  server.let_go();
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
