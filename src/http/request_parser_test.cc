#include "http/request_parser.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace chorus {
namespace {

constexpr std::string_view kHost = "Host: localhost\r\n";

// The state behind `bytes` that are given in pieces of `piece` bytes, with read_body() in between.
RequestParser parse(std::string_view bytes, const HttpLimits& limits, size_t piece) {
  RequestParser parser(limits);
  size_t left = 0;  // of the piece at hand
  while (!bytes.empty() && parser.state() < RequestParser::State::kDone) {
    if (left == 0) left = std::min(piece, bytes.size());
    const size_t taken = parser.feed(bytes.substr(0, left));
    bytes.remove_prefix(taken);
    left -= taken;
    if (parser.state() == RequestParser::State::kHeadDone) parser.read_body();
  }
  return parser;
}

struct Refused {
  const char* name;
  std::string bytes;
  int status;
};

std::string get(std::string_view headers) {
  return fmt::format("GET / HTTP/1.1\r\n{}{}\r\n", kHost, headers);
}
std::string chunked(std::string_view body) {
  return fmt::format("POST / HTTP/1.1\r\n{}Transfer-Encoding: chunked\r\n\r\n{}", kHost, body);
}
std::string repeated(std::string_view text, size_t count) {
  std::string all;
  for (size_t i = 0; i < count; ++i) all += text;
  return all;
}

std::vector<Refused> refused() {
  const std::string zero("\0", 1);
  return {
      {"negative length", get("Content-Length: -1\r\n"), 400},
      {"plus length", get("Content-Length: +5\r\n"), 400},
      {"list of lengths", get("Content-Length: 5,5\r\n"), 400},
      {"two equal lengths", get("Content-Length: 5\r\nContent-Length: 5\r\n"), 400},
      {"length 2^64", get("Content-Length: 18446744073709551616\r\n"), 400},
      {"empty length", get("Content-Length:\r\n"), 400},
      {"hex length", get("Content-Length: 0x5\r\n"), 400},
      {"length beside chunks", get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"chunks beside length", get("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
      {"other coding", get("Transfer-Encoding: gzip, chunked\r\n"), 400},
      {"identity", get("Transfer-Encoding: identity\r\n"), 400},
      {"two codings", get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400},
      {"chunks in 1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
      {"length over the limit", get("Content-Length: 2001\r\n"), 413},
      {"a gigabyte", get("Content-Length: 1073741824\r\n"), 413},
      {"chunk size -2", chunked("-2\r\n"), 400},
      {"chunk size 0x5", chunked("0x5\r\nhello\r\n"), 400},
      {"chunk size empty", chunked("\r\n"), 400},
      {"chunk size overflows", chunked("10000000000000005\r\n"), 400},
      {"chunk over the limit", chunked("7d1\r\n"), 413},
      {"chunks over the limit", chunked("7d0\r\n" + std::string(2000, 'x') + "\r\n1\r\n"), 413},
      {"chunk longer than said", chunked("2\r\nabc\r\n"), 400},
      {"chunk line without end", chunked("5;" + std::string(300, 'x')), 400},
      {"chunk with bare LF", chunked("5\nhello\r\n"), 400},
      {"endless trailers", chunked("0\r\n" + repeated("a: b\r\n", 11)), 431},
      {"large trailer", chunked("0\r\na: " + std::string(2000, 'x')), 431},
      {"bad trailer", chunked("0\r\na b\r\n\r\n"), 400},
      {"long target", "GET /" + std::string(600, 'a') + " HTTP/1.1\r\n", 414},
      {"target without end", "GET /" + std::string(600, 'a'), 414},
      {"large header", get("a: " + std::string(2000, 'x')), 431},
      {"many headers", get(repeated("a: b\r\n", 11)), 431},
      {"no newline ever", "GET / HTTP/1.1\r\n" + std::string(70000, 'x'), 431},
      {"bare LF in the request line", "GET / HTTP/1.1\nHost: localhost\r\n\r\n", 400},
      {"bare LF in a header", "GET / HTTP/1.1\r\nHost: localhost\n\n", 400},
      {"bare CR", get("a: b\rc: d\r\n"), 400},
      {"NUL in a value", get("a: b" + zero + "\r\n"), 400},
      {"NUL in a name", get("a" + zero + ": b\r\n"), 400},
      {"NUL in the target", "GET /" + zero + " HTTP/1.1\r\n\r\n", 400},
      {"folded line", get("a: b\r\n c\r\n"), 400},
      {"space before the colon", get("a : b\r\n"), 400},
      {"no colon", get("abc\r\n"), 400},
      {"empty name", get(": b\r\n"), 400},
      {"two hosts", get("Host: evil\r\n"), 400},
      {"two keys", get("Authorization: a\r\nauthorization: b\r\n"), 400},
      {"HTTP/0.9", "GET /\r\n", 400},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
      {"HTTP/1.2", "GET / HTTP/1.2\r\n\r\n", 505},
      {"lower-case version", "GET / http/1.1\r\n\r\n", 400},
      {"two blank lines", "\r\n\r\nGET / HTTP/1.1\r\n", 400},
      {"TLS hello", "\x16\x03\x01\x02\r\n\r\n", 400},
      {"two spaces", "GET  / HTTP/1.1\r\n", 400},
      {"absolute target", "GET http://evil/ HTTP/1.1\r\n", 400},
      {"asterisk", "OPTIONS * HTTP/1.1\r\n", 400},
      {"bad percent", "GET /%2 HTTP/1.1\r\n", 400},
      {"percent 0", "GET /a%00 HTTP/1.1\r\n", 400},
      {"dots", "GET /a/../b HTTP/1.1\r\n", 400},
      {"encoded dots", "GET /a/%2e%2E HTTP/1.1\r\n", 400},
      {"long method", std::string(33, 'A') + " / HTTP/1.1\r\n", 400},
      {"other expectation", get("Expect: miracles\r\n"), 417},
  };
}

HttpLimits small_limits() {
  HttpLimits limits;
  limits.body_bytes = 2000;
  limits.header_bytes = 1000;
  limits.headers = 10;
  limits.target_bytes = 500;
  return limits;
}

TEST(RequestParserTest, RefusesTheSameWhereverItIsCut) {
  const HttpLimits limits = small_limits();
  for (const Refused& refused : refused()) {
    for (const size_t piece : {size_t{1}, size_t{2}, size_t{7}, refused.bytes.size()}) {
      const RequestParser parser = parse(refused.bytes, limits, piece);
      ASSERT_EQ(parser.state(), RequestParser::State::kFailed) << refused.name << " in " << piece;
      EXPECT_EQ(parser.problem().status, refused.status) << refused.name << " in " << piece;
    }
  }
}

TEST(RequestParserTest, ReadsTheSameWhereverItIsCut) {
  const HttpLimits limits = small_limits();
  const std::string bytes =
      "\r\nPOST /a%20b/c?d=%20 HTTP/1.1\r\nHost: localhost\r\nX-Long:\t  some value \t\r\nx-empty:\r\n"
      "Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n00a;x=\"y\" \r\n, chunked!\r\n0\r\nTrailer: "
      "gone\r\n\r\n";
  for (size_t piece = 1; piece <= bytes.size(); ++piece) {
    const RequestParser parser = parse(bytes, limits, piece);
    ASSERT_EQ(parser.state(), RequestParser::State::kDone) << piece;
    const HttpRequest& request = parser.request();
    EXPECT_EQ(request.method, "POST");
    EXPECT_EQ(request.path, "/a b/c");
    EXPECT_EQ(request.query, "d=%20");
    EXPECT_EQ(request.header("x-LONG"), "some value");
    EXPECT_EQ(request.headers.size(), 4u);  // trailers are no headers
    EXPECT_EQ(request.body, "hello, chunked!");
  }
}

TEST(RequestParserTest, LeavesTheNextRequestAlone) {
  const HttpLimits limits;
  const std::string one = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
  RequestParser parser(limits);
  const std::string two = one + one;
  size_t taken = parser.feed(two);
  ASSERT_EQ(parser.state(), RequestParser::State::kHeadDone);
  parser.read_body();
  taken += parser.feed(std::string_view(two).substr(taken));
  EXPECT_EQ(parser.state(), RequestParser::State::kDone);
  EXPECT_EQ(taken, one.size());
  EXPECT_EQ(parser.feed(std::string_view(two).substr(taken)), 0u);
  parser.reset();
  EXPECT_EQ(parser.state(), RequestParser::State::kNothing);
  EXPECT_GT(parser.feed(std::string_view(two).substr(taken)), 0u);
}

TEST(RequestParserTest, KnowsWhetherTheConnectionGoesOn) {
  const HttpLimits limits;
  const std::pair<std::string, bool> cases[] = {
      {"GET / HTTP/1.1\r\n\r\n", true},
      {"GET / HTTP/1.1\r\nConnection: upgrade, Close\r\n\r\n", false},
      {"GET / HTTP/1.0\r\n\r\n", false},
      {"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", true},
  };
  for (const auto& [bytes, keep] : cases) EXPECT_EQ(parse(bytes, limits, 1000).keep_alive(), keep) << bytes;
}

}  // namespace
}  // namespace chorus
