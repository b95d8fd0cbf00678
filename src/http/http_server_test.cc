#include "http/http_server.h"

#include <gtest/gtest.h>

#include <algorithm>
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

TEST(HttpServerTest, RoutesCanBeReplaced) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  server.server().set_routes(
      {{.method = "GET",
        .path = "/new",
        .access = Access::kPublic,
        .handler = [](const std::shared_ptr<HttpExchange>& e) { e->answer(200, "text/plain", "new"); }}});
  EXPECT_TRUE(server.ask("GET /new HTTP/1.1\r\nHost: localhost\r\n\r\n").ends_with("new"));
  EXPECT_TRUE(server.ask(kGet).starts_with("HTTP/1.1 404"));
  exchange->answer(200, "text/plain", "old");
  EXPECT_TRUE(client.receive_through("old").starts_with("HTTP/1.1 200"));
}

TEST(HttpServerTest, WhatIsNotThereYetIsToBeAskedForAgain) {
  HttpOptions options;
  options.port = 0;
  HttpServer server(options, {}, true);
  server.start();
  const auto ask = [&] {
    TestClient client(server.port());
    client.send("GET /new HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    return client.receive_all();
  };
  const std::string early = ask();
  EXPECT_TRUE(early.starts_with("HTTP/1.1 503")) << early;
  EXPECT_NE(early.find("retry-after: 1\r\n"), early.npos) << early;
  server.set_routes({});
  EXPECT_TRUE(ask().starts_with("HTTP/1.1 404"));
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

TEST(HttpServerTest, AnswersHeadWithoutABody) {
  TestServer server;
  TestClient client = server.connect();
  client.send("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string head = client.receive_through("\r\n\r\n");
  EXPECT_NE(head.find("content-length: 5\r\n"), head.npos);
  EXPECT_TRUE(head.ends_with("\r\n\r\n"));
  client.send(kGet);  // what comes next is the next answer
  EXPECT_TRUE(client.receive_through("hello").starts_with("HTTP/1.1 200"));
}

TEST(HttpServerTest, SaysContinueToThoseWhoAskAndMay) {
  TestServer server;
  const auto head = [](std::string_view path, size_t length) {
    return fmt::format(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
        "Content-Length: {}\r\n\r\n",
        path, length);
  };
  TestClient client = server.connect();
  client.send(head("/echo", 5));
  EXPECT_EQ(client.receive_through("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("12345");
  EXPECT_TRUE(client.receive_through("12345").starts_with("HTTP/1.1 200"));
  client.send(head("/echo", 5) + "67890");  // did not wait: no interim answer
  EXPECT_TRUE(client.receive_through("67890").starts_with("HTTP/1.1 200"));
  for (const std::string& refused : {head("/nothing", 5), head("/echo", 9 << 20)}) {
    TestClient other = server.connect();
    other.send(refused);
    EXPECT_GE(status_of(other.receive_all(1s)), 400);
  }
}

TEST(HttpServerTest, RefusalsWithoutABodyKeepTheConnection) {
  TestServer server;
  TestClient client = server.connect();
  client.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(status_of(client.receive_through("}}")), 404);
  client.send("TRACE /echo HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const std::string answer = client.receive_through("}}");
  EXPECT_EQ(status_of(answer), 405);
  EXPECT_NE(answer.find("\r\nallow: POST\r\n"), answer.npos);
  client.send(kGet);
  EXPECT_EQ(status_of(client.receive_through("hello")), 200);
}

TEST(HttpServerTest, StreamsToHttp10UntilTheConnectionEnds) {
  TestServer server;
  TestClient client = server.connect();
  client.send("GET /hold HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n");
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/event-stream");
  exchange->write("data: 1\n\n");
  exchange->end();
  const std::string answer = client.receive_all();
  EXPECT_TRUE(client.closed());
  EXPECT_EQ(answer.find("chunked"), answer.npos);
  EXPECT_TRUE(answer.ends_with("\r\n\r\ndata: 1\n\n"));
}

TEST(HttpServerTest, EveryAnswerHasAnId) {
  TestServer server;
  const auto id_of = [&](std::string_view line) {
    const std::string answer =
        server.ask(fmt::format("GET /hello HTTP/1.1\r\nHost: localhost\r\n{}\r\n", line));
    const size_t at = answer.find("x-request-id: ") + 14;
    return answer.substr(at, answer.find("\r\n", at) - at);
  };
  EXPECT_EQ(id_of("X-Request-ID: my-id.1\r\n"), "my-id.1");
  EXPECT_EQ(id_of("").size(), 16u);
  EXPECT_NE(id_of(""), id_of(""));
  EXPECT_EQ(id_of("X-Request-Id: a b\r\n").size(), 16u);
  EXPECT_EQ(id_of("X-Request-Id: " + std::string(129, 'a') + "\r\n").size(), 16u);
}

TEST(HttpServerTest, HandlersWordsCannotBreakTheHead) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}"));
  server.wait_for_held()->answer(200, "text/plain", "x", {{"x-adapter-id", "a\r\nset-cookie: b"}});
  const std::string answer = client.receive_through("\r\n\r\nx");
  EXPECT_NE(answer.find("x-adapter-id: a  set-cookie: b\r\n"), answer.npos);
}

TEST(HttpServerTest, AnswersForHandlersThatFail) {
  TestServer server;
  testing::internal::CaptureStderr();
  for (const char* path : {"/fail", "/forget"}) {
    const std::string answer = server.ask(post(path, "{}"));
    EXPECT_EQ(status_of(answer), 500) << path;
    EXPECT_EQ(answer.find("secret"), answer.npos);
    EXPECT_TRUE(answer.ends_with(
        "{\"error\":{\"message\":\"internal error\",\"type\":\"server_error\",\"param\":null,"
        "\"code\":null}}"))
        << answer;
  }
  server.server().stop();
  std::this_thread::sleep_for(20ms);
  EXPECT_NE(testing::internal::GetCapturedStderr().find("secret"), std::string::npos);
}

TEST(HttpServerTest, AStreamThatIsDroppedUnfinishedIsCutOff) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}"));
  server.wait_for_held()->begin(200, "text/event-stream");
  client.receive_through("\r\n\r\n");
  server.let_go();
  EXPECT_EQ(client.receive_all().find("0\r\n\r\n"), std::string::npos);
  EXPECT_TRUE(client.closed());
}

