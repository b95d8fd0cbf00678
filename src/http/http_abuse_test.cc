// What no client should do, over real sockets; after each the server must answer as if nothing had been.

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

#include "http/test_server.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;

constexpr const char* kHostLine = "Host: localhost\r\n";

// Nothing is left open and a GET is answered at once.
void expect_healthy(TestServer& server) {
  EXPECT_TRUE(wait_for([&] { return server.server().open_exchanges() == 0; }));
  const auto begun = std::chrono::steady_clock::now();
  TestClient client = server.connect();
  client.send("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(client.receive_through("hello").ends_with("hello"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 1s);  // generous: sanitizers, a busy machine
}

HttpOptions quick() {
  HttpOptions options;
  options.limits.header_time = options.limits.body_time = options.limits.idle_time = 1s;
  options.limits.stalled_reader_time = 1s;
  return options;
}

TEST(HttpAbuseTest, MalformedRequestsAreAnsweredAndClosed) {
  TestServer server;
  const std::pair<std::string, int> cases[] = {
      {"GET /\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"GET /hello HTTP/1.1\nHost: localhost\n\n", 400},
      {fmt::format("POST /echo HTTP/1.1\r\n{}Content-Length: +5\r\n\r\nhello", kHostLine), 400},
      {fmt::format(
           "POST /echo HTTP/1.1\r\n{}Content-Length: 1073741824\r\nContent-Type: application/json\r\n\r\nx",
           kHostLine),
       413},
      {fmt::format(
           "POST /echo HTTP/1.1\r\n{}Transfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n"
           "-2\r\n",
           kHostLine),
       400},
      {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\n\r\n", 414},
      {fmt::format("GET /hello HTTP/1.1\r\n{}a: {}\r\n\r\n", kHostLine, std::string(65536, 'a')), 431},
      {std::string(100000, 'x'), 414},
      {"GET /hello HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", 421},
      {"GET /hello HTTP/1.1\r\nConnection: close\r\n\r\n", 421},
  };
  for (const auto& [bytes, status] : cases) {
    TestClient client = server.connect();
    client.send(bytes);
    const std::string answer = client.receive_all();
    EXPECT_EQ(status_of(answer), status) << bytes.substr(0, 60);
    EXPECT_TRUE(client.closed());
    EXPECT_NE(answer.find("\r\nconnection: close\r\n"), answer.npos);
    EXPECT_NE(answer.find("{\"error\":{\"message\":\""), answer.npos);
    EXPECT_NE(answer.find("\r\nx-request-id: "), answer.npos);
    expect_healthy(server);
  }
}

// The answer must reach a client that goes on sending for a while.
TEST(HttpAbuseTest, AnswersWhoSendsTooMuch) {
  TestServer server;
  TestClient client = server.connect();
  client.send(fmt::format(
      "POST /echo HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 34603008\r\n\r\n",
      kHostLine));
  const std::string piece(1 << 20, 'x');
  for (int i = 0; i < 33; ++i) client.send(piece);
  EXPECT_EQ(status_of(client.receive_all()), 413);
  expect_healthy(server);
}

TEST(HttpAbuseTest, AThousandPipelinedRequestsAreAnsweredInOrder) {
  TestServer server;
  TestClient client = server.connect();
  std::string all;
  for (int i = 0; i < 1000; ++i) all += post("/echo", fmt::format("<{}>", i));
  std::thread sender([&] { client.send(all); });
  const std::string answers = client.receive_through("<999>");
  sender.join();
  size_t at = 0;
  for (int i = 0; i < 1000; ++i) {
    at = answers.find(fmt::format("\r\n\r\n<{}>", i), at);
    ASSERT_NE(at, answers.npos) << i;
  }
  expect_healthy(server);
}

TEST(HttpAbuseTest, ReadsNoFurtherThanTheRequestAtHand) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}") + post("/echo", "second"));
  const auto exchange = server.wait_for_held();
  EXPECT_EQ(client.receive_all(50ms), "");
  exchange->answer(200, "text/plain", "first");
  const std::string answers = client.receive_through("second");
  EXPECT_LT(answers.find("first"), answers.find("second"));
  EXPECT_NE(answers.find("second"), answers.npos);
}

// More than is read ahead lies before the end of input, so that no read can see it.
TEST(HttpAbuseTest, NoticesTheEndBehindUnreadRequests) {
  TestServer server;
  TestClient client = server.connect();
  client.send(post("/hold", "{}") + post("/echo", std::string(100000, 'x')));
  server.wait_for_held();
  client.end_output();
  EXPECT_TRUE(wait_for([&] { return server.gone() == 1; }));
  expect_healthy(server);
}

TEST(HttpAbuseTest, SlowRequestsEnd) {
  TestServer server(quick());
  const std::string head =
      fmt::format("POST /echo HTTP/1.1\r\n{}Content-Type: application/json\r\n", kHostLine);
  const std::pair<std::string, int> cases[] = {
      {"G", 408},
      {"\r\n", 408},
      {head, 408},
      {head + "Content-Length: 10\r\n\r\n", 408},
      {head + "Transfer-Encoding: chunked\r\n\r\n50\r\nab", 408},
      {"", 0},  // idle: closed without a word
  };
  std::vector<std::thread> slow;
  for (const auto& [begin, status] : cases) {
    slow.emplace_back([&server, begin = begin, status = status] {
      TestClient client = server.connect();
      client.send(begin);
      const auto begun = std::chrono::steady_clock::now();
      std::string answer;
      for (int i = 0; i < 30 && answer.empty() && !client.closed(); ++i) {
        answer = client.receive_until([](const std::string& text) { return !text.empty(); }, 100ms);
        if (answer.empty() && !begin.empty() && begin.back() != '\n') client.send("x");  // drop by drop
      }
      answer += client.receive_all();
      EXPECT_EQ(status_of(answer), status) << begin;
      EXPECT_LT(std::chrono::steady_clock::now() - begun, 5s);
      EXPECT_TRUE(client.closed());
    });
  }
  for (std::thread& each : slow) each.join();
  expect_healthy(server);
}

TEST(HttpAbuseTest, AnAnsweredConnectionMayIdleOnlySoLong) {
  TestServer server(quick());
  TestClient client = server.connect();
  client.send(kGet);
  EXPECT_EQ(status_of(client.receive_all(5s)), 200);
  EXPECT_TRUE(client.closed());
  EXPECT_TRUE(wait_for([&] { return server.server().stats().open_connections == 0; }));
}

TEST(HttpAbuseTest, WhoNeverReadsIsDropped) {
  TestServer server;
  TestClient client(server.port(), 4096);
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/event-stream");
  const std::string piece(1000, 'x');
  int pieces = 0;
  while (!exchange->gone() && pieces < 10000) {
    exchange->write(piece);
    if (++pieces % 50 == 0) std::this_thread::sleep_for(1ms);
  }
  EXPECT_LT(pieces, 2000);  // what the kernel holds and what HttpLimits lets wait
  EXPECT_TRUE(wait_for([&] { return server.gone() == 1; }));
  expect_healthy(server);
}

TEST(HttpAbuseTest, AStalledReaderIsDropped) {
  TestServer server(quick());
  TestClient client(server.port(), 4096);
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/plain");
  exchange->write(std::string(4 << 20, 'x'));  // one piece may exceed the bound
  EXPECT_FALSE(exchange->gone());
  EXPECT_TRUE(wait_for([&] { return server.gone() == 1; }));
  expect_healthy(server);
}

TEST(HttpAbuseTest, ASlowReaderGetsAll) {
  TestServer server(quick());
  TestClient client(server.port(), 4096);
  client.send(post("/hold", "{}"));
  const std::string body(1 << 20, 'y');
  server.wait_for_held()->answer(200, "text/plain", body);
  std::this_thread::sleep_for(300ms);
  const std::string answer =
      client.receive_until([&](const std::string& text) { return text.size() > body.size(); });
  EXPECT_EQ(answer.substr(answer.find("\r\n\r\n") + 4), body);
}

TEST(HttpAbuseTest, ConnectionsBeyondTheBoundAreRefused) {
  HttpOptions options;
  options.limits.connections = 4;
  TestServer server(options);
  {
    std::vector<TestClient> clients;
    for (int i = 0; i < 4; ++i) clients.push_back(server.connect());
    for (TestClient& client : clients) {
      client.send(kGet);
      EXPECT_EQ(status_of(client.receive_through("hello")), 200);
    }
    TestClient fifth = server.connect();
    const std::string answer = fifth.receive_all();
    EXPECT_EQ(status_of(answer), 503);
    EXPECT_NE(answer.find("retry-after"), answer.npos);
    clients[0].send(kGet);  // the others do not notice
    EXPECT_EQ(status_of(clients[0].receive_through("hello")), 200);
  }
  EXPECT_TRUE(wait_for([&] { return server.server().stats().open_connections == 0; }));
  expect_healthy(server);
}

TEST(HttpAbuseTest, BodiesTogetherAreBounded) {
  HttpOptions options;
  options.limits.all_body_bytes = 100000;
  TestServer server(options);
  const std::string head = fmt::format(
      "POST /echo HTTP/1.1\r\n{}Content-Type: application/json\r\nContent-Length: 90000\r\n\r\n", kHostLine);
  TestClient first = server.connect(), second = server.connect();
  first.send(head + std::string(60000, 'x'));
  std::this_thread::sleep_for(50ms);
  second.send(head + std::string(60000, 'x'));
  EXPECT_EQ(status_of(second.receive_all()), 503);
  first.send(std::string(30000, 'x'));
  EXPECT_EQ(status_of(first.receive_through("xxx")), 200);
  expect_healthy(server);
}

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return double(time.tv_sec) + double(time.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST(HttpAbuseTest, RunningOutOfDescriptorsDoesNotSpin) {
  TestServer server;
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const int used = ::dup(0);
  ::close(used);
  TestClient client = server.connect();
  client.send(kGet);
  EXPECT_EQ(status_of(client.receive_through("hello")), 200);
  rlimit tight = before;
  tight.rlim_cur = static_cast<rlim_t>(used) + 3;  // the client, its other end, and the one below
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &tight), 0);
  {
    TestClient waiting = server.connect();
    waiting.send(kGet);
    const double cpu = cpu_seconds();
    EXPECT_EQ(waiting.receive_all(500ms), "");
    EXPECT_LT(cpu_seconds() - cpu, 0.2);
    client.send(kGet);  // who is in is served
    EXPECT_EQ(status_of(client.receive_through("hello")), 200);
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_EQ(status_of(waiting.receive_through("hello")), 200);
  }
  expect_healthy(server);
}

