#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <memory>
#include <utility>

namespace chorus {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

// A client's socket, with or without TLS on it. One read and one write may be under way at a time.
class Stream {
 public:
  // `tls` null: plain. It must outlive this.
  Stream(tcp::socket socket, asio::ssl::context* tls) : socket_(std::move(socket)) {
    if (tls != nullptr) tls_ = std::make_unique<asio::ssl::stream<tcp::socket&>>(socket_, *tls);
  }

  tcp::socket& socket() { return socket_; }
  bool encrypted() const { return tls_ != nullptr; }

  // Handler: void(error_code).
  template <typename Handler>
  void async_handshake(Handler&& handler) {
    tls_->async_handshake(asio::ssl::stream_base::server, std::forward<Handler>(handler));
  }
  // Says to an encrypted client that no more comes.
  template <typename Handler>
  void async_goodbye(Handler&& handler) {
    tls_->async_shutdown(std::forward<Handler>(handler));
  }
  // Handler: void(error_code, size_t).
  template <typename Handler>
  void async_read_some(asio::mutable_buffer buffer, Handler&& handler) {
    if (tls_) return tls_->async_read_some(buffer, std::forward<Handler>(handler));
    socket_.async_read_some(buffer, std::forward<Handler>(handler));
  }
  template <typename Handler>
  void async_write_some(asio::const_buffer buffer, Handler&& handler) {
    if (tls_) return tls_->async_write_some(buffer, std::forward<Handler>(handler));
    socket_.async_write_some(buffer, std::forward<Handler>(handler));
  }

 private:
  tcp::socket socket_;
  std::unique_ptr<asio::ssl::stream<tcp::socket&>> tls_;
};

}  // namespace chorus
