#include "kernels/cpu/linear_tasks.h"

#include <algorithm>
#include <cassert>

#include "kernels/cpu/quantized_rows.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

// Strips of each task, and rows.
struct Rectangle {
  std::array<Range, kMaxGroup> strips = {};
  Range rows = {};
};

constexpr int kStripsPerBlock = kBlockCols / kStripRows;

// The largest rectangle that DoRA's gain is applied to at once: what it needs beside y is on the stack.
constexpr int kGainRows = 48;
using GainTile = std::array<std::array<float, kBlockCols>, kGainRows>;

int strips_of(const PackedMatrix& w) { return round_up(w.rows, kStripRows) / kStripRows; }

MatmulArgs whole_matmul(const PackedMatrix& w, float* y, int64_t y_stride) {
  MatmulArgs args;
  args.strips = w.data;
  args.strip_bytes = strip_bytes(w.layout, w.has_min, w.cols);
  args.strip_count = strips_of(w);
  args.k = args.x_cols = w.cols;
  args.layout = w.layout;
  args.has_min = w.has_min;
  args.y = y;
  args.y_stride = y_stride;
  args.columns = w.rows;
  return args;
}

// Strips [strips.begin, strips.end) and rows [rows.begin, rows.end) of `whole`.
MatmulArgs part(const MatmulArgs& whole, Range strips, Range rows) {
  const int64_t column = strips.begin * kStripRows;
  MatmulArgs part = whole;
  part.strips += whole.strip_bytes * static_cast<size_t>(strips.begin);
  part.strip_count = static_cast<int>(strips.end - strips.begin);
  part.columns = static_cast<int>(std::min(whole.columns - column, (strips.end - strips.begin) * kStripRows));
  if (part.x != nullptr) part.x += rows.begin * whole.x_cols;
  part.quantized = from_row(whole.quantized, rows.begin, whole.x_cols);
  part.rows = static_cast<int>(rows.end - rows.begin);
  part.y += rows.begin * whole.y_stride + column;
  if (part.bias != nullptr) part.bias += column;
  return part;
}

// The columns [begin, end) of a product.
MatmulArgs of_columns(const MatmulArgs& whole, int64_t begin, int64_t end) {
  MatmulArgs part = whole;
  part.k_begin = static_cast<int>(begin);
  part.k = static_cast<int>(end - begin);
  if (part.x != nullptr) part.x += begin;
  part.quantized = from_row(whole.quantized, 0, whole.x_cols, part.k_begin);
  return part;
}

// One member's work in one op.
class GroupRun {
 public:
  GroupRun(const Leaves& leaves, TeamMember& member, const LinearGroupArgs& args)
      : leaves_(leaves), member_(member), args_(args), few_(args.rows <= kFewRows) {}

  // u = x A^T, to be followed by signal().
  void shrink() { few_ ? shrink_few() : shrink_many(); }

  void run(const Rectangle& rectangle) {
    for (size_t t = 0; t < args_.tasks.size(); ++t) {
      const bool gained = has_gain(t, rectangle.rows);
      gained ? multiply_gained(t, rectangle) : multiply_base(t, rectangle.strips[t], rectangle.rows);
    }
    if (!args_.slices.empty()) {
      await();
      for (const LoraSlice& slice : args_.slices) expand(slice, rectangle);
    }
    if (args_.gated.y != nullptr) activate(rectangle);
  }

  // Every member has to, whether it had work or not.
  void await() {
    if (awaited_) return;
    member_.await_signals();
    awaited_ = true;
  }

 private:
  MatmulArgs whole_shrink(const LoraSlice& slice) const {
    const PackedMatrix& a = slice.lora->a;
    MatmulArgs whole = whole_matmul(a, slice.u, a.rows);
    const float* x = args_.lora_x != nullptr ? args_.lora_x : args_.x;
    whole.x = x + int64_t{slice.row_begin} * a.cols;
    whole.quantized = from_row(args_.quantized, slice.row_begin, a.cols);
    whole.quantized.rest = nullptr;
    return whole;
  }

