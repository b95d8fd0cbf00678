// Every op as plain loops, sums in double: slow and obvious, the oracle of the other backends. Quantized
// weights are dequantized exactly and multiplied with the f32 activations.

#include "kernels/reference.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "kernels/pack.h"
#include "kernels/plain_ops.h"

namespace chorus {
namespace {

using Range = TeamMember::Range;

void sync(Stream& stream) { stream.member->barrier(); }

void quantize_row(const float* x, int cols, const QuantizedRows& out, int64_t row) {
  const int padded = round_up(cols, kBlockCols);
  for (int g = 0; g < padded / kGroupCols; ++g) {
    const int begin = g * kGroupCols, end = std::min(begin + kGroupCols, cols);
    float max = 0;
    for (int i = begin; i < end; ++i) max = std::max(max, std::fabs(x[i]));
    const float scale = max / 127, inverse = 127 / max;
    int32_t sum = 0;
    for (int i = begin; i < begin + kGroupCols; ++i) {
      // Denormal groups count as zero; what is not finite must not reach the cast.
      const float ratio = i < end && std::isfinite(inverse) ? std::nearbyint(x[i] * inverse) : 0.0f;
      const auto q = static_cast<int8_t>(std::isfinite(ratio) ? ratio : 0.0f);
      out.quants[row * padded + i] = q;
      sum += q;
    }
    out.scales[row * (padded / kGroupCols) + g] = scale;
    out.starts[row * (padded / kGroupCols) + g] = kStartPerQuant * sum;
    out.sums[row * (padded / kGroupCols) + g] = scale * static_cast<float>(sum);
  }
}

void quantize(Stream& stream, const QuantizeArgs& args) {
  const Range rows = stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    quantize_row(args.x + r * args.cols, args.cols, args.out, r);
  }
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

void rms_norm(Stream& stream, const RmsNormArgs& args) {
  const Range rows = args.alone ? Range{0, args.rows} : stream.member->share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    const float* x = args.x + (args.row_index == nullptr ? r : args.row_index[r]) * args.x_stride;
    float* y = args.y + r * args.y_stride;
    double sum = 0;
    for (int i = 0; i < args.cols; ++i) sum += double{x[i]} * x[i];
    const double inverse = 1 / std::sqrt(sum / args.cols + args.eps);
    for (int i = 0; i < args.cols; ++i) {
      const double value = x[i] * inverse * args.weight[i];
      y[i] = static_cast<float>(args.accumulate ? y[i] + value : value);
    }
    if (args.quantized.quants != nullptr) quantize_row(y, args.cols, args.quantized, r);
  }
}

// Eight sums side by side, so that the compiler may use vectors: model tests run on this backend.
constexpr int kChains = 8;

struct Sum {
  double chains[kChains] = {};

  void add_products(const float* a, const float* b, int n) {
    int i = 0;
    for (; i + kChains <= n; i += kChains) {
      for (int c = 0; c < kChains; ++c) chains[c] += double{a[i + c]} * b[i + c];
    }
    for (; i < n; ++i) chains[0] += double{a[i]} * b[i];
  }

