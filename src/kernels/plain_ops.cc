#include "kernels/plain_ops.h"

#include <algorithm>
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

void gather_rows(Stream& stream, const GatherArgs& args) {
  const TeamMember::Range range = stream.member->share(args.rows);
  for (int64_t r = range.begin; r < range.end; ++r) {
    const float* from = args.x + int64_t{args.row_index[r]} * args.cols;
    std::copy(from, from + args.cols, args.y + r * args.cols);
  }
}

}  // namespace chorus
