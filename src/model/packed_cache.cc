#include "model/packed_cache.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/sha256.h"
#include "model/tensor_source.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHeaderBytes = 4096;
constexpr std::string_view kMagic = "chorus-packed ", kSuffix = ".packed";
constexpr std::chrono::hours kAbandoned{1};  // a temporary file nobody has written to for so long

struct PackedLayout {
  std::string first_line;       // of the file's header
  std::vector<size_t> offsets;  // of each job's matrix
  size_t size = kHeaderBytes;   // of the file
};

PackedLayout lay_out(const TensorSource& source, std::span<const MatrixJob> jobs) {
  PackedLayout layout;
  Sha256 hash;
  hash.add(fmt::format("version {}\n", kPackedVersion));
  for (const MappedFile* file : source.files()) {
    const FileStamp& stamp = file->stamp();
    hash.add(fmt::format("file {} {} {} {} {}\n", stamp.device, stamp.inode, stamp.size, stamp.modified_ns,
                         stamp.changed_ns));
  }
  for (const MatrixJob& job : jobs) {
    const PackedMatrix shape = packed_shape(*job.tensor);
    hash.add(fmt::format("matrix {} {} {} {} {} {}\n", job.tensor->name, shape.rows, shape.cols,
                         static_cast<int>(shape.layout), shape.has_min, job.order.permuted_head_dim));
    layout.offsets.push_back(layout.size);
    layout.size += padded_bytes(shape);
  }
  layout.first_line = fmt::format("{}{}\n", kMagic, to_hex(hash.finish()));
  return layout;
}

std::string file_path(const PackedCache& cache, const PackedLayout& layout) {
  constexpr size_t kDigits = 32;  // of the hash; the name need only be unlikely to be another's
  return fmt::format("{}/{}{}", cache.directory, layout.first_line.substr(kMagic.size(), kDigits), kSuffix);
}

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// nullptr: no such file, or not the one that would be written now.
std::unique_ptr<MappedFile> open_packed(const std::string& path, const PackedLayout& layout) {
  std::error_code none;
  if (fs::file_size(path, none) != layout.size) return nullptr;
  auto file = std::make_unique<MappedFile>(path);
  const std::span<const std::byte> bytes = file->bytes();
  if (bytes.size() != layout.size || !text_of(bytes).starts_with(layout.first_line)) return nullptr;
  file->read_ahead();
  return file;
}

void write_packed(const std::string& path, const PackedLayout& layout, const TensorSource& source,
                  std::span<const MatrixJob> jobs, ThreadTeam& team) {
  const std::string directory = fs::path(path).parent_path();
  fs::create_directories(directory);
  if (fs::space(directory).available < layout.size + layout.size / 8) {
    fail("{}: {} MiB are needed, and {} are free", directory, layout.size >> 20,
         fs::space(directory).available >> 20);
  }
  AtomicFile file(path);
  std::string header = layout.first_line + fs::absolute(source.path()).string() + '\n';
  header.resize(kHeaderBytes, '\0');
  file.write(header);
  std::vector<std::byte> matrix;
  for (const MatrixJob& job : jobs) {
    const size_t bytes = padded_bytes(packed_shape(*job.tensor));
    matrix.resize(std::max(matrix.size(), bytes));
    repack(*job.tensor, job.order, team, source.path(), matrix.data());
    source.release(*job.tensor);
    file.write(std::span(matrix).first(bytes));
  }
  file.commit();
}

// The path of the model that a packed file was made from; empty: it is not a packed file.
std::string model_of(const fs::path& path) {
  const MappedFile file(path);
  std::string_view header = text_of(file.bytes().first(std::min(kHeaderBytes, file.bytes().size())));
  if (!header.starts_with(kMagic)) return {};
  header.remove_prefix(std::min(header.find('\n'), header.size() - 1) + 1);
  return std::string(header.substr(0, header.find('\n')));
}

// Another file of the same model, a file of a model that is gone, or what a crash left.
bool is_stale(const fs::directory_entry& entry, const std::string& model) {
  if (entry.path().extension() == ".tmp") {
    return entry.last_write_time() + kAbandoned < fs::file_time_type::clock::now();
  }
  if (entry.path().extension() != kSuffix || entry.file_size() == 0) return false;
  const std::string made_from = model_of(entry.path());
  return !made_from.empty() && (made_from == model || !fs::exists(made_from));
}

// What cannot be looked at or removed stays. Processes that have a removed file mapped keep it.
void remove_stale(const std::string& keep, const std::string& model) {
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(fs::path(keep).parent_path(), none)) {
    try {
      if (entry.path() != keep && entry.is_regular_file() && is_stale(entry, model)) fs::remove(entry.path());
    } catch (const std::exception&) {
      continue;
    }
  }
}

}  // namespace

std::unique_ptr<MappedFile> load_packed(PackedCache& cache, const TensorSource& source,
                                        std::span<const MatrixJob> jobs, ThreadTeam& team) {
  if (cache.directory.empty()) return nullptr;
  try {
    const PackedLayout layout = lay_out(source, jobs);
    if (layout.size < cache.min_bytes) return nullptr;
    const std::string path = file_path(cache, layout);
    std::unique_ptr<MappedFile> file = open_packed(path, layout);
    if (file == nullptr) {
      write_packed(path, layout, source, jobs, team);
      remove_stale(path, fs::absolute(source.path()));
      file = open_packed(path, layout);
      if (file == nullptr) fail("{}: changed while it was written", path);
    }
    for (size_t i = 0; i < jobs.size(); ++i) {
      jobs[i].out->view = packed_shape(*jobs[i].tensor);
      jobs[i].out->view.data = file->bytes().data() + layout.offsets[i];
    }
    return file;
  } catch (const std::exception& error) {  // a bad tensor as well: who packs without a cache will say so
    cache.problem = error.what();
    return nullptr;
  }
}

}  // namespace chorus