  double total() const {
    double sum = 0;
    for (const double chain : chains) sum += chain;
    return sum;
  }
};

// visit(row, col, x[row] . W[col]) for rows 0..rows - 1 and the given columns (rows of W).
template <typename Visit>
void for_products(const PackedMatrix& w, const float* x, int rows, Range cols, Visit visit) {
  constexpr int kRows = 16;  // share an unpacked block of weights
  for (int64_t n = cols.begin; n < cols.end; ++n) {
    for (int first = 0; first < rows; first += kRows) {
      const int count = std::min(kRows, rows - first);
      Sum sums[kRows];
      for (int k = 0; k < w.cols; k += kBlockCols) {
        float block[kBlockCols];
        const int end = std::min(k + kBlockCols, w.cols);
        unpack_row(w, static_cast<int>(n), k, end, block);
        for (int r = 0; r < count; ++r) {
          sums[r].add_products(x + int64_t{first + r} * w.cols + k, block, end - k);
        }
      }
      for (int r = 0; r < count; ++r) visit(first + r, n, sums[r].total());
    }
  }
}

void shrink(const TeamMember& member, const LinearGroupArgs& args) {
  for (const LoraSlice& slice : args.slices) {
    const PackedMatrix& a = slice.lora->a;
    const float* x = args.lora_x != nullptr ? args.lora_x : args.x;
    for_products(a, x + int64_t{slice.row_begin} * a.cols, slice.row_end - slice.row_begin,
                 member.share(a.rows), [&](int row, int64_t rank, double u) {
                   slice.u[int64_t{row} * a.rows + rank] = static_cast<float>(u);
                 });
  }
}

// What DoRA adds to 1, the factor of a product.
double gain_of(const LinearGroupArgs& args, size_t t, int row, int64_t col) {
  double gain = 0;
  for (const LoraSlice& slice : args.slices) {
    const std::byte* gains = slice.lora->gain[t].data;
    if (gains == nullptr || row < slice.row_begin || row >= slice.row_end) continue;
    gain += double{slice.scale} * reinterpret_cast<const float*>(gains)[col];
  }
  return gain;
}

void multiply(const TeamMember& member, const LinearGroupArgs& args, size_t t) {
  const LinearTask& task = args.tasks[t];
  const PackedMatrix& w = *task.weight;
  const Range cols = member.share(w.rows, kStripRows);
  for_products(w, args.x, args.rows, cols, [&](int row, int64_t col, double product) {
    float& y = task.y[row * task.y_stride + col];
    product += gain_of(args, t, row, col) * product;
    if (task.bias != nullptr) product += task.bias[col];
    y = static_cast<float>(task.accumulate ? y + product : product);
  });
}

void expand(const TeamMember& member, const LinearGroupArgs& args, const LoraSlice& slice) {
  const int rows = slice.row_end - slice.row_begin, ranks = slice.lora->a.rows;
  int rank_begin = 0;
  for (size_t t = 0; t < args.tasks.size(); ++t) {
    const PackedMatrix& b = slice.lora->b[t];
    if (b.data == nullptr) continue;
    const LinearTask& task = args.tasks[t];
    const double scale = double{slice.scale} * slice.lora->scale[t];
    for (int r = 0; r < rows; ++r) {
      float* y = task.y + (slice.row_begin + r) * task.y_stride;
      for_products(
          b, slice.u + int64_t{r} * ranks + rank_begin, 1, member.share(b.rows, kStripRows),
          [&](int, int64_t col, double product) { y[col] = static_cast<float>(y[col] + scale * product); });
    }
    rank_begin += b.cols;
  }
}

float activate(Activation activation, float x) {
  if (activation == Activation::kSilu) return x / (1 + std::exp(-x));
  constexpr float kSqrt2OverPi = 0.7978845608028654f;
  return 0.5f * x * (1 + std::tanh(kSqrt2OverPi * (x + 0.044715f * x * x * x)));
}

void activate(const TeamMember& member, const LinearGroupArgs& args) {
  const LinearTask &gate = args.tasks[0], &up = args.tasks[1];
  const int cols = gate.weight->rows;
  const Range rows = member.share(args.rows);
  for (int64_t r = rows.begin; r < rows.end; ++r) {
    float* y = args.gated.y + r * cols;
    for (int i = 0; i < cols; ++i) {
      y[i] = activate(args.gated.activation, gate.y[r * gate.y_stride + i]) * up.y[r * up.y_stride + i];
    }
    if (args.gated.quantized.quants != nullptr) quantize_row(y, cols, args.gated.quantized, r);
  }
}

void linear_group(Stream& stream, const LinearGroupArgs& args) {
  TeamMember& member = *stream.member;
  shrink(member, args);
  for (size_t t = 0; t < args.tasks.size(); ++t) multiply(member, args, t);
  if (!args.slices.empty()) member.barrier();
  for (const LoraSlice& slice : args.slices) expand(member, args, slice);
  if (args.gated.y == nullptr) return;
  member.barrier();
  activate(member, args);
}

// One head: normalised unless norm is null, then rotated.
void prepare_head(const float* x, const float* norm, float eps, const float* table, int dim, float* y) {
  double inverse = 1;
  if (norm != nullptr) {
    double sum = 0;
    for (int i = 0; i < dim; ++i) sum += double{x[i]} * x[i];
    inverse = 1 / std::sqrt(sum / dim + eps);
  }
  const auto value = [&](int i) {
    return norm == nullptr ? x[i] : static_cast<float>(x[i] * inverse * norm[i]);
  };
  const int half = dim / 2;
  for (int i = 0; i < half; ++i) {
    const float cos = table[2 * i], sin = table[2 * i + 1];
    const float a = value(i), b = value(i + half);
    y[i] = a * cos - b * sin;
    y[i + half] = b * cos + a * sin;
  }
}

// One kv head's part of a page. `d` is a column, `position` one of the page's 16.
struct PageView {
  std::byte* data;
  KvType type;
  int dim;