  // Tasks are (slice, strip, piece), each piece to its own place; expand() adds them.
  void shrink_few() {
    int64_t count = 0;
    for (const LoraSlice& slice : args_.slices) count += int64_t{strips_of(slice.lora->a)} * kShrinkPieces;
    const Range share = member_.share(count);
    int64_t first = 0;  // of the slice's tasks
    for (const LoraSlice& slice : args_.slices) {
      const PackedMatrix& a = slice.lora->a;
      const int rows = slice.row_end - slice.row_begin;
      const int64_t tasks = int64_t{strips_of(a)} * kShrinkPieces;
      const MatmulArgs whole = whole_shrink(slice);
      for (int64_t i = std::max(share.begin - first, int64_t{0}); i < std::min(share.end - first, tasks);
           ++i) {
        const int64_t strip = i / kShrinkPieces, piece = i % kShrinkPieces;
        MatmulArgs product =
            part(shrink_piece(whole, static_cast<int>(piece)), {strip, strip + 1}, {0, rows});
        product.y += piece * rows * a.rows;
        leaves_.matmul(product);
      }
      first += tasks;
    }
  }

  static MatmulArgs shrink_piece(const MatmulArgs& whole, int piece) {
    return of_columns(whole, shrink_begin(whole.k, piece),
                      std::min<int64_t>(shrink_begin(whole.k, piece + 1), whole.k));
  }

  // Strips of a chunk of the shrink, of about 2 M products.
  int64_t shrink_strips(const PackedMatrix& a) const {
    const int64_t rows = leaves_.shrink_rows;
    return std::clamp<int64_t>(leaves_.chunk_products / 5 / (rows * kStripRows * a.cols), 1, strips_of(a));
  }
  int64_t shrink_chunks(const LoraSlice& slice) const {
    const PackedMatrix& a = slice.lora->a;
    const int64_t strips = shrink_strips(a), rows = slice.row_end - slice.row_begin;
    return ((strips_of(a) + strips - 1) / strips) * ((rows + leaves_.shrink_rows - 1) / leaves_.shrink_rows);
  }

  // Tasks are chunks of rows and strips; the pieces are added up in place, in the same order.
  void shrink_many() {
    int64_t count = 0;
    for (const LoraSlice& slice : args_.slices) count += shrink_chunks(slice);
    member_.for_chunks(count, [&](int64_t chunk) {
      const LoraSlice* slice = args_.slices.data();
      for (; chunk >= shrink_chunks(*slice); ++slice) chunk -= shrink_chunks(*slice);
      const PackedMatrix& a = slice->lora->a;
      const int64_t rows = slice->row_end - slice->row_begin, all = strips_of(a), strips = shrink_strips(a);
      const int64_t strip_chunks = (all + strips - 1) / strips;
      const int64_t strip = chunk % strip_chunks * strips, row = chunk / strip_chunks * leaves_.shrink_rows;
      const MatmulArgs whole = whole_shrink(*slice);
      for (int piece = 0; piece < kShrinkPieces; ++piece) {
        MatmulArgs product = part(shrink_piece(whole, piece), {strip, std::min(all, strip + strips)},
                                  {row, std::min(rows, row + leaves_.shrink_rows)});
        product.add = piece > 0;
        leaves_.matmul(product);
      }
    });
  }

  void multiply_base(size_t t, Range strips, Range rows) const {
    const LinearTask& task = args_.tasks[t];
    if (strips.begin >= strips.end) return;
    MatmulArgs whole = whole_matmul(*task.weight, task.y, task.y_stride);
    whole.x = args_.x;
    whole.quantized = args_.quantized;
    if (!task.fine) whole.quantized.rest = nullptr;
    whole.bias = task.bias;
    whole.add = task.accumulate;
    leaves_.matmul(part(whole, strips, rows));
  }

  // Whether DoRA changes the task's product on some of the rows.
  bool has_gain(size_t t, Range rows) const {
    return std::ranges::any_of(args_.slices, [&](const LoraSlice& slice) {
      return slice.lora->gain[t].data != nullptr && slice.row_begin < rows.end && slice.row_end > rows.begin;
    });
  }

  // multiply_base() in tiles. Rows without a gain get the same bits.
  void multiply_gained(size_t t, const Rectangle& rectangle) const {
    const Range strips = rectangle.strips[t], rows = rectangle.rows;
    for (int64_t row = rows.begin; row < rows.end; row += kGainRows) {
      for (int64_t strip = strips.begin; strip < strips.end; strip += kStripsPerBlock) {
        multiply_gained_tile(t, {strip, std::min(strips.end, strip + kStripsPerBlock)},
                             {row, std::min(rows.end, row + kGainRows)});
      }
    }
  }

