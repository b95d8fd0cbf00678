// How the CPU tables share an op out to the members of a team. Compiled for the baseline: the arithmetic is
// in the leaves.

#include "kernels/cpu/cpu_kernels.h"

#include <algorithm>

#include "kernels/cpu/attention_tasks.h"
#include "kernels/pack.h"
#include "kernels/plain_ops.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

// Up to this many rows an op is memory bound and short: fixed shares, no shared counter. Above, chunks go to
// whichever member is free, so that a busy core delays only its own chunk.
constexpr int kStaticRows = 16;

// f(task) for this member's tasks of 0..count - 1.
template <typename F>
void for_tasks(TeamMember& member, int64_t count, bool fixed, F&& f) {
  if (!fixed) return member.for_chunks(count, f);
  const Range range = member.share(count);
  for (int64_t i = range.begin; i < range.end; ++i) f(i);
}

void sync(Stream& stream) { stream.member->barrier(); }

QuantizedRows from_row(const QuantizedRows& rows, int64_t row, int cols, int column = 0) {
  if (rows.quants == nullptr) return rows;
  const int64_t padded = round_up(cols, kBlockCols);
  const int64_t group = (row * padded + column) / kGroupCols;
  QuantizedRows out = {rows.quants + row * padded + column, rows.scales + group, rows.sums + group};
  if (rows.rest != nullptr) {
    out.rest = rows.rest + row * padded + column;
    out.rest_sums = rows.rest_sums + group;
  }
  return out;
}

// Strips [strips.begin, strips.end) and rows [rows.begin, rows.end) of `whole`.
MatmulArgs part(const MatmulArgs& whole, Range strips, Range rows) {
  const int64_t column = strips.begin * kStripRows;
  MatmulArgs part = whole;
  part.strips += whole.strip_bytes * static_cast<size_t>(strips.begin);
  part.strip_count = static_cast<int>(strips.end - strips.begin);
  part.columns = static_cast<int>(std::min(whole.columns - column, (strips.end - strips.begin) * kStripRows));
  if (part.x != nullptr) part.x += rows.begin * whole.k;
  part.quantized = from_row(whole.quantized, rows.begin, whole.k);
  part.rows = static_cast<int>(rows.end - rows.begin);
  part.y += rows.begin * whole.y_stride + column;
  if (part.bias != nullptr) part.bias += column;
  return part;
}

MatmulArgs whole_matmul(const PackedMatrix& w, const float* x, int rows, float* y, int64_t y_stride) {
  MatmulArgs args;
  args.strips = w.data;
  args.strip_bytes = strip_bytes(w.layout, w.has_min, w.cols);
  args.strip_count = round_up(w.rows, kStripRows) / kStripRows;
  args.k = w.cols;
  args.layout = w.layout;
  args.has_min = w.has_min;
  args.x = x;
  args.rows = rows;
  args.y = y;
  args.y_stride = y_stride;
  args.columns = w.rows;
  return args;
}

// Strips of one chunk of a prefill: about 10 M products, some 50 us, and an even number for the tile.
constexpr int kChunkRows = 48;
int64_t chunk_strips(const MatmulArgs& args) {
  const int64_t strips = 10'000'000 / (int64_t{kChunkRows} * kStripRows * std::max(args.k, 1));
  return std::clamp<int64_t>(strips / 2 * 2, 2, 32);
}

template <const Leaves& kLeaves>
void linear(Stream& stream, const LinearArgs& args) {
  MatmulArgs whole = whole_matmul(*args.weight, args.x, args.rows, args.y, args.y_stride);
  whole.quantized = args.quantized;
  whole.bias = args.bias;
  whole.add = args.accumulate;
  if (args.rows <= kStaticRows) {
    const Range strips = stream.member->share(whole.strip_count);
    if (strips.begin < strips.end) kLeaves.matmul(part(whole, strips, {0, args.rows}));
    return;
  }
  const int64_t row_chunks = (args.rows + kChunkRows - 1) / kChunkRows;
  const int64_t strips = chunk_strips(whole);
  const int64_t strip_chunks = (whole.strip_count + strips - 1) / strips;
  stream.member->for_chunks(strip_chunks * row_chunks, [&](int64_t chunk) {
    const int64_t strip = chunk / row_chunks * strips, row = chunk % row_chunks * kChunkRows;
    kLeaves.matmul(part(whole, {strip, std::min<int64_t>(strip + strips, whole.strip_count)},
                        {row, std::min<int64_t>(row + kChunkRows, args.rows)}));
  });
}

