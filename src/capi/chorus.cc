// The functions of chorus.h: nothing of C++ leaves them.

#include "chorus.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "capi/session.h"

using chorus::Session;

struct chorus_model {
  std::shared_ptr<Session> session;
};

struct chorus_request {
  std::shared_ptr<Session> session;  // outlives the model's handle
  std::shared_ptr<chorus::VoiceSet> set;
  chorus::VoiceEvent event;  // told last
};

namespace {

constexpr size_t kMaxStruct = 4096;

void tell(chorus_error* error, std::string_view text) {
  if (error == nullptr || error->struct_size < sizeof(chorus_error)) return;
  const std::string line = chorus::printable(text, sizeof(error->message) - 4);
  std::memcpy(error->message, line.c_str(), std::min(line.size() + 1, sizeof(error->message)));
  error->message[sizeof(error->message) - 1] = '\0';
}

// Runs `action` and makes a status of what it throws.
template <typename F>
chorus_status guarded(chorus_error* error, const F& action) {
  const auto failed = [error](chorus_status status, std::string_view text) {
    tell(error, text);
    return status;
  };
  tell(error, "");
  try {
    action();
    return CHORUS_OK;
  } catch (const chorus::UnknownAdapter& problem) {
    return failed(CHORUS_NOT_FOUND, problem.what());
  } catch (const chorus::QueueFull& problem) {
    return failed(CHORUS_BUSY, problem.what());
  } catch (const chorus::Error& problem) {
    return failed(CHORUS_BAD_INPUT, problem.what());
  } catch (const std::bad_alloc&) {
    return failed(CHORUS_NO_MEMORY, "out of memory");
  } catch (const std::exception& problem) {
    return failed(CHORUS_FAILED, problem.what());
  } catch (...) {
    return failed(CHORUS_FAILED, "a fault without a name");
  }
}

void require(const void* pointer, std::string_view what) {
  if (pointer == nullptr) chorus::fail("{} is NULL", what);
}

void require_size(size_t given, size_t least, std::string_view what) {
  if (given < least || given > kMaxStruct)
    chorus::fail("{}.struct_size is {}; begin with the struct's CHORUS_..._INIT", what, given);
}

// A struct of this or an earlier version: what it does not have yet is as in `defaults`.
template <typename T>
T read_struct(const void* given, size_t least, const T& defaults, std::string_view what) {
  T read = defaults;
  size_t size = 0;
  std::memcpy(&size, given, sizeof(size));
  require_size(size, least, what);
  std::memcpy(&read, given, std::min(size, sizeof(T)));
  return read;
}

// What the caller's struct has room for; its size stays.
template <typename T>
void write_struct(T* to, T value) {
  const size_t size = to->struct_size;
  value.struct_size = size;
  std::memcpy(to, &value, std::min(size, sizeof(T)));
}

chorus::RuntimeOptions options_of(const chorus_model_options* given) {
  const chorus_model_options defaults = CHORUS_MODEL_OPTIONS_INIT;
  const chorus_model_options read =
      given == nullptr ? defaults : read_struct(given, sizeof(defaults), defaults, "options");
  if (read.threads < 0 || read.threads > 256) chorus::fail("threads is {}; from 0 to 256", read.threads);
  if (read.context < 0) chorus::fail("context is {}; 0 or more", read.context);
  if (read.max_voices < 0 || read.max_voices > 511)
    chorus::fail("max_voices is {}; from 0 to 511", read.max_voices);
  chorus::RuntimeOptions options;
  options.threads = read.threads;
  options.context_length = read.context;
  options.exact = read.exact != 0;
  if (read.max_voices > 0) options.max_sequences = read.max_voices;
  if (read.kv_bytes > 0) options.kv_bytes = read.kv_bytes;
  if (read.cache_dir != nullptr) options.packed_cache = read.cache_dir;
  return options;
}

std::vector<chorus::VoiceRequest> read_voices(chorus::Runtime& runtime, const chorus_voice* voices,
                                              size_t count) {
  require(voices, "voices");
  const chorus::EngineConfig& config = runtime.engine().config();
  const auto most = static_cast<size_t>(config.max_sequences + config.max_queue);  // that speak or wait
  if (count < 1 || count > most) chorus::fail("count is {}; from 1 to {}", count, most);
  const chorus_voice defaults = CHORUS_VOICE_INIT;
  const auto* bytes = reinterpret_cast<const std::byte*>(voices);
  const size_t stride = voices->struct_size;
  std::vector<chorus::VoiceRequest> requests;
  for (size_t i = 0; i < count; ++i) {
    const std::string what = fmt::format("voices[{}]", i);
    const chorus_voice voice = read_struct(bytes + i * stride, sizeof(defaults), defaults, what);
    try {
      requests.push_back(chorus::read_voice(runtime, voice));
    } catch (const chorus::UnknownAdapter& error) {
      throw chorus::UnknownAdapter(fmt::format("{}: {}", what, error.what()));
    } catch (const chorus::Error& error) {
      chorus::fail("{}: {}", what, error.what());
    }
  }
  return requests;
}

void copy_text(std::string_view text, char* to, size_t room) {
  const size_t size = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), size);
  to[size] = '\0';
}

