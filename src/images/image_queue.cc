#include "images/image_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "http/http_text.h"

namespace chorus {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr auto kProbeEvery = 5s, kProgressEvery = 1s;
constexpr uint64_t kMaxAnswer = uint64_t{64} << 20;
constexpr std::string_view kSdapi = "sdapi:", kOpenAi = "openai:";
const HttpPatience kProbePatience{.time = 3s, .connect_time = 2s, .answer_bytes = 4 << 20};

std::optional<ImageDialect> told_dialect(std::string_view engine) {
  if (engine.starts_with(kSdapi)) return ImageDialect::kSdapi;
  if (engine.starts_with(kOpenAi)) return ImageDialect::kOpenAi;
  return std::nullopt;
}

std::string_view address_of(std::string_view engine) {
  for (const std::string_view prefix : {kSdapi, kOpenAi}) {
    if (engine.starts_with(prefix)) engine.remove_prefix(prefix.size());
  }
  return engine;
}

double seconds_since(Clock::time_point begun) {
  return std::chrono::duration<double>(Clock::now() - begun).count();
}

}  // namespace

ImageQueue::ImageQueue(ImageOptions options)
    : options_(std::move(options)),
      told_(told_dialect(options_.engine)),
      client_(address_of(options_.engine), "") {
  std::string host = client_.host();
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  if (!options_.remote && !is_loopback(host))
    fail("{}: an image engine on another machine gets what is written here; allow that with --image-remote",
         printable(client_.url(), 200));
  for (const auto& [name, field] : options_.extras) check_image_extra(name);
  drawer_ = std::jthread([this] { draw_all(); });
  watcher_ = std::jthread([this] { watch(); });
}

ImageQueue::~ImageQueue() { stop(); }

ImageQueue::Taken ImageQueue::submit(ImageJob job) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return Taken::kStopping;
  const auto same = [&job](const ImageJob& other) { return other.id == job.id && other.owner == job.owner; };
  if ((drawing_ && same(drawing_->job)) || std::ranges::any_of(waiting_, same)) return Taken::kIdInUse;
  if (waiting_.size() >= kMaxWaiting) return Taken::kFull;
  waiting_.push_back(std::move(job));
  jobs_changed_.notify_one();
  return Taken::kYes;
}

bool ImageQueue::cancel(const std::string& id, const std::string& owner) {
  ImageJob dropped;
  {
    const std::lock_guard lock(mutex_);
    if (drawing_ && drawing_->job.id == id && drawing_->job.owner == owner) {
      if (drawing_->stop.request_stop()) interrupt_ = true;
      watch_changed_.notify_one();
      return true;
    }
    const auto found = std::ranges::find_if(
        waiting_, [&](const ImageJob& job) { return job.id == id && job.owner == owner; });
    if (found == waiting_.end()) return false;
    dropped = std::move(*found);
    waiting_.erase(found);
  }
  dropped.done({.problem = ImageProblem::kCancelled, .message = "the picture was cancelled"});
  return true;
}

ImageStatus ImageQueue::status() {
  const std::lock_guard lock(mutex_);
  asked_ = true;
  if (probe_is_due()) watch_changed_.notify_one();
  ImageStatus status{ready_, dialect_, model_, error_, static_cast<int>(waiting_.size()), std::nullopt};
  if (drawing_)
    status.active = {drawing_->job.id, drawing_->job.owner, seconds_since(drawing_->begun),
                     drawing_->progress};
  return status;
}

void ImageQueue::stop() {
  std::deque<ImageJob> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
    if (drawing_ && drawing_->stop.request_stop()) interrupt_ = true;
    jobs_changed_.notify_one();
    watch_changed_.notify_one();
  }
  for (const ImageJob& job : dropped)
    job.done({.problem = ImageProblem::kStopping, .message = "the server is shutting down"});
}

void ImageQueue::draw_all() {
  std::unique_lock lock(mutex_);
  for (;;) {
    jobs_changed_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
    if (stopping_) return;
    drawing_ = Drawing{std::move(waiting_.front()), Clock::now(), std::nullopt, {}};
    waiting_.pop_front();
    watch_changed_.notify_one();
    const ImageRequest request = drawing_->job.request;
    const std::stop_token stop = drawing_->stop.get_token();
    lock.unlock();
    ImageOutcome outcome = draw(request, stop);
    lock.lock();
    outcome.seconds = seconds_since(drawing_->begun);
    if (stop.stop_requested() && outcome.problem != ImageProblem::kNone)
      outcome.problem = stopping_ ? ImageProblem::kStopping : ImageProblem::kCancelled;
    if (outcome.problem == ImageProblem::kEngine) ready_ = false;  // another may be there by the next time
    const auto done = std::move(drawing_->job.done);
    drawing_.reset();
    lock.unlock();
    done(std::move(outcome));
    lock.lock();
  }
}

