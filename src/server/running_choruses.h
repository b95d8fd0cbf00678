#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace chorus {

class ChorusAnswer;

// The choruses that are being answered, by their ids, so that a later request can end one of their voices.
// Thread-safe; it keeps none of them alive.
class RunningChoruses {
 public:
  void add(const std::string& id, const std::shared_ptr<ChorusAnswer>& answer);
  std::shared_ptr<ChorusAnswer> find(const std::string& id) const;  // null: there is none, or it is over

 private:
  mutable std::mutex mutex_;
  std::map<std::string, std::weak_ptr<ChorusAnswer>> answers_;
};

}  // namespace chorus
