#include "kernels/plain_ops.h"

#include <cmath>

namespace chorus {

void rope_table(Stream& stream, const RopeTableArgs& args) {
  const TeamMember::Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    for (int i = 0; i < args.dim / 2; ++i) {
      // The product is rounded to f32 as in transformers: that is the model's definition.
      const float angle = static_cast<float>(args.positions[r]) * args.inv_freq[i];
      float* pair = args.table + r * args.dim + 2 * i;
      pair[0] = std::cos(angle) * args.attention_factor;
      pair[1] = std::sin(angle) * args.attention_factor;
    }
  }
}

}  // namespace chorus
