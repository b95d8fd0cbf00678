#include "model/weights.h"

#include <cmath>

#include "base/error.h"
#include "base/sha256.h"
#include "formats/quant_blocks.h"
#include "model/packed_cache.h"
#include "model/repack.h"
#include "model/tensor_source.h"

namespace chorus {
namespace {

enum class Norm : uint8_t { kAttention, kAttentionPost, kFfn, kFfnPost, kQ, kK };

// The names of one architecture family's tensors in one kind of file.
class Names {
 public:
  Names(bool gguf, bool post_norms) : gguf_(gguf), post_norms_(post_norms) {}

  std::string embedding() const { return gguf_ ? "token_embd.weight" : "model.embed_tokens.weight"; }
  std::string head() const { return gguf_ ? "output.weight" : "lm_head.weight"; }
  std::string final_norm() const { return gguf_ ? "output_norm.weight" : "model.norm.weight"; }
  std::string linear(int layer, Target target) const {
    const TargetInfo info = target_info(target);
    return in_layer(layer, gguf_ ? info.gguf_name : info.hf_module);
  }
  std::string norm(int layer, Norm norm) const {
    return in_layer(layer, gguf_ ? gguf_norm(norm) : hf_norm(norm));
  }

 private:
  std::string in_layer(int layer, std::string_view name) const {
    return fmt::format("{}.{}.{}.weight", gguf_ ? "blk" : "model.layers", layer, name);
  }
  static std::string_view gguf_norm(Norm norm) {
    switch (norm) {
      case Norm::kAttention:
        return "attn_norm";
      case Norm::kAttentionPost:
        return "post_attention_norm";
      case Norm::kFfn:
        return "ffn_norm";
      case Norm::kFfnPost:
        return "post_ffw_norm";
      case Norm::kQ:
        return "attn_q_norm";
      case Norm::kK:
        return "attn_k_norm";
    }
    return {};
  }
  // Hugging Face's post_attention_layernorm precedes the MLP, except where there are post norms.
  std::string_view hf_norm(Norm norm) const {
    switch (norm) {
      case Norm::kAttention:
        return "input_layernorm";
      case Norm::kAttentionPost:
        return "post_attention_layernorm";
      case Norm::kFfn:
        return post_norms_ ? "pre_feedforward_layernorm" : "post_attention_layernorm";
      case Norm::kFfnPost:
        return "post_feedforward_layernorm";
      case Norm::kQ:
        return "self_attn.q_norm";
      case Norm::kK:
        return "self_attn.k_norm";
    }
    return {};
  }

  bool gguf_, post_norms_;
};

class Loader {
 public:
  Loader(TensorSource& source, ThreadTeam& team)
      : source_(source),
        team_(team),
        config_(source.config()),
        names_(source.is_gguf(), config_.post_norms) {}

  // Everything is found and of the right shape before anything is packed.
  Model load(PackedCache& cache) {
    Model model;
    model.config = config_;
    model.id = model_id(source_);
    model.layers.resize(config_.layers.size());
    matrix(model.embedding, names_.embedding(), {config_.vocab, config_.hidden}, {});
    if (!config_.tied_head) matrix(model.head, names_.head(), {config_.vocab, config_.hidden}, {});
    model.final_norm = norm(names_.final_norm(), config_.hidden);
    for (size_t i = 0; i < model.layers.size(); ++i) layer(model.layers[i], static_cast<int>(i));
    source_.skip(source_.is_gguf() ? "rope_freqs.weight"
                                   : names_.head());  // read already; a copy of the embedding
    source_.require_all_taken();
    model.packed_file = load_packed(cache, source_, jobs_, team_);
    if (model.packed_file == nullptr) pack();
    return model;
  }