struct ShrinkTask {
  const LoraSlice* slice;
  int64_t strip, row;  // row in the slice
};

constexpr int kShrinkRows = 24;

int64_t shrink_tasks(const LoraSlice& slice) {
  const int64_t row_chunks = (slice.row_end - slice.row_begin + kShrinkRows - 1) / kShrinkRows;
  return row_chunks * (round_up(slice.a.rows, kStripRows) / kStripRows);
}

ShrinkTask shrink_task(const LoraArgs& args, int64_t task) {
  for (const LoraSlice& slice : args.slices) {
    const int64_t tasks = shrink_tasks(slice), strips = round_up(slice.a.rows, kStripRows) / kStripRows;
    if (task < tasks) return {&slice, task % strips, task / strips * kShrinkRows};
    task -= tasks;
  }
  return {};
}

// Few rows altogether: the shares can be fixed.
bool is_short(const LoraArgs& args) {
  int64_t rows = 0;
  for (const LoraSlice& slice : args.slices) rows += slice.row_end - slice.row_begin;
  return rows <= kStaticRows;
}

template <const Leaves& kLeaves>
void lora_shrink(Stream& stream, const LoraArgs& args) {
  int64_t tasks = 0;
  for (const LoraSlice& slice : args.slices) tasks += shrink_tasks(slice);
  for_tasks(*stream.member, tasks, is_short(args), [&](int64_t index) {
    const ShrinkTask task = shrink_task(args, index);
    const LoraSlice& slice = *task.slice;
    const int rows = slice.row_end - slice.row_begin;
    const MatmulArgs whole =
        whole_matmul(slice.a, args.x + int64_t{slice.row_begin} * slice.a.cols, rows, slice.u, slice.a.rows);
    kLeaves.matmul(part(whole, {task.strip, task.strip + 1},
                        {task.row, std::min<int64_t>(task.row + kShrinkRows, rows)}));
  });
}

template <const Leaves& kLeaves>
void lora_expand_add(Stream& stream, const LoraArgs& args) {
  if (args.slices.empty()) return;
  // Whoever has a strip adds all slices to it, in order.
  const auto add_strips = [&](Range strips) {
    if (strips.begin >= strips.end) return;
    for (const LoraSlice& slice : args.slices) {
      MatmulArgs whole = whole_matmul(slice.b, slice.u, slice.row_end - slice.row_begin,
                                      args.y + slice.row_begin * args.y_stride, args.y_stride);
      whole.add = true;
      whole.scale = slice.scale;
      kLeaves.matmul(part(whole, strips, {0, whole.rows}));
    }
  };
  const int64_t strips = round_up(args.slices.front().b.rows, kStripRows) / kStripRows;
  if (is_short(args)) return add_strips(stream.member->share(strips));
  constexpr int64_t kStrips = 2;
  stream.member->for_chunks((strips + kStrips - 1) / kStrips, [&](int64_t chunk) {
    add_strips({chunk * kStrips, std::min(strips, (chunk + 1) * kStrips)});
  });
}

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
void quantize(Stream& stream, const QuantizeArgs& args) {
  for_blocks(*stream.member, args.rows, args.cols, [&](int64_t row, int column, int columns) {
    kLeaves.quantize(args.x + row * args.cols + column, columns, from_row(args.out, row, args.cols, column));
  });
}

