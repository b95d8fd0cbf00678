// How the CPU tables share an op out to the members of a team. Compiled for the baseline: the arithmetic is
// in the leaves.

#include "kernels/cpu/cpu_kernels.h"

#include <algorithm>

#include "kernels/cpu/attention_tasks.h"
#include "kernels/cpu/linear_tasks.h"
#include "kernels/cpu/quantized_rows.h"
#include "kernels/pack.h"
#include "kernels/plain_ops.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

void sync(Stream& stream) { stream.member->barrier(); }

// f(row, column, columns) over this member's share of rows x cols, in whole blocks of 64 columns.
template <typename F>
void for_blocks(TeamMember& member, int rows, int cols, F&& f) {
  const int64_t blocks = round_up(cols, kBlockCols) / kBlockCols;
  const Range range = member.share(rows * blocks);
  for (int64_t i = range.begin; i < range.end;) {
    const int64_t row = i / blocks, block = i % blocks;
    const int64_t end = std::min(blocks, block + range.end - i);
    const auto column = static_cast<int>(block * kBlockCols);
    f(row, column, std::min(cols, static_cast<int>(end) * kBlockCols) - column);
    i += end - block;
  }
}

template <const Leaves& kLeaves>
void linear_group(Stream& stream, const LinearGroupArgs& args) {
  run_linear_group(kLeaves, *stream.member, args);
}

template <const Leaves& kLeaves>
void quantize(Stream& stream, const QuantizeArgs& args) {
  for_blocks(*stream.member, args.rows, args.cols, [&](int64_t row, int column, int columns) {
    kLeaves.quantize(args.x + row * args.cols + column, columns, padded_groups(columns),
                     from_row(args.out, row, args.cols, column));
  });
}

void embed(Stream& stream, const EmbedArgs& args) {
  const int cols = args.weight->cols;
  for_blocks(*stream.member, args.rows, cols, [&](int64_t row, int column, int columns) {
    float* y = args.y + row * cols + column;
    unpack_row(*args.weight, args.tokens[row], column, column + columns, y);
    for (int i = 0; i < columns; ++i) y[i] *= args.scale;
  });
}

template <const Leaves& kLeaves>
void rms_norm(Stream& stream, const RmsNormArgs& args) {
  const Range rows = args.alone ? Range{0, args.rows} : stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.x + (args.row_index == nullptr ? r : args.row_index[r]) * args.x_stride;
    float* y = args.y + r * args.y_stride;
    kLeaves.rms_norm(x, args.weight, args.cols, args.eps, args.accumulate, y);
    if (args.quantized.quants != nullptr) {
      kLeaves.quantize(y, args.cols, padded_groups(args.cols), from_row(args.quantized, r, args.cols));
    }
  }
}

template <const Leaves& kLeaves>
void attention(Stream& stream, const AttentionArgs& args) {
  run_attention(kLeaves, *stream.member, args);
}

template <const Leaves& kLeaves>
void soft_cap(Stream& stream, const SoftCapArgs& args) {
  const Range range = stream.member->share(args.count, kStripRows);
  kLeaves.soft_cap(args.x + range.begin, range.end - range.begin, args.cap);
}

template <const Leaves& kLeaves>
constexpr Kernels make_table(const char* name, bool int8_activations = true) {
  return {
      .name = name,
      .default_kv = KvType::kI8,
      .exact_kv = KvType::kF16,
      .int8_activations = int8_activations,
      .sync = sync,
      .quantize = quantize<kLeaves>,
      .embed = embed,
      .rms_norm = rms_norm<kLeaves>,
      .linear_group = linear_group<kLeaves>,
      .rope_table = rope_table,
      .attention = attention<kLeaves>,
      .soft_cap = soft_cap<kLeaves>,
  };
}

}  // namespace

constinit const Kernels kPortableKernels = make_table<kPortableLeaves>("portable");
constinit const Kernels kAvx2Kernels = make_table<kAvx2Leaves>("avx2");
constinit const Kernels kAvxVnniKernels = make_table<kAvxVnniLeaves>("avxvnni");
constinit const Kernels kAvx512Kernels = make_table<kAvx512Leaves>("avx512");
constinit const Kernels kAvx512VnniKernels = make_table<kAvx512VnniLeaves>("avx512vnni");
constinit const Kernels kAvx512Bf16Kernels = make_table<kAvx512Bf16Leaves>("avx512bf16");
constinit const Kernels kVnniBf16Kernels = make_table<kVnniBf16Leaves>("vnnibf16");
constinit const Kernels kAmxKernels = make_table<kAmxLeaves>("amx");
constinit const Kernels kAmxBf16Kernels = make_table<kAmxBf16Leaves>("amxbf16", false);

}  // namespace chorus