TEST(HttpAbuseTest, ManyDisconnectsAtAnyMoment) {
  TestServer server;
  const std::string request = post("/hold", std::string(200, 'x'));
  for (int i = 0; i < 300; ++i) {
    TestClient client = server.connect();
    client.send(std::string_view(request).substr(0, static_cast<size_t>(i) * request.size() / 250));
    if (i % 3 == 0) client.reset();
    if (i % 3 == 1) client.end_output();
  }
  EXPECT_TRUE(wait_for([&] { return server.server().stats().open_connections == 0; }));
  server.let_go();
  expect_healthy(server);
}

// Two threads write to all streams while every other client leaves; the rest must get everything.
TEST(HttpAbuseTest, StreamsDoNotNoticeOthersLeaving) {
  constexpr int kStreams = 48, kEvents = 100;
  TestServer server;
  std::vector<TestClient> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(server.connect());
    clients.back().send(post("/hold", "{}"));
  }
  ASSERT_TRUE(wait_for([&] { return server.all_held().size() == kStreams; }));
  const auto exchanges = server.all_held();
  const auto write_all = [&](size_t first) {
    for (size_t i = first; i < exchanges.size(); i += 2) exchanges[i]->begin(200, "text/event-stream");
    for (int event = 0; event < kEvents; ++event) {
      for (size_t i = first; i < exchanges.size(); i += 2)
        exchanges[i]->write(fmt::format("data: {}\n\n", event));
      if (event % 10 == 0) std::this_thread::sleep_for(1ms);
    }
    for (size_t i = first; i < exchanges.size(); i += 2) exchanges[i]->end();
  };
  std::thread even(write_all, 0), odd(write_all, 1);
  for (size_t i = 0; i < kStreams; i += 2) {
    if (i % 4 == 0) clients[i].reset();
    if (i % 4 == 2) clients[i].close();
    std::this_thread::sleep_for(100us);
  }
  for (size_t i = 1; i < kStreams; i += 2) {
    const std::string all = clients[i].receive_through("\r\n0\r\n\r\n");
    size_t at = 0;
    for (int event = 0; event < kEvents; ++event) {
      at = all.find(fmt::format("data: {}\n\n", event), at);
      ASSERT_NE(at, all.npos) << event;
    }
  }
  even.join();
  odd.join();
  EXPECT_LE(server.gone(), kStreams / 2);
  server.let_go();
  expect_healthy(server);
}

}  // namespace
}  // namespace chorus
