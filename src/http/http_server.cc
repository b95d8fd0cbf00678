#include "http/http_server.h"

#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/post.hpp>
#include <mutex>

#include "base/error.h"
#include "http/connection.h"
#include "http/server_state.h"

namespace chorus {

namespace {

constexpr int kRefusedAtOnce = 64;  // connections beyond the bound that are told so; more are just closed
constexpr int kSendBuffer = 128 << 10;
constexpr int kProbeAfterSeconds = 20;
constexpr int kBacklog = 1024;
constexpr std::chrono::milliseconds kAcceptRetry{100};

std::unique_ptr<asio::ssl::context> make_tls(const HttpOptions& options) {
  if (options.tls_certificate.empty() && options.tls_key.empty()) return nullptr;
  if (options.tls_certificate.empty() || options.tls_key.empty())
    fail("TLS needs both a certificate and a key");
  auto tls = std::make_unique<asio::ssl::context>(asio::ssl::context::tls_server);
  tls->set_options(asio::ssl::context::default_workarounds | asio::ssl::context::no_tlsv1 |
                   asio::ssl::context::no_tlsv1_1 | asio::ssl::context::no_compression);
  SSL_CTX_set_options(tls->native_handle(), SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  tls->set_password_callback([](size_t, auto) { return std::string(); });  // or OpenSSL asks the terminal
  error_code error;
  tls->use_certificate_chain_file(options.tls_certificate, error);
  if (error) fail("{}: no certificate chain in PEM form: {}", options.tls_certificate, error.message());
  tls->use_private_key_file(options.tls_key, asio::ssl::context::pem, error);
  if (error)
    fail("{}: no key in PEM form that fits {}: {}", options.tls_key, options.tls_certificate,
         error.message());
  return tls;
}

void set_option(tcp::socket& socket, int level, int option, int value) {
  ::setsockopt(socket.native_handle(), level, option, &value, sizeof value);
}

// A client whose machine is gone is noticed by the kernel's probes, also while nothing is sent to it.
void prepare(tcp::socket& socket) {
  set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
  set_option(socket, SOL_SOCKET, SO_SNDBUF, kSendBuffer);
  set_option(socket, SOL_SOCKET, SO_KEEPALIVE, 1);
  set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, kProbeAfterSeconds);
  set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, kProbeAfterSeconds / 2);
  set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, 3);
}

asio::ip::address address_of(const std::string& host) {
  if (host == "localhost") return asio::ip::address_v4::loopback();
  error_code error;
  const auto address = asio::ip::make_address(host, error);
  if (error) fail("host {}: give an IP address or localhost", printable(host));
  return address;
}

}  // namespace

struct HttpServer::Impl {
  Impl(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting);

  void bind(const HttpOptions& options);
  void accept();
  void on_accept(error_code error, tcp::socket socket, IoThread& io);
  void take(tcp::socket socket, IoThread& io);
  void start();
  void stop();

  ServerState state;
  std::unique_ptr<asio::ssl::context> tls;
  std::vector<std::unique_ptr<IoThread>> threads;
  tcp::acceptor acceptor;  // on the first thread
  asio::steady_timer accept_retry;
  uint16_t port = 0;
  size_t next_thread = 0;
  bool accept_failed = false;  // and has been logged
  std::mutex mutex;            // of start, drain and stop
  bool started = false;
};

namespace {

std::vector<std::unique_ptr<IoThread>> make_threads(int count, ServerState& state) {
  std::vector<std::unique_ptr<IoThread>> threads;
  for (int i = 0; i < std::max(count, 1); ++i) threads.push_back(std::make_unique<IoThread>(state));
  return threads;
}

void run(IoThread& io) {
  while (true) {
    try {
      io.context.run();
      return;
    } catch (const std::exception& error) {  // no memory: that connection waits for its deadline
      io.state.log.line(fmt::format("http: {}", printable(error.what(), 400)));
    }
  }
}

}  // namespace

HttpServer::Impl::Impl(const HttpOptions& options, std::vector<HttpRoute> routes, bool starting)
    : state(options, std::move(routes), starting),
      tls(make_tls(options)),
      threads(make_threads(options.threads, state)),
      acceptor(threads.front()->context),
      accept_retry(threads.front()->context) {
  bind(options);
}