  // The product alone is needed for the gain: what it is to be added to waits in `kept`.
  void multiply_gained_tile(size_t t, Range strips, Range rows) const {
    const LinearTask& task = args_.tasks[t];
    const int64_t column = strips.begin * kStripRows;
    const int64_t columns = std::min<int64_t>(task.weight->rows, strips.end * kStripRows) - column;
    GainTile kept;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      if (!has_gain(t, {r, r + 1})) continue;
      float *y = task.y + r * task.y_stride + column, *old = kept[static_cast<size_t>(r - rows.begin)].data();
      if (!task.accumulate) {
        std::fill_n(old, columns, 0.0f);
        continue;
      }
      std::copy_n(y, columns, old);
      std::fill_n(y, columns, 0.0f);
    }
    multiply_base(t, strips, rows);
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      if (!has_gain(t, {r, r + 1})) continue;
      apply_gain(t, r, column, columns, kept[static_cast<size_t>(r - rows.begin)].data());
    }
  }

  // y = old + y + gain * (y - bias), the gains of all slices of the row together.
  void apply_gain(size_t t, int64_t row, int64_t column, int64_t columns, const float* old) const {
    const LinearTask& task = args_.tasks[t];
    std::array<float, kBlockCols> gain = {};
    for (const LoraSlice& slice : args_.slices) {
      const std::byte* data = slice.lora->gain[t].data;
      if (data == nullptr || row < slice.row_begin || row >= slice.row_end) continue;
      const float* gains = reinterpret_cast<const float*>(data) + column;
      for (int64_t c = 0; c < columns; ++c) gain[static_cast<size_t>(c)] += slice.scale * gains[c];
    }
    float* y = task.y + row * task.y_stride + column;
    for (int64_t c = 0; c < columns; ++c) {
      const float bias = task.bias != nullptr ? task.bias[column + c] : 0;
      y[c] = old[c] + (y[c] + gain[static_cast<size_t>(c)] * (y[c] - bias));
    }
  }

  // y += scale u B^T on the rows of the rectangle that the slice has.
  void expand(const LoraSlice& slice, const Rectangle& rectangle) const {
    const int64_t begin = std::max<int64_t>(slice.row_begin, rectangle.rows.begin);
    const int64_t end = std::min<int64_t>(slice.row_end, rectangle.rows.end);
    if (begin >= end) return;
    int64_t rank_begin = 0;
    for (size_t t = 0; t < args_.tasks.size(); ++t) {
      const PackedMatrix& b = slice.lora->b[t];
      if (b.data == nullptr) continue;
      if (rectangle.strips[t].begin < rectangle.strips[t].end) {
        const LinearTask& task = args_.tasks[t];
        MatmulArgs whole = whole_matmul(b, task.y + begin * task.y_stride, task.y_stride);
        whole.x_cols = slice.lora->a.rows;
        whole.add = true;
        whole.scale = slice.scale * slice.lora->scale[t];
        expand_task(slice, part(whole, rectangle.strips[t], {0, end - begin}), begin - slice.row_begin,
                    rank_begin);
      }
      rank_begin += b.cols;
    }
  }

  void expand_task(const LoraSlice& slice, MatmulArgs product, int64_t row, int64_t rank_begin) const {
    const int64_t ranks = slice.lora->a.rows, rank = product.k;
    product.x = slice.u + row * ranks + rank_begin;
    if (!few_) return leaves_.matmul(product);
    alignas(64) float sums[kFewRows * kMaxRank];
    const int64_t piece = (slice.row_end - slice.row_begin) * ranks;
    static_assert(kShrinkPieces == 4);
    for (int64_t r = 0; r < product.rows; ++r) {
      const float* u = product.x + r * ranks;
      for (int64_t i = 0; i < rank; ++i) {
        sums[r * rank + i] = ((u[i] + u[i + piece]) + u[i + 2 * piece]) + u[i + 3 * piece];
      }
    }
    product.x = sums;
    product.x_cols = product.k;
    leaves_.matmul(product);
  }

  void activate(const Rectangle& rectangle) const {
    const LinearTask &gate = args_.tasks[0], &up = args_.tasks[1];
    const int cols = gate.weight->rows;
    const auto column = static_cast<int>(rectangle.strips[0].begin * kStripRows);
    const int columns = std::min(cols, static_cast<int>(rectangle.strips[0].end * kStripRows)) - column;
    if (columns <= 0) return;
    for (int64_t r = rectangle.rows.begin; r < rectangle.rows.end; ++r) {
      float* y = args_.gated.y + r * cols + column;
      leaves_.gated_act(gate.y + r * gate.y_stride + column, up.y + r * up.y_stride + column, columns,
                        args_.gated.activation, y);
      if (args_.gated.quantized.quants == nullptr) continue;
      leaves_.quantize(y, columns, padded_groups(columns), from_row(args_.gated.quantized, r, cols, column));
    }
  }

  const Leaves& leaves_;
  TeamMember& member_;
  const LinearGroupArgs& args_;
  const bool few_;
  bool awaited_ = false;
};

