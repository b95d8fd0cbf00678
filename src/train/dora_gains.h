#pragma once

#include <span>
#include <vector>

#include "base/buffer.h"
#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "model/activations.h"
#include "model/weights.h"
#include "train/lora_parameters.h"

namespace chorus {

// DoRA in training (arXiv:2402.09353): row o of y is gain_o (W + scale B A)_o x, and
// gain_o = magnitude_o / |(W + scale B A)_o|. The length changes with every step; it is made of W A^T, a
// product of `rank` rows with the base, and of A A^T, so W + scale B A itself is never there.
class DoraGains {
 public:
  // All must outlive it, and the parameters stay where they are.
  DoraGains(const LoraParameters& parameters, const Model& model, const Kernels& kernels);

  // The lengths of the base's rows, which is what magnitudes begin with; before any update().
  std::vector<float> base_lengths(ThreadTeam& team, size_t linear);
  // Makes the gains of all linears from the parameters as they are now. The same bytes for any team.
  void update(ThreadTeam& team);
  std::span<const float> of(size_t linear) const;  // [out]; an index of LoraParameters::linears()

 private:
  void update(Stream& stream, size_t linear);

  const LoraParameters& parameters_;
  const Model& model_;
  const Kernels& kernels_;
  std::vector<size_t> offsets_;  // of a linear's rows in the next two; and their end
  Buffer<double> squares_;       // of the lengths of the base's rows
  Buffer<float> gains_;
  Activations a_;            // rows of A as the kernels multiply them
  Buffer<float> projected_;  // W A^T transposed, [rank, out] of the linear at hand
  Buffer<double> gram_;      // A A^T, [rank, rank], likewise
};

}  // namespace chorus
