#include "kernels/cpu/linear_tasks.h"

#include <algorithm>

#include "kernels/cpu/quantized_rows.h"

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

}  // namespace

void run_linear(const Leaves& leaves, TeamMember& member, const LinearArgs& args) {
  MatmulArgs whole = whole_matmul(*args.weight, args.x, args.rows, args.y, args.y_stride);
  whole.quantized = args.quantized;
  whole.bias = args.bias;
  whole.add = args.accumulate;
  if (args.rows <= kStaticRows) {
    const Range strips = member.share(whole.strip_count);
    if (strips.begin < strips.end) leaves.matmul(part(whole, strips, {0, args.rows}));
    return;
  }
  const int64_t row_chunks = (args.rows + kChunkRows - 1) / kChunkRows;
  const int64_t strips = chunk_strips(whole);
  const int64_t strip_chunks = (whole.strip_count + strips - 1) / strips;
  member.for_chunks(strip_chunks * row_chunks, [&](int64_t chunk) {
    const int64_t strip = chunk / row_chunks * strips, row = chunk % row_chunks * kChunkRows;
    leaves.matmul(part(whole, {strip, std::min<int64_t>(strip + strips, whole.strip_count)},
                       {row, std::min<int64_t>(row + kChunkRows, args.rows)}));
  });
}

void run_lora_shrink(const Leaves& leaves, TeamMember& member, const LoraArgs& args) {
  int64_t tasks = 0;
  for (const LoraSlice& slice : args.slices) tasks += shrink_tasks(slice);
  for_tasks(member, tasks, is_short(args), [&](int64_t index) {
    const ShrinkTask task = shrink_task(args, index);
    const LoraSlice& slice = *task.slice;
    const int rows = slice.row_end - slice.row_begin;
    const MatmulArgs whole =
        whole_matmul(slice.a, args.x + int64_t{slice.row_begin} * slice.a.cols, rows, slice.u, slice.a.rows);
    leaves.matmul(part(whole, {task.strip, task.strip + 1},
                       {task.row, std::min<int64_t>(task.row + kShrinkRows, rows)}));
  });
}

void run_lora_expand_add(const Leaves& leaves, TeamMember& member, const LoraArgs& args) {
  if (args.slices.empty()) return;
  // Whoever has a strip adds all slices to it, in order.
  const auto add_strips = [&](Range strips) {
    if (strips.begin >= strips.end) return;
    for (const LoraSlice& slice : args.slices) {
      MatmulArgs whole = whole_matmul(slice.b, slice.u, slice.row_end - slice.row_begin,
                                      args.y + slice.row_begin * args.y_stride, args.y_stride);
      whole.add = true;
      whole.scale = slice.scale;
      leaves.matmul(part(whole, strips, {0, whole.rows}));
    }
  };
  const int64_t strips = round_up(args.slices.front().b.rows, kStripRows) / kStripRows;
  if (is_short(args)) return add_strips(member.share(strips));
  constexpr int64_t kStrips = 2;
  member.for_chunks((strips + kStrips - 1) / kStrips, [&](int64_t chunk) {
    add_strips({chunk * kStrips, std::min(strips, (chunk + 1) * kStrips)});
  });
}

}  // namespace chorus
