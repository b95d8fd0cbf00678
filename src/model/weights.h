#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "base/buffer.h"
#include "base/mapped_file.h"
#include "base/thread_team.h"
#include "kernels/packed_matrix.h"
#include "model/config.h"
#include "model/target.h"

namespace chorus {

class TensorSource;
struct PackedCache;

// A packed matrix and its memory.
struct OwnedMatrix {
  PackedMatrix view;        // data == nullptr: the model has no such matrix
  Buffer<std::byte> bytes;  // empty: it is in the model's packed file
};

using NormWeight = Buffer<float>;  // empty: no such norm

struct LayerWeights {
  std::array<OwnedMatrix, kLayerTargets> linears;  // by Target
  NormWeight attention_norm, ffn_norm;             // [hidden], before attention and MLP
  NormWeight attention_post_norm, ffn_post_norm;   // [hidden]
  NormWeight q_norm, k_norm;                       // [head_dim]
};

// A base model: its configuration and packed weights, immutable once loaded.
struct Model {
  ModelConfig config;
  std::vector<LayerWeights> layers;
  OwnedMatrix embedding;                    // [vocab, hidden]
  OwnedMatrix head;                         // [vocab, hidden]; none if tied
  NormWeight final_norm;                    // [hidden]
  std::unique_ptr<MappedFile> packed_file;  // nullptr: every matrix has its own memory
  std::string id;  // hex SHA-256 over configuration, tensor names, shapes, types and a sample of their bytes:
                   // the base's part of every cache key
  const PackedMatrix& head_matrix() const { return config.tied_head ? embedding.view : head.view; }
  const PackedMatrix& linear(int layer, Target target) const;
  size_t bytes() const;  // of all weights, in memory or mapped
  // What a step has to do at least: the bytes of the layers' linears and the head, which it reads once, and
  // the products of one row with all linears of the layers.
  size_t step_bytes() const;
  int64_t row_products() const;
};

// Model::id of what a source holds; reads 2 KiB of each tensor.
std::string model_id(const TensorSource& source);

// Loads a GGUF file or a Hugging Face directory (config.json, *.safetensors), packing on the team's threads.
// The file's pages are given back tensor by tensor, so that the peak is the packed size plus one tensor. With
// a cache, the matrices are mapped from there (see packed_cache.h). Errors name file and tensor: a missing
// tensor, an unused one, a wrong shape; a cache that cannot be used is none.
Model load_model(TensorSource& source, ThreadTeam& team, PackedCache& cache);
Model load_model(const std::string& path, ThreadTeam& team);

}  // namespace chorus
