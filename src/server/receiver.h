#pragma once

#include <cstdint>
#include <vector>

#include "engine/engine.h"
#include "http/http_server.h"
#include "server/api_error.h"

namespace chorus {

// A client that waits for what the engine makes of its requests. Used by one thread at a time, which Delivery
// sees to.
class Receiver {
 public:
  virtual ~Receiver() = default;

  virtual std::vector<Request> requests() const = 0;
  virtual HttpExchange& exchange() = 0;

  // Takes an event of one of the requests. What it adds to a stream waits for flush().
  virtual void push(size_t request, const TokenEvent& event) = 0;
  // Sends what push() has gathered, and the end of the answer when all of it is there.
  virtual void flush() = 0;
  // The client's answer is this error, or ends with it.
  virtual void fail(const ApiError& error) = 0;

  virtual bool over() const = 0;                // nothing more is sent
  virtual bool done(size_t request) const = 0;  // nothing more comes of this request
  // Whether the engine still works for this request in vain.
  virtual bool idle_work(size_t request) const = 0;

  std::vector<uint64_t> ids;  // the engine's, of the requests submitted
  bool touched = false;       // Delivery's mark
};

}  // namespace chorus
