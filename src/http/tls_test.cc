// The same server behind TLS, with OpenSSL's own client side.

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>

#include "base/error.h"
#include "http/test_server.h"

namespace chorus {
namespace {

using namespace std::chrono_literals;

// A key and a certificate for it that nobody has signed but itself, in two files that are gone with this.
class Certificate {
 public:
  Certificate() {
    const auto base = std::filesystem::temp_directory_path() / fmt::format("chorus_tls_{}", ::getpid());
    certificate_path = base.string() + ".cert";
    key_path = base.string() + ".key";
    EVP_PKEY* key = EVP_EC_gen("P-256");
    X509* certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_sign(certificate, key, EVP_sha256());
    std::FILE* file = std::fopen(certificate_path.c_str(), "w");
    PEM_write_X509(file, certificate);
    std::fclose(file);
    file = std::fopen(key_path.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  ~Certificate() {
    std::filesystem::remove(certificate_path);
    std::filesystem::remove(key_path);
  }
  std::string certificate_path, key_path;
};

class TlsClient {
 public:
  explicit TlsClient(uint16_t port)
      : client_(port), context_(SSL_CTX_new(TLS_client_method())), ssl_(SSL_new(context_)) {
    SSL_set_fd(ssl_, client_.descriptor());
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  bool connected() const { return connected_; }
  void send(std::string_view bytes) { SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())); }
  // Until `end` has come or the server closes, which a client can tell from being cut off.
  std::string receive_through(std::string_view end) {
    std::string received;
    char buffer[4096];
    while (end.empty() || received.find(end) == received.npos) {
      const int got = SSL_read(ssl_, buffer, sizeof buffer);
      if (got <= 0) break;
      received.append(buffer, static_cast<size_t>(got));
    }
    return received;
  }
  bool closed_cleanly() const { return (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0; }
  TestClient& socket() { return client_; }

 private:
  TestClient client_;
  SSL_CTX* context_;
  SSL* ssl_;
  bool connected_ = false;
};

HttpOptions with(const Certificate& certificate) {
  HttpOptions options;
  options.tls_certificate = certificate.certificate_path;
  options.tls_key = certificate.key_path;
  options.limits.header_time = 1s;
  return options;
}

TEST(TlsTest, ServesRequestsAndStreams) {
  const Certificate certificate;
  TestServer server(with(certificate));
  TlsClient client(server.port());
  ASSERT_TRUE(client.connected());
  const std::string large(1 << 20, 'x');
  client.send(post("/echo", large));
  EXPECT_NE(client.receive_through(large).find("HTTP/1.1 200"), std::string::npos);
  client.send(post("/hold", "{}"));
  const auto exchange = server.wait_for_held();
  exchange->begin(200, "text/event-stream");
  exchange->write("data: 1\n\n");
  EXPECT_NE(client.receive_through("data: 1\n\n").find("chunked"), std::string::npos);
  exchange->end();
  client.receive_through("0\r\n\r\n");
  client.send("GET /hello HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.receive_through("").ends_with("hello"));
  EXPECT_TRUE(client.closed_cleanly());
}

TEST(TlsTest, NoticesThatAClientIsGone) {
  const Certificate certificate;
  TestServer server(with(certificate));
  TlsClient client(server.port());
  client.send(post("/hold", "{}"));
  server.wait_for_held();
  client.socket().reset();
  EXPECT_TRUE(wait_for([&] { return server.gone() == 1; }));
}

TEST(TlsTest, ClosesWhoSpeaksNoTls) {
  const Certificate certificate;
  TestServer server(with(certificate));
  for (const char* bytes : {kGet, "\x16\x03\x01", ""}) {
    TestClient client = server.connect();
    client.send(bytes);
    EXPECT_EQ(client.receive_all(5s).find("HTTP"), std::string::npos);
    EXPECT_TRUE(client.closed());
  }
}

TEST(TlsTest, RefusesAKeyThatDoesNotFit) {
  const Certificate certificate;
  HttpOptions options = with(certificate);
  options.tls_key = certificate.certificate_path;
  EXPECT_THROW(HttpServer(options, {}), Error);
}

}  // namespace
}  // namespace chorus