 private:
  void layer(LayerWeights& w, int index) {
    for (int t = 0; t < kLayerTargets; ++t) {
      const auto target = static_cast<Target>(t);
      const bool permuted = config_.permuted_qk && (target == Target::kQ || target == Target::kK);
      matrix(w.linears[static_cast<size_t>(t)], names_.linear(index, target), target_shape(config_, target),
             {permuted ? config_.head_dim : 0});
    }
    w.attention_norm = norm(names_.norm(index, Norm::kAttention), config_.hidden);
    w.ffn_norm = norm(names_.norm(index, Norm::kFfn), config_.hidden);
    if (config_.post_norms) {
      w.attention_post_norm = norm(names_.norm(index, Norm::kAttentionPost), config_.hidden);
      w.ffn_post_norm = norm(names_.norm(index, Norm::kFfnPost), config_.hidden);
    }
    if (config_.qk_norm) {
      w.q_norm = norm(names_.norm(index, Norm::kQ), config_.head_dim);
      w.k_norm = norm(names_.norm(index, Norm::kK), config_.head_dim);
    }
  }

  void matrix(OwnedMatrix& out, const std::string& name, LinearShape shape, RowOrder order) {
    const FileTensor& tensor =
        source_.take(name, {static_cast<uint64_t>(shape.out), static_cast<uint64_t>(shape.in)});
    jobs_.push_back({&out, &tensor, order});
  }

  void pack() {
    for (const MatrixJob& job : jobs_) {
      *job.out = repack(*job.tensor, job.order, team_, source_.path());
      source_.release(*job.tensor);
    }
  }

  NormWeight norm(const std::string& name, int size) {
    const FileTensor& tensor = source_.take(name, {static_cast<uint64_t>(size)});
    NormWeight weight(static_cast<size_t>(size));
    dequantize(tensor.type, tensor.data, weight.span());
    for (float& value : weight.span()) {
      if (!std::isfinite(value)) fail("{}: tensor {} holds a value that is not finite", source_.path(), name);
      if (config_.norm_plus_one) value += 1;
    }
    return weight;
  }

  TensorSource& source_;
  ThreadTeam& team_;
  const ModelConfig& config_;
  Names names_;
  std::vector<MatrixJob> jobs_;
};

size_t bytes_of(const PackedMatrix& matrix) { return matrix.data == nullptr ? 0 : packed_bytes(matrix); }

}  // namespace

// A sample of each tensor's bytes, as hashing all would take longer than loading.
std::string model_id(const TensorSource& source) {
  constexpr size_t kSample = 1024;
  Sha256 hash;
  hash.add(source.config().architecture);
  for (const FileTensor* tensor : source.sorted()) {
    hash.add(fmt::format("\n{} {} {}\n", tensor->name, dtype_info(tensor->type).name,
                         fmt::join(tensor->shape, "x")));
    hash.add(tensor->data.first(std::min(kSample, tensor->data.size())));
    hash.add(tensor->data.last(std::min(kSample, tensor->data.size())));
  }
  return to_hex(hash.finish());
}

const PackedMatrix& Model::linear(int layer, Target target) const {
  return layers[static_cast<size_t>(layer)].linears[static_cast<size_t>(target)].view;
}

size_t Model::bytes() const {
  size_t total = bytes_of(embedding.view) + bytes_of(head.view) + final_norm.bytes();
  for (const LayerWeights& layer : layers) {
    for (const OwnedMatrix& linear : layer.linears) total += bytes_of(linear.view);
    for (const NormWeight* norm : {&layer.attention_norm, &layer.ffn_norm, &layer.attention_post_norm,
                                   &layer.ffn_post_norm, &layer.q_norm, &layer.k_norm}) {
      total += norm->bytes();
    }
  }
  return total;
}

size_t Model::step_bytes() const {
  size_t total = bytes_of(head_matrix());
  for (const LayerWeights& layer : layers) {
    for (const OwnedMatrix& linear : layer.linears) total += bytes_of(linear.view);
  }
  return total;
}

int64_t Model::row_products() const {
  int64_t total = 0;
  for (const LayerWeights& layer : layers) {
    for (const OwnedMatrix& linear : layer.linears) total += int64_t{linear.view.rows} * linear.view.cols;
  }
  return total;
}

Model load_model(TensorSource& source, ThreadTeam& team, PackedCache& cache) {
  return Loader(source, team).load(cache);
}

Model load_model(const std::string& path, ThreadTeam& team) {
  TensorSource source = TensorSource::open(path);
  PackedCache none;
  return load_model(source, team, none);
}

}  // namespace chorus