  template <typename T>
  T get(int64_t index, int64_t offset = 0) const {
    T value;
    std::memcpy(&value, data + offset + index * int64_t{sizeof(T)}, sizeof value);
    return value;
  }
  template <typename T>
  void put(T value, int64_t index, int64_t offset = 0) const {
    std::memcpy(data + offset + index * int64_t{sizeof(T)}, &value, sizeof value);
  }

  int64_t scales() const { return 2 * kPagePositions * dim; }  // of K, then its middles, then those of V
  int groups() const { return (dim + kKvGroup - 1) / kKvGroup; }
  int64_t k_scale(int d, int position) const { return d / kKvGroup * kPagePositions + position; }
  int64_t k_middle(int d, int position) const { return groups() * kPagePositions + k_scale(d, position); }
  int64_t v_scale(int position) const { return 2 * groups() * kPagePositions + position; }
  int64_t v_middle(int position) const { return v_scale(position) + kPagePositions; }
  int64_t k_element(int d, int position) const { return d * kPagePositions + position; }
  int64_t v_element(int d, int position) const { return (kPagePositions + position) * dim + d; }
  float half(int64_t index) const { return f16_to_f32(get<uint16_t>(index, scales())); }

  float element(int64_t index) const {
    return type == KvType::kF32 ? get<float>(index) : f16_to_f32(get<uint16_t>(index));
  }
  float k(int d, int position) const {
    if (type != KvType::kI8) return element(k_element(d, position));
    return half(k_middle(d, position)) + half(k_scale(d, position)) * get<int8_t>(k_element(d, position));
  }
  float v(int d, int position) const {
    if (type != KvType::kI8) return element(v_element(d, position));
    return half(v_middle(position)) + half(v_scale(position)) * get<int8_t>(v_element(d, position));
  }

  void store_element(float value, int64_t index) const {
    if (type == KvType::kF32) return put(value, index);
    put(f32_to_f16(value), index);
  }
  void store(const float* k, const float* v, int position) const {
    if (type == KvType::kI8) return store_int8(k, v, position);
    for (int d = 0; d < dim; ++d) {
      store_element(k[d], k_element(d, position));
      store_element(v[d], v_element(d, position));
    }
  }
  void store_int8(const float* k, const float* v, int position) const {
    for (int begin = 0; begin < dim; begin += kKvGroup) {
      const int count = std::min(kKvGroup, dim - begin);
      const Grid grid = put_grid(k + begin, count, k_scale(begin, position), k_middle(begin, position));
      for (int i = 0; i < count; ++i) {
        put(static_cast<int8_t>(grid.quant(k[begin + i])), k_element(begin + i, position));
      }
    }
    const Grid grid = put_grid(v, dim, v_scale(position), v_middle(position));
    for (int d = 0; d < dim; ++d) put(static_cast<int8_t>(grid.quant(v[d])), v_element(d, position));
  }

