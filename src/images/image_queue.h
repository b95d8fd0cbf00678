#pragma once

#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "http/http_client.h"
#include "images/image_dialect.h"
#include "images/picture.h"

namespace chorus {

struct ImageOptions {
  // http://HOST[:PORT], with "sdapi:" or "openai:" before it where the dialect is not to be found out.
  std::string engine;
  bool remote = false;  // an engine that is not on this machine
  ImageExtras extras;
  std::chrono::seconds timeout{600};  // for one picture
};

enum class ImageProblem : uint8_t { kNone, kCancelled, kEngine, kTimeout, kStopping };

struct ImageOutcome {
  ImageProblem problem = ImageProblem::kNone;
  std::string message = {};  // of a problem, one line
  std::string base64 = {};   // a PNG, JPEG or WebP
  PictureSize size = {};
  double seconds = 0;  // that the engine took
};

struct ImageJob {
  std::string id, owner;  // an owner's id is there once
  ImageRequest request;
  std::function<void(ImageOutcome)> done;  // called once, from a thread of the queue or of who cancels
};

struct ImageStatus {
  struct Active {
    std::string id, owner;
    double seconds = 0;
    std::optional<ImageProgress> progress;  // where the engine tells
  };
  bool ready = false;  // it answered when it was last asked
  std::optional<ImageDialect> dialect;
  std::string model, error;
  int waiting = 0;
  std::optional<Active> active;
};

// Pictures, drawn one after the other by an engine that is another program. All it does it does on threads of
// its own; every method returns at once and is thread-safe.
class ImageQueue {
 public:
  static constexpr size_t kMaxWaiting = 16;

  // Error: no such engine; one that is not on this machine, without `remote`; an extra that there is not.
  explicit ImageQueue(ImageOptions options);
  ~ImageQueue();

  enum class Taken : uint8_t { kYes, kFull, kIdInUse, kStopping };
  Taken submit(ImageJob job);  // `done` is called only where it was taken
  // False: there is no such job. One that is being drawn ends too: the engine is asked to stop.
  bool cancel(const std::string& id, const std::string& owner);
  ImageStatus status();  // as last known; has the engine asked again where that is old
  void stop();           // all jobs end with kStopping; no more are taken

 private:
  struct Drawing {
    ImageJob job;
    std::chrono::steady_clock::time_point begun;
    std::optional<ImageProgress> progress;
    std::stop_source stop;
  };
  void draw_all();
  ImageOutcome draw(const ImageRequest& request, const std::stop_token& stop);
  void watch();
  bool probe_is_due() const;
  ImageDialect find_engine();
  bool ask_model(const char* path, ImageDialect dialect);
  void look_at_progress(std::unique_lock<std::mutex>& lock);
  void interrupt_engine();

  const ImageOptions options_;
  const std::optional<ImageDialect> told_;
  const HttpClient client_;
  mutable std::mutex mutex_;
  std::condition_variable jobs_changed_, watch_changed_;
  std::deque<ImageJob> waiting_;
  std::optional<Drawing> drawing_;
  bool ready_ = false, asked_ = true, interrupt_ = false, stopping_ = false;
  bool tells_progress_ = true;
  std::optional<ImageDialect> dialect_;
  std::string model_, error_;
  std::chrono::steady_clock::time_point asked_at_ = {};
  std::jthread drawer_, watcher_;
};

}  // namespace chorus
