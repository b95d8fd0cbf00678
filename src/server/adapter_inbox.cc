#include "server/adapter_inbox.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = ".upload-";

std::string make_folder(const std::string& directory) {
  std::string path = fmt::format("{}/{}XXXXXX", directory, kPrefix);
  if (mkdtemp(path.data()) == nullptr)
    fail("{}: cannot create a folder in it: {}", printable(directory, 300), std::strerror(errno));
  return path.substr(directory.size() + 1);
}

std::string gguf_of(const std::string& name) { return name + ".gguf"; }

}  // namespace

AdapterInbox::AdapterInbox(const std::string& directory, const std::string& name, const AdapterFiles& files)
    : directory_(directory),
      name_(name),
      folder_(make_folder(directory)),
      path_(files.gguf ? fmt::format("{}/{}", folder_, gguf_of(name)) : folder_),
      kept_(files.gguf ? gguf_of(name) : name) {
  try {
    for (const FormPart& file : files.kept) {
      const std::string& called = files.gguf ? gguf_of(name) : file.filename;
      AtomicFile out(fmt::format("{}/{}/{}", directory_, folder_, called));
      out.write(file.content);
      out.commit();
    }
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(fs::path(directory_) / folder_, ignored);
    throw;
  }
}

AdapterInbox::~AdapterInbox() {
  std::error_code ignored;
  fs::remove_all(fs::path(directory_) / folder_, ignored);
}

bool AdapterInbox::keep(bool replace) {
  const std::string from = fmt::format("{}/{}", directory_, path_),
                    to = fmt::format("{}/{}", directory_, kept_);
  if (!replace && exists(directory_, name_)) return false;
  // What is replaced takes the new one's place in the inbox, and goes with it.
  const bool there = fs::exists(to);
  const unsigned flags = there ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) != 0) {
    if (errno == EEXIST) return false;
    fail("{}: cannot be put in place: {}", printable(to, 300), std::strerror(errno));
  }
  if (!replace) return true;
  std::error_code ignored;
  const std::string other = kept_ == name_ ? gguf_of(name_) : name_;  // the same name in the other form
  fs::remove_all(fs::path(directory_) / other, ignored);
  return true;
}

bool AdapterInbox::exists(const std::string& directory, const std::string& name) {
  return fs::exists(fs::path(directory) / name) || fs::exists(fs::path(directory) / gguf_of(name));
}

void AdapterInbox::remove_old(const std::string& directory) {
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with(kPrefix)) continue;
    std::error_code ignored;
    const auto age = fs::file_time_type::clock::now() - fs::last_write_time(it->path(), ignored);
    if (age > std::chrono::hours(1)) fs::remove_all(it->path(), ignored);
  }
}

}  // namespace chorus