TEST(HttpServerTest, NamesListedOriginsInEveryAnswer) {
  HttpOptions options;
  options.allowed_origins = {"https://page.example"};
  TestServer server(options);
  for (const char* path : {"/hello", "/nothing"}) {
    const std::string answer = server.ask(
        fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.example\r\n\r\n", path));
    EXPECT_NE(answer.find("access-control-allow-origin: https://page.example\r\n"), answer.npos);
  }
  const std::string preflight = server.ask(
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://page.example\r\n"
      "Access-Control-Request-Method: POST\r\n\r\n");
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_NE(preflight.find("access-control-allow-methods: POST\r\n"), preflight.npos);
  EXPECT_EQ(server.ask(kGet).find("access-control"), std::string::npos);
}

TEST(HttpServerTest, KeepsTheOrderOfWritesFromAnyThread) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/event-stream");
  std::thread writer;
  std::thread reader([&] {
    const std::string all = client.receive_through("\r\n0\r\n\r\n");
    size_t at = 0;
    for (int i = 0; i < 2000; ++i) {
      at = all.find(fmt::format("data: {}\n\n", i), at);
      ASSERT_NE(at, all.npos) << i;
    }
  });
  for (int i = 0; i < 2000; ++i) {  // each on a thread that has not written before, one after the other
    if (writer.joinable()) writer.join();
    writer = std::thread([&, i] { exchange->write(fmt::format("data: {}\n\n", i)); });
  }
  writer.join();
  exchange->end();
  reader.join();
}

TEST(HttpServerTest, WritesOfABatchGoOutAtItsEnd) {
  HttpOptions options;
  options.threads = 1;
  TestServer server(options);
  std::vector<TestClient> clients;
  for (size_t i = 0; i < 3; ++i) {
    clients.push_back(server.connect());
    clients.back().send(post("/hold", "{}"));
    ASSERT_TRUE(wait_for([&] { return server.all_held().size() == i + 1; }));
  }
  const auto nothing_came = [](TestClient& client) {
    pollfd ready{client.descriptor(), POLLIN, 0};
    return ::poll(&ready, 1, 0) == 0;
  };
  {
    const HttpServer::WriteBatch outer(server.server());
    {
      const HttpServer::WriteBatch inner(server.server());
      for (const auto& exchange : server.all_held()) exchange->begin(200, "text/event-stream");
    }
    server.all_held()[0]->write("data: 1\n\n");
    server.ask(kGet);  // the I/O thread has had its turn
    EXPECT_TRUE(std::ranges::all_of(clients, nothing_came));
  }
  EXPECT_TRUE(clients[0].receive_through("data: 1\n\n").starts_with("HTTP/1.1 200"));
  for (const size_t i : {1, 2})
    EXPECT_TRUE(clients[i].receive_through("\r\n\r\n").starts_with("HTTP/1.1 200"));
}

