#include "http/http_client.h"

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/beast/ssl.hpp>

#include "base/error.h"
#include "http/http_text.h"

namespace chorus {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using asio::ip::tcp;
using Request = http::request<http::string_body>;

// Runs what was begun to its end. Deadlines are the stream's.
void finish(asio::io_context& context, const HttpPatience& patience, const boost::system::error_code& error) {
  context.restart();
  context.run();
  // What was under way may have gone on to another address, or be done.
  if (patience.stop.stop_requested()) throw boost::system::system_error(asio::error::operation_aborted);
  if (error) throw boost::system::system_error(error);
}

// One request and its answer on a stream that is connected.
template <typename Stream>
HttpAnswer exchange(asio::io_context& context, Stream& stream, const Request& request,
                    const HttpPatience& patience) {
  boost::system::error_code error;
  const auto keep = [&error](const boost::system::error_code& code, size_t) { error = code; };
  beast::get_lowest_layer(stream).expires_after(patience.time);
  http::async_write(stream, request, keep);
  finish(context, patience, error);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(patience.answer_bytes);
  beast::get_lowest_layer(stream).expires_after(patience.time);
  http::async_read(stream, buffer, parser, keep);
  finish(context, patience, error);
  return {static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
}

// While it lives, a stop ends what the stream waits for, now or next.
template <typename Stream>
auto stopping(asio::io_context& context, Stream& stream, const HttpPatience& patience) {
  return std::stop_callback(patience.stop, [&context, &stream] {
    asio::post(context, [&stream] { beast::get_lowest_layer(stream).close(); });
  });
}

std::string base64(std::string_view bytes) {
  std::string text(4 * ((bytes.size() + 2) / 3), '\0');
  EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                  reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  return text;
}

// Takes "USER:PASSWORD@" out of the URL.
std::string take_user(std::string& url) {
  const size_t begin = url.find("//"), end = url.find('@');
  if (begin == std::string::npos || end == std::string::npos || end > 1024) return {};
  std::string user = url.substr(begin + 2, end - begin - 2);
  url.erase(begin + 2, end - begin - 1);
  return user;
}

}  // namespace

HttpClient::HttpClient(std::string_view url, std::string_view key) : url_(url) {
  while (url_.ends_with('/')) url_.pop_back();
  const std::string user = take_user(url_);
  if (!user.empty())
    authorization_ = "Basic " + base64(user);
  else if (!key.empty())
    authorization_ = fmt::format("Bearer {}", key);
  std::string_view rest = url_;
  encrypted_ = rest.starts_with("https://");
  const bool known = encrypted_ || rest.starts_with("http://");
  rest.remove_prefix(known ? rest.find("//") + 2 : rest.size());
  const size_t bracket = rest.starts_with('[') ? std::min(rest.find(']'), rest.size()) : 0;
  const size_t colon = std::min(rest.find(':', bracket), rest.size());
  host_ = rest.substr(0, colon);
  port_ = colon < rest.size() ? std::string(rest.substr(colon + 1)) : encrypted_ ? "443" : "80";
  const bool plain = std::ranges::all_of(rest, [](char c) { return c > ' ' && c < '\x7f' && c != '/'; });
  const bool number = !port_.empty() && port_.size() < 6 &&
                      std::ranges::all_of(port_, [](char c) { return c >= '0' && c <= '9'; });
  if (host_.empty() || !plain || !number)
    fail("{}: must be a server's address as http://127.0.0.1:8080", printable(url_));
  if (std::ranges::any_of(authorization_, is_control))
    fail("the API key has characters that no key may have");
}

HttpAnswer HttpClient::ask(std::string_view method, const std::string& path, std::string_view content_type,
                           std::string body, const HttpPatience& patience) const {
  Request request;
  request.method_string({method.data(), method.size()});
  request.target(path);
  request.set(http::field::host, url_.substr(url_.find("//") + 2));
  request.set(http::field::connection, "close");
  if (!authorization_.empty()) request.set(http::field::authorization, authorization_);
  if (!content_type.empty())
    request.set(http::field::content_type, {content_type.data(), content_type.size()});
  request.body() = std::move(body);
  request.prepare_payload();
  try {
    asio::io_context context(1);
    const bool bracketed = host_.starts_with('[');
    const std::string host = bracketed ? host_.substr(1, host_.size() - 2) : host_;
    const auto places = tcp::resolver(context).resolve(host, port_);
    boost::system::error_code error;
    const auto connect = [&](beast::tcp_stream& stream) {
      stream.expires_after(std::min(patience.time, patience.connect_time));
      stream.async_connect(places, [&error](const auto& code, const auto&) { error = code; });
      finish(context, patience, error);
    };
    if (!encrypted_) {
      beast::tcp_stream stream(context);
      const auto stop = stopping(context, stream, patience);
      connect(stream);
      return exchange(context, stream, request, patience);
    }
    asio::ssl::context tls(asio::ssl::context::tls_client);
    tls.set_default_verify_paths();
    tls.set_verify_mode(asio::ssl::verify_peer);
    beast::ssl_stream<beast::tcp_stream> stream(context, tls);
    const auto stop = stopping(context, stream, patience);
    stream.set_verify_callback(asio::ssl::host_name_verification(host));
    SSL_set_tlsext_host_name(stream.native_handle(), host.c_str());
    connect(beast::get_lowest_layer(stream));
    stream.async_handshake(asio::ssl::stream_base::client, [&error](const auto& code) { error = code; });
    finish(context, patience, error);
    return exchange(context, stream, request, patience);
  } catch (const boost::system::system_error& error) {
    if (error.code() == beast::error::timeout)
      throw HttpTimeout(fmt::format("{}: no answer in time", printable(url_, 200)));
    fail("{}: {}", printable(url_, 200), error.code().message());
  }
}

}  // namespace chorus