void HttpServer::Impl::bind(const HttpOptions& options) {
  const tcp::endpoint endpoint(address_of(options.host), options.port);
  error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kBacklog, error);
  if (error) fail("cannot listen on {} port {}: {}", options.host, options.port, error.message());
  port = acceptor.local_endpoint().port();
}

void HttpServer::Impl::accept() {
  IoThread& io = *threads[next_thread];
  next_thread = (next_thread + 1) % threads.size();
  acceptor.async_accept(io.context, [this, &io](error_code error, tcp::socket socket) {
    on_accept(error, std::move(socket), io);
  });
}

// Out of file descriptors or memory: the client waits in the backlog until there are some again.
void HttpServer::Impl::on_accept(error_code error, tcp::socket socket, IoThread& io) {
  if (!acceptor.is_open()) return;
  const bool gone_already = error == asio::error::connection_aborted;
  if (error && !gone_already) {
    if (!accept_failed) state.log.line(fmt::format("http: accept: {}; trying again", error.message()));
    accept_failed = true;
    accept_retry.expires_after(kAcceptRetry);
    accept_retry.async_wait([this](error_code cancelled) {
      if (!cancelled && acceptor.is_open()) accept();
    });
    return;
  }
  accept();
  if (error) return;
  accept_failed = false;
  take(std::move(socket), io);
}

void HttpServer::Impl::take(tcp::socket socket, IoThread& io) {
  const int open = ++state.open_connections;
  ++state.connections;
  const bool refused = open > state.limits.connections;
  if (open > state.limits.connections + kRefusedAtOnce || (refused && tls)) {
    --state.open_connections;
    ++state.refused;
    return;
  }
  prepare(socket);
  asio::post(io.context, [&io, refused, tls = tls.get(), moved = std::move(socket)]() mutable {
    const auto connection = std::make_shared<Connection>(io, std::move(moved), tls);
    io.connections.emplace(connection.get(), connection);
    if (io.stopping) return connection->close();
    refused ? connection->refuse_for_load() : connection->start();
  });
}

void HttpServer::Impl::start() {
  const std::lock_guard lock(mutex);
  if (started) return;
  started = true;
  accept();
  for (const auto& io : threads) {
    io->sweep();
    io->thread = std::thread([io = io.get()] { run(*io); });
  }
}

void HttpServer::Impl::stop() {
  const std::lock_guard lock(mutex);
  if (!started) return;
  started = false;
  asio::post(threads.front()->context, [this] {
    error_code ignored;
    acceptor.close(ignored);
    accept_retry.cancel();
    for (const auto& io : threads) {
      asio::post(io->context, [io = io.get()] {
        io->stopping = true;
        io->sweep_timer.cancel();
        io->close_all();
      });
    }
  });
  for (const auto& io : threads) io->thread.join();
}

HttpServer::HttpServer(HttpOptions options, std::vector<HttpRoute> routes, bool starting)
    : impl_(std::make_unique<Impl>(options, std::move(routes), starting)) {}
HttpServer::~HttpServer() { stop(); }

void HttpServer::start() { impl_->start(); }
void HttpServer::set_routes(std::vector<HttpRoute> routes) {
  impl_->state.gate.set_routes(std::move(routes));
}

uint16_t HttpServer::port() const { return impl_->port; }
void HttpServer::stop() { impl_->stop(); }
int HttpServer::open_exchanges() const { return impl_->state.open_exchanges; }

void HttpServer::drain(std::vector<std::string> keep_answering) {
  const std::lock_guard lock(impl_->mutex);
  if (impl_->state.draining) return;
  impl_->state.keep_answering = std::move(keep_answering);
  impl_->state.draining = true;
  for (const auto& io : impl_->threads) asio::post(io->context, [io = io.get()] { io->close_idle(); });
}

HttpServer::WriteBatch::WriteBatch(HttpServer& server) : server_(server) {
  ++server_.impl_->state.write_batches;
}

HttpServer::WriteBatch::~WriteBatch() {
  if (--server_.impl_->state.write_batches > 0) return;
  for (const auto& io : server_.impl_->threads) io->post_flushes();
}

HttpServer::Stats HttpServer::stats() const {
  const ServerState& state = impl_->state;
  return {state.connections, state.requests, state.refused, state.open_connections};
}

}  // namespace chorus
