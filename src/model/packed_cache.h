#pragma once

// Packed matrices kept in a file: the next start maps them instead of packing again, and all processes that
// run one model share one copy of it in memory.
//   4096 bytes of header | the matrices, each at a multiple of 64
// The header is text: a line with a SHA-256 over everything that decides what follows (the version of the
// layouts, which files the weights come from, shape, layout and row order of every matrix), then the path of
// the model. Nothing of a file is trusted to say where something is: it is used only if its first line is the
// one that would be written now, and its size too.
//
// Which files: by device, inode, size and the times of their last change. A hash of the content would have to
// read all of it, which takes as long as packing it; and no program can set the time of the last change of an
// inode, so that any edit, copy or restored backup just packs anew. Files appear whole, by renaming, and are
// never written again.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/thread_team.h"
#include "formats/file_tensor.h"
#include "kernels/packed_matrix.h"
#include "model/repack.h"

namespace chorus {

class TensorSource;

// To be increased with any change of what repack() writes; repack_test.cc notices one.
constexpr int kPackedVersion = 1;

// Where packed models are kept, and what came of it.
struct PackedCache {
  std::string directory;                // empty: nowhere
  size_t min_bytes = size_t{32} << 20;  // a smaller model is packed faster than it is worth keeping
  std::string problem;                  // out: why the packed form could not be kept, or empty
};

// A matrix that a model needs and where it comes from.
struct MatrixJob {
  OwnedMatrix* out;
  const FileTensor* tensor;
  RowOrder order;
};

// Fills the views of all jobs from the cache, into which the matrices are packed first if need be (one at a
// time, so that no more than the largest is in memory besides). nullptr: there is no cache, or it cannot be
// used; then nothing is filled and cache.problem says why. The views live as long as the file. Older files of
// this model, and files of models that are gone, are removed from the directory when one is written.
std::unique_ptr<MappedFile> load_packed(PackedCache& cache, const TensorSource& source,
                                        std::span<const MatrixJob> jobs, ThreadTeam& team);

}  // namespace chorus