ImageOutcome ImageQueue::draw(const ImageRequest& request, const std::stop_token& stop) {
  try {
    const ImageDialect dialect = find_engine();
    const HttpPatience patience{
        .time = options_.timeout, .connect_time = 2s, .answer_bytes = kMaxAnswer, .stop = stop};
    const HttpAnswer answer = client_.ask("POST", image_path(dialect), "application/json",
                                          image_body(dialect, request, options_.extras), patience);
    if (answer.status != 200)
      return {.problem = ImageProblem::kEngine, .message = image_error_text(answer.status, answer.body)};
    ImageOutcome outcome{.base64 = read_image_answer(dialect, answer.body)};
    if (outcome.base64.starts_with("data:")) outcome.base64.erase(0, outcome.base64.find(',') + 1);
    outcome.size = read_picture_size(decode_base64(outcome.base64));
    return outcome;
  } catch (const HttpTimeout& error) {
    return {.problem = ImageProblem::kTimeout, .message = error.what()};
  } catch (const std::exception& error) {
    return {.problem = ImageProblem::kEngine,
            .message = stop.stop_requested() ? "the picture was cancelled" : printable(error.what(), 300)};
  }
}

// What it speaks; asks where that is not known. Error: nobody answers.
ImageDialect ImageQueue::find_engine() {
  {
    const std::lock_guard lock(mutex_);
    if (ready_ && dialect_) return *dialect_;
  }
  std::string problem = "it speaks neither /sdapi/v1 nor /v1/images/generations";
  const bool sdapi = told_ != ImageDialect::kOpenAi, openai = told_ != ImageDialect::kSdapi;
  std::optional<ImageDialect> found;
  try {
    if (sdapi && (ask_model("/sdapi/v1/options", ImageDialect::kSdapi) ||
                  ask_model("/sdapi/v1/sd-models", ImageDialect::kSdapi)))
      found = ImageDialect::kSdapi;
    else if (openai && ask_model("/v1/models", ImageDialect::kOpenAi))
      found = ImageDialect::kOpenAi;
  } catch (const Error& error) {
    problem = error.what();
  }
  const std::lock_guard lock(mutex_);
  asked_at_ = Clock::now();
  ready_ = found.has_value();
  if (found) dialect_ = found;
  error_ = found ? "" : problem;
  if (!found) fail("{}", problem);
  tells_progress_ = true;
  return *found;
}

// Whether the path is there, and what it says of the model. Error: nobody answers.
bool ImageQueue::ask_model(const char* path, ImageDialect dialect) {
  const HttpAnswer answer = client_.ask("GET", path, {}, {}, kProbePatience);
  if (answer.status == 401 || answer.status == 403) fail("{}", image_error_text(answer.status, answer.body));
  if (answer.status != 200) return false;
  try {
    std::string model = read_image_model(dialect, answer.body);
    const std::lock_guard lock(mutex_);
    model_ = std::move(model);
    return true;
  } catch (const Error&) {
    return false;  // a page, say
  }
}

bool ImageQueue::probe_is_due() const {
  return asked_ && !drawing_ && Clock::now() - asked_at_ >= kProbeEvery;
}

// Asks the engine what it is, how far it is, and to stop.
void ImageQueue::watch() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (std::exchange(interrupt_, false)) {
      const bool can = dialect_ == ImageDialect::kSdapi;
      lock.unlock();
      if (can) interrupt_engine();
      lock.lock();
    } else if (stopping_) {
      return;
    } else if (drawing_) {
      look_at_progress(lock);
      watch_changed_.wait_for(lock, kProgressEvery, [this] { return stopping_ || interrupt_ || !drawing_; });
    } else if (probe_is_due()) {
      asked_ = false;
      ready_ = false;
      lock.unlock();
      try {
        find_engine();
      } catch (const Error&) {
        // status() says it.
      }
      lock.lock();
    } else {
      watch_changed_.wait(lock, [this] { return stopping_ || interrupt_ || drawing_ || probe_is_due(); });
    }
  }
}

void ImageQueue::look_at_progress(std::unique_lock<std::mutex>& lock) {
  if (dialect_ != ImageDialect::kSdapi || !tells_progress_) return;
  const std::string id = drawing_->job.id;
  lock.unlock();
  std::optional<ImageProgress> progress;
  bool missing = false;
  try {
    const HttpAnswer answer =
        client_.ask("GET", "/sdapi/v1/progress?skip_current_image=true", {}, {}, kProbePatience);
    missing = answer.status == 404;
    if (answer.status == 200) progress = read_image_progress(answer.body);
  } catch (const Error&) {
    // A busy engine may be silent; how long it has taken is known all the same.
  }
  lock.lock();
  if (missing) tells_progress_ = false;
  if (progress && drawing_ && drawing_->job.id == id) drawing_->progress = progress;
}

// Without it an engine goes on for nobody; one that knows no interruption does anyway.
void ImageQueue::interrupt_engine() {
  try {
    client_.ask("POST", "/sdapi/v1/interrupt", {}, {}, kProbePatience);
  } catch (const Error&) {
    // Nothing to be done.
  }
}

}  // namespace chorus