template <const Leaves& kLeaves>
void gated_act(Stream& stream, const GatedActArgs& args) {
  for_blocks(*stream.member, args.rows, args.cols, [&](int64_t row, int column, int columns) {
    float* y = args.y + row * args.cols + column;
    const int64_t from = row * args.x_stride + column;
    kLeaves.gated_act(args.gate + from, args.up + from, columns, args.activation, y);
    if (args.quantized.quants == nullptr) return;
    kLeaves.quantize(y, columns, from_row(args.quantized, row, args.cols, column));
  });
}

void embed(Stream& stream, const EmbedArgs& args) {
  const int cols = args.weight->cols;
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* y = args.y + r * cols;
    unpack_row(*args.weight, args.tokens[r], 0, cols, y);
    for (int i = 0; i < cols; ++i) y[i] *= args.scale;
  }
}

template <const Leaves& kLeaves>
void rms_norm(Stream& stream, const RmsNormArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* y = args.y + r * args.y_stride;
    kLeaves.rms_norm(args.x + r * args.x_stride, args.weight, args.cols, args.eps, y);
    if (args.quantized.quants != nullptr) {
      kLeaves.quantize(y, args.cols, from_row(args.quantized, r, args.cols));
    }
  }
}

template <const Leaves& kLeaves>
void rope(Stream& stream, const RopeArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    kLeaves.rope(args.x + r * args.x_stride, args.table + r * args.dim, args.heads, args.dim);
  }
}

template <const Leaves& kLeaves>
void store_kv(Stream& stream, const StoreKvArgs& args) {
  const int64_t heads = args.kv.kv_heads, dim = args.kv.dim;
  const auto page_bytes = static_cast<int64_t>(kv_page_bytes(args.kv.type, 1, args.kv.dim));
  const Range tasks = stream.member->share(args.rows * heads);
  for (int64_t i = tasks.begin; i < tasks.end; ++i) {
    const int64_t row = i / heads, head = i % heads;
    const int64_t from = row * args.kv_stride + head * dim;
    const int64_t page = args.slots[row] / kPagePositions;
    kLeaves.store_kv(args.k + from, args.v + from, args.kv.dim, args.kv.type,
                     args.kv.data + (page * heads + head) * page_bytes,
                     static_cast<int>(args.slots[row] % kPagePositions));
  }
}

template <const Leaves& kLeaves>
void attention(Stream& stream, const AttentionArgs& args) {
  run_attention(kLeaves, *stream.member, args);
}

template <const Leaves& kLeaves>
void add(Stream& stream, const AddArgs& args) {
  const Range range = stream.member->share(args.count, kStripRows);
  kLeaves.add(args.x + range.begin, args.y + range.begin, range.end - range.begin);
}

template <const Leaves& kLeaves>
void soft_cap(Stream& stream, const SoftCapArgs& args) {
  const Range range = stream.member->share(args.count, kStripRows);
  kLeaves.soft_cap(args.x + range.begin, range.end - range.begin, args.cap);
}

template <const Leaves& kLeaves>
constexpr Kernels make_table(const char* name) {
  return {
      .name = name,
      .default_kv = KvType::kF16,
      .int8_activations = true,
      .sync = sync,
      .quantize = quantize<kLeaves>,
      .embed = embed,
      .rms_norm = rms_norm<kLeaves>,
      .linear = linear<kLeaves>,
      .lora_shrink = lora_shrink<kLeaves>,
      .lora_expand_add = lora_expand_add<kLeaves>,
      .rope_table = rope_table,
      .rope = rope<kLeaves>,
      .store_kv = store_kv<kLeaves>,
      .attention = attention<kLeaves>,
      .gated_act = gated_act<kLeaves>,
      .add = add<kLeaves>,
      .gather_rows = gather_rows,
      .soft_cap = soft_cap<kLeaves>,
  };
}

}  // namespace

constinit const Kernels kPortableKernels = make_table<kPortableLeaves>("portable");
constinit const Kernels kAvx2Kernels = make_table<kAvx2Leaves>("avx2");
constinit const Kernels kAvx512Kernels = make_table<kAvx512Leaves>("avx512");
constinit const Kernels kAvx512VnniKernels = make_table<kAvx512VnniLeaves>("avx512vnni");

}  // namespace chorus