  // The quants' steps over a range of values, as the page keeps them.
  struct Grid {
    float scale, middle;
    int quant(float x) const {
      const float steps = (x - middle) * (scale > 0 ? 1 / scale : 0);
      return std::isnan(steps) ? -128 : static_cast<int>(std::nearbyint(std::clamp(steps, -128.0f, 127.0f)));
    }
  };
  Grid put_grid(const float* x, int count, int64_t scale_at, int64_t middle_at) const {
    const float low = *std::min_element(x, x + count), high = *std::max_element(x, x + count);
    put(f32_to_f16((high - low) / 255), scale_at, scales());
    put(f32_to_f16(std::fma(half(scale_at), 128.0f, low)), middle_at, scales());
    return {half(scale_at), half(middle_at)};
  }
};

PageView view_page(const KvLayer& kv, int64_t page, int head) {
  const size_t index = static_cast<size_t>(page * kv.kv_heads + head);
  return {kv.data + index * kv_page_bytes(kv.type, 1, kv.dim), kv.type, kv.dim};
}

constexpr int kMaxHeadDim = 1024;

void store_row(const AttentionArgs& args, int64_t row) {
  const KvLayer& kv = args.kv;
  const int64_t page = args.slots[row] / kPagePositions;
  const auto position = static_cast<int>(args.slots[row] % kPagePositions);
  for (int h = 0; h < kv.kv_heads; ++h) {
    const int64_t from = (row * kv.kv_heads + h) * kv.dim;
    float k[kMaxHeadDim];
    prepare_head(args.k + from, args.k_norm, args.norm_eps, args.rope + row * kv.dim, kv.dim, k);
    view_page(kv, page, h).store(k, args.v + from, position);
  }
}

double attention_score(const AttentionArgs& args, const AttentionSequence& sequence, const float* q,
                       int kv_head, int position) {
  const PageView page = view_page(args.kv, sequence.block_table[position / kPagePositions], kv_head);
  double score = 0;
  for (int d = 0; d < args.kv.dim; ++d) score += double{q[d]} * page.k(d, position % kPagePositions);
  score *= args.scale;
  return args.soft_cap > 0 ? args.soft_cap * std::tanh(score / args.soft_cap) : score;
}

// One head of one row over the positions first..last.
void attend(const AttentionArgs& args, const AttentionSequence& sequence, const float* q, int kv_head,
            int first, int last, float* y) {
  const int dim = args.kv.dim;
  double max = -INFINITY;
  for (int p = first; p <= last; ++p) max = std::max(max, attention_score(args, sequence, q, kv_head, p));
  double total = 0, values[kMaxHeadDim] = {};
  for (int p = first; p <= last; ++p) {
    const double weight = std::exp(attention_score(args, sequence, q, kv_head, p) - max);
    total += weight;
    const PageView page = view_page(args.kv, sequence.block_table[p / kPagePositions], kv_head);
    for (int d = 0; d < dim; ++d) values[d] += weight * page.v(d, p % kPagePositions);
  }
  for (int d = 0; d < dim; ++d) y[d] = static_cast<float>(values[d] / total);
}

void attention(Stream& stream, const AttentionArgs& args) {
  const int dim = args.kv.dim, group = args.heads / args.kv.kv_heads;
  assert(dim <= kMaxHeadDim);
  const Range all = stream.member->share(args.sequences.back().row_end);
  for (int64_t r = all.begin; r < all.end; ++r) store_row(args, r);
  stream.member->barrier();
  for (const AttentionSequence& sequence : args.sequences) {
    const int rows = sequence.row_end - sequence.row_begin;
    const Range share = stream.member->share(rows);
    for (int64_t row = share.begin; row < share.end; ++row) {
      const int last = sequence.context_length - rows + static_cast<int>(row);
      const int first = args.window > 0 ? std::max(0, last + 1 - args.window) : 0;
      const int64_t r = sequence.row_begin + row;
      float* y = args.y + r * args.heads * dim;
      for (int head = 0; head < args.heads; ++head) {
        float q[kMaxHeadDim];
        prepare_head(args.q + (r * args.heads + head) * dim, args.q_norm, args.norm_eps, args.rope + r * dim,
                     dim, q);
        attend(args, sequence, q, head / group, first, last, y + head * dim);
      }
      if (args.quantized.quants != nullptr) quantize_row(y, args.heads * dim, args.quantized, r);
    }
  }
}

void soft_cap(Stream& stream, const SoftCapArgs& args) {
  const Range range = stream.member->share(args.count);
  for (int64_t i = range.begin; i < range.end; ++i) args.x[i] = args.cap * std::tanh(args.x[i] / args.cap);
}

}  // namespace

const Kernels kReferenceKernels = {
    .name = "reference",
    .default_kv = KvType::kF32,
    .exact_kv = KvType::kF32,
    .int8_activations = false,
    .sync = sync,
    .quantize = quantize,
    .embed = embed,
    .rms_norm = rms_norm,
    .linear_group = linear_group,
    .rope_table = rope_table,
    .attention = attention,
    .soft_cap = soft_cap,
};

}  // namespace chorus
