#pragma once

#include <cstdint>
#include <span>

#include "base/buffer.h"
#include "base/thread_team.h"
#include "train/lora_parameters.h"

namespace chorus {

struct AdamWOptions {
  double learning_rate = 2e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double weight_decay = 0;  // decoupled (Loshchilov and Hutter, arXiv:1711.05101)
  double b_ratio = 1;       // B's learning rate over A's: LoRA+ (arXiv:2402.12354)
  double clip_norm = 1;     // the gradient's longest length; 0: any
};

enum class ScheduleKind : uint8_t { kConstant, kLinear, kCosine };

// What the learning rate is multiplied with.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  int64_t warmup = 0, steps = 1;
  // Of step 0, 1, ... steps - 1: rises linearly over the warmup, to 1 at its end, then stays, or falls to 0
  // just past the last.
  double factor(int64_t step) const;
};

// The length of a vector, summed in double in fixed pieces.
double norm(ThreadTeam& team, std::span<const float> values);

// AdamW over the parameters of one adapter. Moments are f32, or a byte each: in blocks of 256 that share
// their largest, on a curve that keeps small ones (the root for the first moment, the fourth root, rounded
// up, for the second, so that no step is divided by a moment that became 0).
class AdamW {
 public:
  AdamW(size_t count, bool eight_bit);

  // One step along `gradient`, which is clipped first; `factor` is of the schedule. Returns the gradient's
  // length before that. The same bytes at any number of threads.
  double step(ThreadTeam& team, const AdamWOptions& options, double factor, LoraParameters& parameters,
              std::span<const float> gradient);

  int64_t steps() const { return steps_; }
  // The moments' bytes and the count of steps, to be kept and set again.
  std::span<std::byte> state() { return state_.span(); }
  std::span<const std::byte> state() const { return state_.span(); }
  void set_steps(int64_t steps) { steps_ = steps; }
  bool eight_bit() const { return eight_bit_; }

 private:
  size_t count_;
  bool eight_bit_;
  int64_t steps_ = 0;
  Buffer<std::byte> state_;
};

}  // namespace chorus
