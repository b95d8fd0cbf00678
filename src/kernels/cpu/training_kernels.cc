// The CPU's tables of training ops; see cpu_kernels.cc.

#include "kernels/cpu/training_kernels.h"

#include "kernels/cpu/cpu_kernels.h"
#include "kernels/cpu/training_tasks.h"
#include "kernels/dropout.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

template <const TrainingLeaves& kLeaves>
void linear_backward(Stream& stream, const LinearBackwardArgs& args) {
  run_linear_backward(kLeaves.base, *stream.member, args);
}

template <const TrainingLeaves& kLeaves>
void lora_backward(Stream& stream, const LoraBackwardArgs& args) {
  run_lora_backward(kLeaves, *stream.member, args);
}

void dora_backward(Stream& stream, const DoraBackwardArgs& args) { run_dora_backward(*stream.member, args); }

template <const TrainingLeaves& kLeaves>
void dropout(Stream& stream, const DropoutArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const DropoutSeed seed = dropout_seed(args.key, args.row_keys[r]);
    kLeaves.dropout(args.x + r * args.cols, args.cols, seed.add, seed.flip, args.p, args.accumulate,
                    args.y + r * args.cols);
  }
}

template <const TrainingLeaves& kLeaves>
void rms_norm_backward(Stream& stream, const RmsNormBackwardArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const int64_t at = r * args.cols;
    kLeaves.rms_norm_backward(args.x + at, args.dy + at, args.weight, args.cols, args.eps, args.accumulate,
                              args.dx + at);
  }
}

template <const TrainingLeaves& kLeaves>
void gated_backward(Stream& stream, const GatedBackwardArgs& args) {
  const Range range = stream.member->share(args.count, kStripRows);
  kLeaves.gated_backward(args, range.begin, range.end);
}

template <const TrainingLeaves& kLeaves>
void attention_backward(Stream& stream, const AttentionBackwardArgs& args) {
  run_attention_backward(kLeaves, *stream.member, args);
}

template <const TrainingLeaves& kLeaves>
void cross_entropy(Stream& stream, const CrossEntropyArgs& args) {
  stream.member->for_chunks(args.rows, [&](int64_t row) { kLeaves.cross_entropy(args, row); });
}

template <const TrainingLeaves& kLeaves>
constexpr TrainingKernels make_table(const char* name, const Kernels* forward = nullptr) {
  return {
      .name = name,
      .forward = forward,
      .linear_backward = linear_backward<kLeaves>,
      .lora_backward = lora_backward<kLeaves>,
      .dora_backward = dora_backward,
      .dropout = dropout<kLeaves>,
      .rms_norm_backward = rms_norm_backward<kLeaves>,
      .gated_backward = gated_backward<kLeaves>,
      .attention_backward = attention_backward<kLeaves>,
      .cross_entropy = cross_entropy<kLeaves>,
  };
}

}  // namespace

constinit const TrainingKernels kPortableTrainingKernels = make_table<kPortableTraining>("portable");
constinit const TrainingKernels kAvx2TrainingKernels = make_table<kAvx2Training>("avx2");
constinit const TrainingKernels kAvx512TrainingKernels = make_table<kAvx512Training>("avx512");
constinit const TrainingKernels kAvx512Bf16TrainingKernels = make_table<kAvx512Bf16Training>("avx512bf16");
constinit const TrainingKernels kAmxTrainingKernels = make_table<kAmxTraining>("amx", &kAmxBf16Kernels);

}  // namespace chorus
