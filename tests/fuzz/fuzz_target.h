#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/memory_file.h"

// What libFuzzer and replay_main.cc call with each input.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace chorus {

inline std::string_view text_of(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A property that every accepted input must have.
inline void require(bool condition) {
  if (!condition) std::abort();
}

// Runs `use` on a file of these bytes. An Error of one line that names the file is a right answer.
template <typename Use>
void with_file(std::string_view bytes, Use use) {
  const MemoryFile file;
  file.write(bytes);
  try {
    use(file.path());
  } catch (const Error& error) {
    const std::string_view text = error.what();
    require(text.starts_with(file.path()) && text.find('\n') == text.npos);
  }
}

}  // namespace chorus