chorus_event event_of(const chorus::VoiceEvent& event, size_t size) {
  return {size,
          event.kind,
          event.voice,
          event.text.c_str(),
          event.text.size(),
          event.finish,
          event.message.c_str(),
          event.prompt_tokens,
          event.tokens,
          event.first_token_seconds,
          event.seconds};
}

}  // namespace

const char* chorus_version(void) { return CHORUS_VERSION; }

chorus_status chorus_open(const char* path, const chorus_model_options* options, chorus_model** model,
                          chorus_error* error) {
  return guarded(error, [&] {
    require(path, "path");
    require(model, "model");
    *model = nullptr;
    auto session = std::make_shared<Session>(path, options_of(options));
    *model = new chorus_model{std::move(session)};
  });
}

void chorus_close(chorus_model* model) {
  if (model == nullptr) return;
  guarded(nullptr, [&] { model->session->close(); });
  delete model;
}

chorus_status chorus_load_adapter(chorus_model* model, const char* name, const char* path,
                                  chorus_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(name, "name");
    require(path, "path");
    model->session->runtime().adapters().load(name, path);
  });
}

chorus_status chorus_unload_adapter(chorus_model* model, const char* name, chorus_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(name, "name");
    if (!model->session->runtime().adapters().unload(name))
      throw chorus::UnknownAdapter(fmt::format("no adapter {} is loaded", chorus::printable(name)));
  });
}

size_t chorus_adapter_count(const chorus_model* model) {
  size_t count = 0;
  guarded(nullptr, [&] {
    require(model, "model");
    count = model->session->runtime().adapters().names().size();
  });
  return count;
}

chorus_status chorus_adapter_at(const chorus_model* model, size_t index, chorus_adapter* adapter,
                                chorus_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(adapter, "adapter");
    require_size(adapter->struct_size, sizeof(chorus_adapter), "adapter");
    const chorus::AdapterRegistry& registry = model->session->runtime().adapters();
    const std::vector<std::string> names = registry.names();
    const chorus::AdapterHandle found = index < names.size() ? registry.find(names[index]) : nullptr;
    if (found == nullptr)
      throw chorus::UnknownAdapter(fmt::format("there is no adapter {}; there are {}", index, names.size()));
    chorus_adapter told = CHORUS_ADAPTER_INIT;
    copy_text(names[index], told.name, sizeof(told.name));
    copy_text(found->id(), told.id, sizeof(told.id));
    told.rank = found->max_rank();
    told.exact = found->form() == chorus::AdapterForm::kExact ? 1 : 0;
    told.bytes = found->bytes();
    write_struct(adapter, told);
  });
}

chorus_status chorus_submit(chorus_model* model, const chorus_voice* voices, size_t count,
                            chorus_request** request, chorus_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(request, "request");
    *request = nullptr;
    Session& session = *model->session;
    auto made = std::make_unique<chorus_request>();
    made->session = model->session;
    made->set = session.submit(read_voices(session.runtime(), voices, count));
    *request = made.release();
  });
}

int chorus_next(chorus_request* request, chorus_event* event, int timeout_ms) {
  int result = 0;
  const chorus_status status = guarded(nullptr, [&] {
    require(request, "request");
    require(event, "event");
    require_size(event->struct_size, sizeof(chorus_event), "event");
    result = request->session->next(*request->set, request->event, timeout_ms);
    if (result == 1) write_struct(event, event_of(request->event, event->struct_size));
  });
  return status == CHORUS_OK ? result : -2;
}

void chorus_cancel(chorus_request* request, size_t voice) {
  if (request == nullptr) return;
  guarded(nullptr, [&] { request->session->cancel(*request->set, voice); });
}

void chorus_free(chorus_request* request) {
  if (request == nullptr) return;
  guarded(nullptr, [&] { request->session->release(*request->set); });
  delete request;
}

chorus_status chorus_run(chorus_model* model, const chorus_voice* voices, size_t count,
                         chorus_callback callback, void* user, chorus_error* error) {
  chorus_request* request = nullptr;
  const chorus_status status = chorus_submit(model, voices, count, &request, error);
  if (status != CHORUS_OK) return status;
  chorus_event event = CHORUS_EVENT_INIT;
  int result = 0;
  while ((result = chorus_next(request, &event, -1)) == 1) {
    if (callback != nullptr && callback(user, &event) != 0) chorus_cancel(request, CHORUS_ALL);
  }
  chorus_free(request);
  if (result == -1) return CHORUS_OK;
  tell(error, "out of memory");
  return CHORUS_NO_MEMORY;
}

chorus_status chorus_get_stats(const chorus_model* model, chorus_stats* stats, chorus_error* error) {
  return guarded(error, [&] {
    require(model, "model");
    require(stats, "stats");
    require_size(stats->struct_size, sizeof(chorus_stats), "stats");
    chorus::Runtime& runtime = model->session->runtime();
    const chorus::EngineStats now = runtime.engine().stats();
    write_struct(stats, chorus_stats{0, now.steps, now.rows, now.running, now.waiting, runtime.kv_bytes()});
  });
}
