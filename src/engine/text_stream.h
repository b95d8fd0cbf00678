#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "formats/tokenizer.h"

namespace chorus {

// The tokens of one sample -> text, in pieces that never end within a UTF-8 character nor within what may
// become a stop string.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::vector<std::string> stop_strings);

  // The text that is now certain; may be empty. Once a stop string has been met, stopped() is true, what
  // follows it is dropped, and the sample should be cancelled.
  std::string push(int32_t token);
  // What was held back; call once, at the end.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::string release(bool all);

  StreamDecoder decoder_;
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace chorus
