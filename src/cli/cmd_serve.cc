#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "base/process_memory.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "server/server.h"

namespace chorus {
namespace {

struct ServeFlags {
  ModelFlags model;
  ServerOptions server;
  int queue_seconds = 120, drain_seconds = 10;
  int adapter_memory = 0;  // MiB
  std::string tune_directory;
  int tune_memory = 512;  // MiB
  std::vector<std::string> image_extras;
  int image_seconds = 600;
  int max_queue = 512, max_sequences = 64;
  bool list_routes = false;
};

void add_http_flags(CLI::App& command, HttpOptions& http) {
  command.add_option("--host", http.host, "Address to listen on; one beyond this machine needs keys")
      ->capture_default_str();
  command.add_option("--port", http.port, "Port; 0: any free one")->capture_default_str();
  command.add_option("--api-key-file", http.api_key_file, "Keys that may use the server, a line each")
      ->type_name("FILE");
  command.add_option("--admin-key-file", http.admin_key_file, "Keys that may load and unload adapters too")
      ->type_name("FILE");
  command.add_option("--allowed-host", http.allowed_hosts, "A name that clients may call this host by")
      ->type_name("NAME");
  command.add_option("--allowed-origin", http.allowed_origins, "A web page's origin that may use the server")
      ->type_name("URL");
  command.add_option("--tls-cert", http.tls_certificate, "Certificate chain, PEM")->type_name("FILE");
  command.add_option("--tls-key", http.tls_key, "Its private key, PEM")->type_name("FILE");
  command.add_flag("--insecure", http.insecure, "Listen beyond this machine without keys");
  command.add_flag("--access-log", http.access_log,
                   "A JSON line for each request on stderr, without content");
  command.add_option("--connections", http.limits.connections, "Connections at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
}

void add_image_flags(CLI::App& command, ServeFlags& flags) {
  ImageOptions& images = flags.server.images;
  command
      .add_option("--image-engine", images.engine,
                  "Draws pictures: http://HOST:PORT of AUTOMATIC1111, Forge, KoboldCpp, stable-diffusion.cpp "
                  "or OpenAI's API; with sdapi: or openai: before it where that is not to be found out")
      ->type_name("URL");
  command.add_flag("--image-remote", images.remote, "The engine may be on another machine");
  command.add_option("--image-timeout", flags.image_seconds, "Seconds that a picture may take")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  command
      .add_option(
          "--image-extra", flags.image_extras,
          "What an engine of OpenAI's API calls our steps, seed, cfg_scale, sampler or negative_prompt; "
          "sd_cpp alone: stable-diffusion.cpp's own form")
      ->type_name("NAME=FIELD");
}

ImageExtras read_image_extras(const std::vector<std::string>& flags) {
  ImageExtras extras;
  for (const std::string& flag : flags) {
    const size_t equals = std::min(flag.find('='), flag.size());
    const std::string name = flag.substr(0, equals), field = flag.substr(std::min(equals + 1, flag.size()));
    check_image_extra(name);
    if (field.empty() != (name == kSdCpp))
      fail("--image-extra {}: must be as steps=num_inference_steps, or sd_cpp", printable(flag));
    extras[name] = field;
  }
  return extras;
}

void add_service_flags(CLI::App& command, ServeFlags& flags) {
  ServiceOptions& service = flags.server.service;
  command.add_option("--served-name", service.served_name, "What the base is called")->capture_default_str();
  command.add_option("--adapter-memory", flags.adapter_memory, "Memory for adapters, in MiB; 0: no bound")
      ->check(CLI::Range(0, 1 << 20));
  command
      .add_option("--tune-dir", flags.tune_directory,
                  "Tune adapters beside serving; jobs and their files are kept here")
      ->type_name("DIR");
  command.add_option("--tune-memory", flags.tune_memory, "Memory for a tuning's activations, in MiB")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command.add_option("--max-queue", flags.max_queue, "Answers that wait to be run at most")
      ->check(CLI::Range(0, 100'000))
      ->capture_default_str();
  command.add_option("--max-sequences", flags.max_sequences, "Answers that run at once")
      ->check(CLI::Range(1, 511))
      ->capture_default_str();
  command.add_option("--key-concurrency", service.key_concurrency, "Requests of one key at once")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command.add_option("--queue-timeout", flags.queue_seconds, "Seconds that a request waits at most")
      ->check(CLI::Range(1, 86'400))
      ->capture_default_str();
  command.add_option("--drain-timeout", flags.drain_seconds, "Seconds that answers may go on after SIGTERM")
      ->check(CLI::Range(0, 86'400))
      ->capture_default_str();
  command.add_option("--overload-status", service.overload_status, "Status of what the queue does not take")
      ->check(CLI::IsMember({503, 429}))
      ->capture_default_str();
  command.add_flag("--list-routes", flags.list_routes, "Print the paths and who may call them, and end");
}

// Raises the bound on open files, as far as the system lets us, to what the connections and the adapters'
// files need.
void raise_file_limit(int connections) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t wanted = std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(connections) + 256);
  if (limit.rlim_cur >= wanted) return;
  limit.rlim_cur = wanted;
  setrlimit(RLIMIT_NOFILE, &limit);  // where it fails, connections beyond the old bound wait to be accepted
}

// Until a signal comes; then until what runs has ended or its time is over. A second signal ends the process.
void wait_for_the_end(Server& server, int drain_seconds) {
  using namespace std::chrono_literals;
  while (!interrupted()) std::this_thread::sleep_for(50ms);
  std::fputs("chorus: no new requests are taken; what runs may end\n", stderr);
  server.drain();
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(drain_seconds);
  while (!server.drained() && std::chrono::steady_clock::now() < end) std::this_thread::sleep_for(20ms);
}

int run_serve(ServeFlags flags) {
  flags.server.service.version = CHORUS_VERSION;
  flags.server.service.model = flags.model.model;
  flags.server.service.queue_time = std::chrono::seconds(flags.queue_seconds);
  flags.server.adapters.directory = std::move(flags.model.adapter_directory);
  flags.model.adapter_directory.clear();  // the manager loads it, and goes on watching it
  flags.server.adapters.memory_bytes = static_cast<size_t>(flags.adapter_memory) << 20;
  flags.server.adapters.warn = warn_of_adapter;
  flags.server.adapters.tuned_directory = flags.tune_directory;
  flags.server.tuning.directory = flags.tune_directory;
  flags.server.tuning.base_name = flags.model.model;
  if (!flags.model.cpus.empty()) flags.server.tuning.cpus = parse_cpus(flags.model.cpus);
  flags.server.tuning.activation_bytes = static_cast<size_t>(flags.tune_memory) << 20;
  flags.server.images.extras = read_image_extras(flags.image_extras);
  flags.server.images.timeout = std::chrono::seconds(flags.image_seconds);
  RuntimeOptions runtime_options;
  runtime_options.max_sequences = flags.max_sequences;
  runtime_options.max_queue = flags.max_queue;
  runtime_options.base_names = {flags.server.service.served_name, "base"};

  return_large_blocks();
  raise_file_limit(flags.server.http.limits.connections);
  std::unique_ptr<Runtime> runtime;
  Server server(flags.server);  // before the model: a port that is taken is known at once
  runtime = open_runtime(flags.model, runtime_options);
  server.serve(*runtime);
  if (flags.list_routes) {
    for (const std::string& line : server.route_lines()) std::printf("%s\n", line.c_str());
    return 0;
  }
  install_interrupt_handler();  // before anybody learns that there is something to end
  const bool tls = !flags.server.http.tls_certificate.empty();
  std::printf("listening on %s://%s:%d\n", tls ? "https" : "http", flags.server.http.host.c_str(),
              server.port());
  std::fflush(stdout);
  wait_for_the_end(server, flags.drain_seconds);
  return 0;
}

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("serve", "Serve a model and its adapters over HTTP");
  command->footer(
      "Example: chorus serve smollm2 --adapters adapters\n"
      "The API is OpenAI's: a client's base URL is http://127.0.0.1:8080/v1, and \"model\" names the base, "
      "an "
      "adapter, or a mix such as elf@0.7+villain@0.3. The page is at http://127.0.0.1:8080/.\n"
      "Adapters that appear in the directory of --adapters are loaded, those that change are loaded again, "
      "those that go are unloaded.");
  auto flags = std::make_shared<ServeFlags>();
  add_model_flags(*command, flags->model);
  add_http_flags(*command, flags->server.http);
  add_service_flags(*command, *flags);
  add_image_flags(*command, *flags);
  command->callback([=, &exit_code] { exit_code = run_serve(*flags); });
}

}  // namespace chorus
