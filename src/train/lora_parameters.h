#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "model/adapter_file.h"
#include "model/config.h"

namespace chorus {

// What a LoRA in training looks like.
struct LoraShape {
  int rank = 8;
  double alpha = 16;
  bool rslora = false;
  bool dora = false;  // not of the head
  std::vector<Target> targets = {};
  std::vector<int> layers = {};           // whose linears; ascending; empty: all
  std::vector<ModulePlace> modules = {};  // not empty: these, and the two above do not count
};

bool adapts(const LoraShape& shape, int layer, Target target);

// One adapted linear: y += scale B A x; `layer` is 0 of the head. Offsets are into the flat buffers of
// LoraParameters.
struct LoraLinear {
  int layer = 0;
  Target target = Target::kQ;
  int in = 0, out = 0;
  size_t a = 0;  // [rank, in], row-major
  size_t b = 0;  // [out, rank]
  size_t m = 0;  // [out], the lengths of rows: of DoRA only
};

// The adapted linears of a group, which share an input.
struct LoraGroup {
  int layer = 0;
  InputGroup group = InputGroup::kQkv;
  size_t first = 0, count = 0;  // of linears()
  int in = 0;
  size_t a = 0;  // the A of all, [count x rank, in]
  size_t b = 0;  // their B follow
  size_t m = 0;  // with DoRA, then the lengths of their rows
};

// The A and B of an adapter in f32, one after the other in one flat buffer: by layer and group, the head
// last; of a group the A of each target, then the B of each, with DoRA then the lengths of each. Gradients
// and moments are buffers of the same shape.
class LoraParameters {
 public:
  // A is uniform in +-1 / sqrt(in), as PEFT starts it (Kaiming with a = sqrt 5), B is 0; equal seeds give
  // equal values. Lengths are the base's, which set_lengths() must say.
  LoraParameters(const ModelConfig& config, const LoraShape& shape, uint64_t seed);

  const std::vector<LoraLinear>& linears() const { return linears_; }
  // nullptr: it is not adapted.
  const LoraLinear* find(int layer, Target target) const;
  const std::vector<LoraGroup>& groups() const { return groups_; }
  const LoraGroup* find(int layer, InputGroup group) const;
  int rank() const { return shape_.rank; }
  float scale() const { return scale_; }  // alpha / rank, or alpha / sqrt(rank)
  const LoraShape& shape() const { return shape_; }
  std::span<float> values() { return values_.span(); }
  std::span<const float> values() const { return values_.span(); }
  void set_lengths(size_t linear, std::span<const float> lengths);
  int lowest_layer() const;  // as many as there are: the head alone is adapted

  // The same as an adapter's file would have it: views of values().
  AdapterFile file() const;
  // The A of a group as [in, count x rank], at the group's offset in `out`, which is as large as values().
  void transpose_a(const LoraGroup& group, std::span<float> out) const;

 private:
  void add(const ModelConfig& config, int layer, Target target);
  size_t lay_out();

  LoraShape shape_;
  float scale_ = 1;
  std::vector<LoraLinear> linears_;
  std::vector<LoraGroup> groups_;
  size_t layers_;                  // of the base
  std::vector<int> places_;        // layer x kLayerTargets, then the head: index into linears_, or -1
  std::vector<int> group_places_;  // layer x kLayerGroups, then the head: index into groups_, or -1
  Buffer<float> values_;
};

// Uniform in [0, 1): the `index`-th number of the stream `key`, the same on every machine and in any order.
double uniform_at(uint64_t key, uint64_t index);
// A key that differs for each (seed, stream).
uint64_t stream_key(uint64_t seed, uint64_t stream);

}  // namespace chorus
