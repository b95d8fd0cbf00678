#include "http/http_server.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "base/error.h"
#include "http/test_server.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;

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