// The shares of few rows are fixed: the strips of all tasks as one list, those of fine tasks counted as one
// and a half, between what they cost alone and in eight; gated tasks in pairs of equal blocks of 64 columns.
Rectangle fixed_share(const TeamMember& member, const LinearGroupArgs& args) {
  Rectangle share;
  share.rows = {0, args.rows};
  if (args.gated.y != nullptr) {
    share.strips[0] = share.strips[1] = member.share(strips_of(*args.tasks[0].weight), kStripsPerBlock);
    return share;
  }
  const auto cost = [](const LinearTask& task) { return task.fine ? 3 : 2; };
  int64_t total = 0, first = 0;
  for (const LinearTask& task : args.tasks) total += int64_t{strips_of(*task.weight)} * cost(task);
  const Range range = member.share(total);
  for (size_t t = 0; t < args.tasks.size(); ++t) {
    const int64_t strips = strips_of(*args.tasks[t].weight), of_strip = cost(args.tasks[t]);
    const auto border = [&](int64_t at) { return std::clamp<int64_t>((at - first) / of_strip, 0, strips); };
    share.strips[t] = {border(range.begin), border(range.end)};
    first += strips * of_strip;
  }
  return share;
}

// Of a chunk of many rows: an even number for the tile, and few enough that every member gets some.
int64_t chunk_strips(const Leaves& leaves, const LinearGroupArgs& args, int64_t row_chunks, int members) {
  const bool gated = args.gated.y != nullptr;  // chunks of both tasks
  const int64_t k = std::max(args.tasks[0].weight->cols, 1), grain = gated ? kStripsPerBlock : 2;
  int64_t all = 0;
  for (const LinearTask& task : args.tasks) all += strips_of(*task.weight);
  const int64_t tasks = gated ? 2 : 1;
  const int64_t of_work = leaves.chunk_products / (leaves.chunk_rows * kStripRows * k) / tasks;
  const int64_t of_member = all * row_chunks / members / tasks + grain - 1;
  return std::clamp<int64_t>(std::min(of_work, of_member) / grain * grain, grain, 32);
}

void run_chunks(const Leaves& leaves, GroupRun& run, TeamMember& member, const LinearGroupArgs& args) {
  const int64_t chunk_rows = leaves.chunk_rows, row_chunks = (args.rows + chunk_rows - 1) / chunk_rows;
  const int64_t strips = chunk_strips(leaves, args, row_chunks, member.count());
  const bool gated = args.gated.y != nullptr;
  const auto strip_chunks = [&](size_t t) {
    return (strips_of(*args.tasks[t].weight) + strips - 1) / strips;
  };
  int64_t count = 0;
  for (size_t t = 0; t < (gated ? 1 : args.tasks.size()); ++t) count += strip_chunks(t) * row_chunks;
  member.for_chunks(count, [&](int64_t chunk) {
    size_t t = 0;
    while (chunk >= strip_chunks(t) * row_chunks) chunk -= strip_chunks(t++) * row_chunks;
    const int64_t all = strips_of(*args.tasks[t].weight);
    const int64_t strip = chunk / row_chunks * strips, row = chunk % row_chunks * chunk_rows;
    Rectangle rectangle;
    rectangle.strips[t] = {strip, std::min(all, strip + strips)};
    if (gated) rectangle.strips[1] = rectangle.strips[0];
    rectangle.rows = {row, std::min<int64_t>(row + chunk_rows, args.rows)};
    run.run(rectangle);
  });
}

}  // namespace

void run_linear_group(const Leaves& leaves, TeamMember& member, const LinearGroupArgs& args) {
  assert(!args.tasks.empty() && args.tasks.size() <= kMaxGroup);
  GroupRun run(leaves, member, args);
  const bool adapted = !args.slices.empty();
  if (adapted) {
    run.shrink();
    member.signal();
  }
  if (args.rows <= kFewRows) {
    run.run(fixed_share(member, args));
  } else {
    run_chunks(leaves, run, member, args);
  }
  if (adapted) run.await();
}

}  // namespace chorus