TEST(HttpServerTest, DrainsWithoutCuttingAnybodyOff) {
  TestServer server;
  TestClient idle = server.connect(), busy = server.connect();
  idle.send(kGet);
  idle.receive_through("hello");
  busy.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  server.server().drain({"/health"});
  EXPECT_EQ(idle.receive_all(), "");
  EXPECT_TRUE(idle.closed());
  EXPECT_EQ(server.server().open_exchanges(), 1);
  const std::string refused = server.ask(kGet);
  EXPECT_EQ(status_of(refused), 503);
  EXPECT_NE(refused.find("connection: close\r\n"), refused.npos);
  EXPECT_EQ(status_of(server.ask("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")), 200);
  exchange->answer(200, "text/plain", "done");
  const std::string answer = busy.receive_all();
  EXPECT_TRUE(answer.ends_with("done"));
  EXPECT_NE(answer.find("connection: close\r\n"), answer.npos);
  EXPECT_TRUE(wait_for([&] { return server.server().open_exchanges() == 0; }));
  EXPECT_EQ(server.gone(), 0);
}

TEST(HttpServerTest, StopsTwiceAndHandlesOutliveIt) {
  auto server = std::make_unique<TestServer>();
  TestClient client = server->connect();
  client.send(post("/hold", "{}"));
  const auto exchange = server->wait_for_held();
  exchange->begin(200, "text/event-stream");
  server->server().stop();
  EXPECT_EQ(server->gone(), 1);
  server->server().stop();
  server.reset();
  EXPECT_TRUE(exchange->gone());
  exchange->write("to nobody");
  bool told = false;
  exchange->on_gone([&] { told = true; });
  EXPECT_TRUE(told);
  exchange->end();
}

// Many servers, each stopped a little later around the time when their timers first end (a quarter of a
// second).
TEST(HttpServerTest, StopsWhileItsTimerEnds) {
  constexpr int kServers = 64;
  std::vector<std::unique_ptr<TestServer>> servers;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < kServers; ++i) servers.push_back(std::make_unique<TestServer>());
  std::vector<std::thread> stoppers;
  for (int i = 0; i < kServers; ++i) {
    stoppers.emplace_back([&server = *servers[size_t(i)], until = begun + 245ms + i * 200us] {
      std::this_thread::sleep_until(until);
      server.server().stop();
    });
  }
  for (std::thread& stopper : stoppers) stopper.join();
}

TEST(HttpServerTest, LogsOneJsonLineForEachAnswer) {
  HttpOptions options;
  options.access_log = true;
  testing::internal::CaptureStderr();
  {
    TestServer server(options);
    server.ask(
        "GET /hello?secret=1 HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: one\r\nAuthorization: Bearer "
        "hush\r\n\r\n");
    server.ask(post("/echo", "{\"prompt\":\"secret\"}"));
    server.ask("GET /no%0a%22%ff HTTP/1.1\r\nHost: localhost\r\n\r\n");
    server.ask("nonsense\r\n");
    TestClient client = server.connect();
    client.send(post("/hold", "{}"));
    server.wait_for_held();
    client.reset();
    wait_for([&] { return server.gone() == 1; });
  }
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 5) << log;
  EXPECT_EQ(log.find("secret"), log.npos);
  EXPECT_EQ(log.find("hush"), log.npos);
  EXPECT_NE(log.find("\"id\":\"one\",\"method\":\"GET\",\"path\":\"/hello\",\"status\":200,\"bytes\":5,"),
            log.npos)
      << log;
  EXPECT_NE(log.find("\"path\":\"/no\\\\x0a\\\"\\\\xff\",\"status\":404"), log.npos) << log;
  EXPECT_NE(log.find("\"status\":499"), log.npos);
}

TEST(HttpServerTest, SaysWhatItCannotBind) {
  const TestServer server;
  HttpOptions options;
  options.port = server.port();
  try {
    const HttpServer second(options, {});
    ADD_FAILURE() << "bound twice";
  } catch (const Error& error) {
    EXPECT_NE(std::string_view(error.what()).find(std::to_string(server.port())), std::string_view::npos);
  }
  options.port = 0;
  options.host = "nowhere.example";
  EXPECT_THROW(HttpServer(options, {}), Error);
  options.host = "127.0.0.1";
  options.tls_certificate = "/nowhere/cert.pem";
  EXPECT_THROW(HttpServer(options, {}), Error);
  options.tls_key = "/nowhere/key.pem";
  EXPECT_THROW(HttpServer(options, {}), Error);
}

}  // namespace
}  // namespace chorus
