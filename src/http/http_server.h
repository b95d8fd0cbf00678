#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace chorus {

// Who may call a route.
enum class Access : uint8_t {
  kPublic,  // everybody: /health only
  kUser,    // who has any of the keys, where there are keys
  kAdmin    // who has the admin key, where there is one; else as kUser
};

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

// A request that has been read whole and let in: its Host, Origin, key, sizes and form have been checked.
struct HttpRequest {
  std::string method;
  std::string path;   // percent-decoded; "/" at the front
  std::string query;  // behind the '?', as sent
  HttpHeaders headers;
  std::string body;
  std::string id;  // of X-Request-Id where that is 1 to 128 printable characters, else made here
  std::string
      key;  // which API key it came with: an opaque name that is the same for the same key; empty: none
  // Value of a header, case-insensitive; empty: not there.
  std::string_view header(std::string_view name) const;
};

// The way back to one client. Every method may be called on any thread and returns at once; after the client
// has gone they do nothing. Dropping the last handle without an answer sends a 500.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;
  virtual const HttpRequest& request() const = 0;

  // The whole answer; once.
  virtual void answer(int status, std::string_view content_type, std::string body,
                      HttpHeaders headers = {}) = 0;

  // A body in pieces (chunked), for server-sent events. What the client does not read is kept: a piece that
  // comes when more than HttpLimits::unread_bytes wait drops the client.
  virtual void begin(int status, std::string_view content_type, HttpHeaders headers = {}) = 0;
  virtual void write(std::string piece) = 0;
  virtual void end() = 0;

  // `gone` is called once, on a thread of the server, when the client disconnects or is dropped before the
  // answer is complete; at once, on this thread, if that has happened already. A client that closes only its
  // sending side counts as gone. Replaces an earlier one; empty: none. It must not hold the exchange.
  virtual void on_gone(std::function<void()> gone) = 0;
  virtual bool gone() const = 0;
};

using HttpHandler = std::function<void(std::shared_ptr<HttpExchange> exchange)>;

struct HttpRoute {
  std::string method;  // "GET", "POST", "DELETE"; HEAD is answered where GET is
  std::string path;    // exact; with "/*" at the end: everything below
  Access access = Access::kUser;
  HttpHandler handler;                            // called on an I/O thread; must not compute for long
  std::string content_type = "application/json";  // what a body must be; another is refused with 415
  bool body_optional = false;                     // goes without one, and then without Content-Type too
  size_t body_bytes = 0;                          // of a request's body; 0: HttpLimits::body_bytes
};

struct HttpLimits {
  size_t body_bytes = size_t{8} << 20;
  size_t all_body_bytes = size_t{256} << 20;  // of all requests at once; beyond it: 503
  size_t header_bytes = 16 << 10;
  int headers = 100;
  size_t target_bytes = 8 << 10;
  size_t unread_bytes = 256 << 10;  // written for one client and not taken by it
  int connections = 4096;
  std::chrono::seconds header_time{10}, body_time{30}, idle_time{60}, stalled_reader_time{30};
};

struct HttpOptions {
  std::string host = "127.0.0.1";  // an address, or "localhost"
  uint16_t port = 8080;            // 0: any free one
  int threads = 2;
  // Beside localhost, 127.0.0.1, [::1] and `host` itself, what Host may say: "name" with any port or none,
  // "name:port" with that one, "*" whatever is not empty (for those behind a proxy that checks). Else: 421.
  std::vector<std::string> allowed_hosts;
  // Answered with CORS headers. Beside them only a page of this server itself (its Origin is the Host) is let
  // in; any other Origin: 403.
  std::vector<std::string> allowed_origins;
  // Files with one key a line ('#' comments); only SHA-256 digests stay in memory, and are compared in
  // constant time. Empty: no keys asked for.
  std::string api_key_file, admin_key_file;
  std::string tls_certificate, tls_key;  // PEM files; both or none
  bool insecure = false;                 // a host other than loopback without keys
  bool access_log = false;  // a JSON line for each answer on stderr: never bodies, queries or keys
  HttpLimits limits;
};

// HTTP/1.1 on epoll (Boost.Asio): connections, limits, deadlines, keys, routing; it knows nothing
// of what is served. Errors are OpenAI's: {"error":{"message","type","param","code"}}.
class HttpServer {
 public:
  // Binds and reads the key and TLS files. `starting`: until set_routes() a request for any other path is
  // answered with a 503 and not a 404. Error: what cannot be read or bound, named; a host other than loopback
  // without keys and without `insecure`.
  HttpServer(HttpOptions options, std::vector<HttpRoute> routes, bool starting = false);
  ~HttpServer();  // stop()

  // In place of those there are, for requests that are read from now on.
  void set_routes(std::vector<HttpRoute> routes);

  void start();           // begins to accept, on threads of its own
  uint16_t port() const;  // that was bound
  // Takes no more requests: each is answered with a 503 and `connection: close`, but for those to
  // `keep_answering` paths (the health checks), for which connections are still accepted. Closes the idle
  // ones.
  void drain(std::vector<std::string> keep_answering);
  int open_exchanges() const;  // begun and not answered whole
  void stop();                 // closes what is left and joins the threads; not from a handler

  // While one lives, what is written to answers, by any thread, waits; its end sends it all with one wake-up
  // of each I/O thread, where each answer would cost one. For a moment: clients wait.
  class WriteBatch {
   public:
    explicit WriteBatch(HttpServer& server);
    ~WriteBatch();
    WriteBatch(const WriteBatch&) = delete;
    WriteBatch& operator=(const WriteBatch&) = delete;

   private:
    HttpServer& server_;
  };

  struct Stats {
    uint64_t connections = 0, requests = 0, refused = 0;
    int open_connections = 0;
  };
  Stats stats() const;  // lock-free

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace chorus
