// Runs a fuzz target over the files of a corpus in an ordinary build. libFuzzer brings its own main.

#include <cstdio>
#include <filesystem>
#include <string>

#include "base/mapped_file.h"
#include "fuzz_target.h"

int main(int argc, char** argv) {
  size_t count = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      const std::string bytes = chorus::read_file(entry.path().string(), size_t{64} << 20);
      std::printf("%s\n", entry.path().filename().c_str());
      std::fflush(stdout);  // so that the last line is the file that ended the program
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
      ++count;
    }
  }
  if (count == 0) std::fprintf(stderr, "no files to replay\n");
  return count == 0 ? 1 : 0;
}
