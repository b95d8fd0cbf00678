// What the HTTP server itself costs: memory of idle connections, processor time of streams beside them, and
// requests a second over kept connections. The clients are another process on this machine.

#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "http/http_server.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kIdle = 2000, kStreams = 256, kEventsPerSecond = 30, kSeconds = 5;
constexpr int kCallers = 8, kRequestsEach = 10000;

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return double(time.tv_sec) + double(time.tv_usec) * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

double resident_kib() {
  std::ifstream file("/proc/self/statm");
  double total = 0, resident = 0;
  file >> total >> resident;
  return resident * double(::sysconf(_SC_PAGESIZE)) / 1024;
}

int connect_to(uint16_t port) {
  const int client = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(client, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) std::perror("connect");
  return client;
}

void send_get(int client, const char* path) {
  const std::string request = fmt::format("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", path);
  if (::send(client, request.data(), request.size(), MSG_NOSIGNAL) < 0) std::perror("send");
}

size_t receive(int client) {
  char buffer[8192];
  const ssize_t got = ::recv(client, buffer, sizeof buffer, 0);
  return got > 0 ? static_cast<size_t>(got) : 0;
}

// The client's process, which does a step for each byte that comes through the pipe `orders` and says so on
// `done`.
void run_clients(uint16_t port, int orders, int done) {
  std::vector<int> idle, streams;
  char order = 0;
  while (::read(orders, &order, 1) == 1) {
    if (order == 'i') {
      for (int i = 0; i < kIdle; ++i) {
        idle.push_back(connect_to(port));
        send_get(idle.back(), "/hello");
        receive(idle.back());
      }
    } else if (order == 's') {
      for (int i = 0; i < kStreams; ++i) {
        streams.push_back(connect_to(port));
        send_get(streams.back(), "/stream");
        std::thread([client = streams.back()] {
          while (receive(client) > 0) {
          }
        }).detach();
      }
    } else {
      std::vector<std::thread> callers;
      for (int i = 0; i < kCallers; ++i) {
        callers.emplace_back([port] {
          const int client = connect_to(port);
          for (int k = 0; k < kRequestsEach; ++k) {
            send_get(client, "/hello");
            receive(client);
          }
          ::close(client);
        });
      }
      for (std::thread& caller : callers) caller.join();
    }
    if (::write(done, "", 1) != 1) return;
  }
}

void run() {
  std::mutex mutex;
  std::vector<std::shared_ptr<HttpExchange>> streams;
  HttpOptions options;
  options.port = 0;
  HttpServer server(
      options,
      {{"GET", "/hello", Access::kUser,
        [](const std::shared_ptr<HttpExchange>& exchange) { exchange->answer(200, "text/plain", "hello"); }},
       {"GET", "/stream", Access::kUser, [&](const std::shared_ptr<HttpExchange>& exchange) {
          exchange->begin(200, "text/event-stream");
          const std::lock_guard lock(mutex);
          streams.push_back(exchange);
        }}});
  int orders[2], done[2];
  if (::pipe(orders) != 0 || ::pipe(done) != 0) return std::perror("pipe");
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(orders[1]);
    run_clients(server.port(), orders[0], done[1]);
    ::_exit(0);
  }
  server.start();
  const auto order = [&](char what) {
    char answer = 0;
    if (::write(orders[1], &what, 1) != 1 || ::read(done[0], &answer, 1) != 1) std::perror("pipe");
  };

  order('g');  // what is allocated once
  double cpu = cpu_seconds();
  auto begun = Clock::now();
  order('g');
  const std::chrono::duration<double> took = Clock::now() - begun;
  const double requests = kCallers * kRequestsEach;
  fmt::print("{} callers: {:.0f} requests/s, {:.1f} us of processor a request\n", kCallers,
             requests / took.count(), (cpu_seconds() - cpu) / requests * 1e6);

  double memory = resident_kib();
  order('i');
  fmt::print("{} idle connections: {:.2f} KiB resident each\n", kIdle, (resident_kib() - memory) / kIdle);
  cpu = cpu_seconds();
  std::this_thread::sleep_for(std::chrono::seconds(2));
  fmt::print("{} idle connections: {:.2f} % of a processor\n", kIdle, (cpu_seconds() - cpu) / 2 * 100);

  memory = resident_kib();
  order('s');
  while (server.open_exchanges() < kStreams) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const std::string event = "data: " + std::string(200, 'x') + "\n\n";
  cpu = cpu_seconds();
  begun = Clock::now();
  for (int i = 0; i < kSeconds * kEventsPerSecond; ++i) {
    for (const auto& stream : streams) stream->write(event);
    std::this_thread::sleep_until(begun + std::chrono::microseconds(1000000 / kEventsPerSecond) * (i + 1));
  }
  fmt::print(
      "{} streams with {} events/s beside them: {:.2f} % of a processor, {:.1f} us an event, {:.2f} KiB "
      "each\n",
      kStreams, kEventsPerSecond, (cpu_seconds() - cpu) / kSeconds * 100,
      (cpu_seconds() - cpu) / (kSeconds * kEventsPerSecond * kStreams) * 1e6,
      (resident_kib() - memory) / kStreams);
  for (const auto& stream : streams) stream->end();
  ::close(orders[1]);
  server.stop();
  ::waitpid(child, nullptr, 0);
}

}  // namespace
}  // namespace chorus

int main() {
  chorus::run();
  return 0;
}
