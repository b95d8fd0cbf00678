#include "train/dora_gains.h"

#include <algorithm>
#include <cmath>

#include "kernels/pack.h"
#include "model/linear.h"

namespace chorus {
namespace {

int widest(const LoraParameters& parameters, int LoraLinear::*side) {
  int most = 0;
  for (const LoraLinear& linear : parameters.linears()) most = std::max(most, linear.*side);
  return most;
}

}  // namespace

DoraGains::DoraGains(const LoraParameters& parameters, const Model& model, const Kernels& kernels)
    : parameters_(parameters),
      model_(model),
      kernels_(kernels),
      offsets_({0}),
      a_(parameters.rank(), widest(parameters, &LoraLinear::in), kernels.int8_activations, true) {
  for (const LoraLinear& linear : parameters.linears()) {
    offsets_.push_back(offsets_.back() + static_cast<size_t>(linear.out));
  }
  squares_ = Buffer<double>(offsets_.back());
  gains_ = Buffer<float>(offsets_.back());
  const auto rank = static_cast<size_t>(parameters.rank());
  projected_ = Buffer<float>(rank * static_cast<size_t>(widest(parameters, &LoraLinear::out)));
  gram_ = Buffer<double>(rank * rank);
}

std::vector<float> DoraGains::base_lengths(ThreadTeam& team, size_t index) {
  const LoraLinear& linear = parameters_.linears()[index];
  const PackedMatrix& weight = model_.linear(linear.layer, linear.target);
  const std::span<double> squares = squares_.span().subspan(offsets_[index], size_t(linear.out));
  std::vector<float> lengths(squares.size());
  team.run([&](TeamMember& member) {
    std::vector<float> row(static_cast<size_t>(linear.in));
    const auto [begin, end] = member.share(linear.out, kStripRows);
    for (int64_t o = begin; o < end; ++o) {
      unpack_row(weight, static_cast<int>(o), 0, linear.in, row.data());
      double sum = 0;
      for (const float value : row) sum += double{value} * value;
      squares[static_cast<size_t>(o)] = sum;
      lengths[static_cast<size_t>(o)] = static_cast<float>(std::sqrt(sum));
    }
  });
  return lengths;
}

std::span<const float> DoraGains::of(size_t linear) const {
  return gains_.span().subspan(offsets_[linear], offsets_[linear + 1] - offsets_[linear]);
}

void DoraGains::update(ThreadTeam& team) {
  team.run([&](TeamMember& member) {
    Stream stream{&member, nullptr};
    for (size_t i = 0; i < parameters_.linears().size(); ++i) update(stream, i);
  });
}

// |W_o + s B_o A|^2 = |W_o|^2 + 2 s B_o (A W_o) + s^2 B_o (A A^T) B_o
void DoraGains::update(Stream& stream, size_t index) {
  const LoraLinear& linear = parameters_.linears()[index];
  const int rank = parameters_.rank(), in = linear.in, out = linear.out;
  const float* a = parameters_.values().data() + linear.a;
  const float* b = parameters_.values().data() + linear.b;
  const float* magnitude = parameters_.values().data() + linear.m;
  if (kernels_.int8_activations) kernels_.quantize(stream, {a, rank, in, a_.fine()});
  const auto [first, last] = stream.member->share(rank);
  for (int64_t i = first; i < last; ++i) {
    for (int64_t j = 0; j < rank; ++j) {
      double sum = 0;
      for (int64_t c = 0; c < in; ++c) sum += double{a[i * in + c]} * a[j * in + c];
      gram_[static_cast<size_t>(i * rank + j)] = sum;
    }
  }
  kernels_.sync(stream);
  const LinearTask task{&model_.linear(linear.layer, linear.target), projected_.data(), out, false, true};
  linear_group(stream, kernels_, {a, a_.fine(), rank}, {&task, 1}, group_place(linear.target).group,
               linear.layer, {});
  kernels_.sync(stream);
  const double scale = parameters_.scale();
  const auto [begin, end] = stream.member->share(out);
  for (int64_t o = begin; o < end; ++o) {
    const float* row = b + o * rank;
    double along = 0, own = 0;
    for (int64_t i = 0; i < rank; ++i) {
      double product = 0;
      for (int64_t j = 0; j < rank; ++j) product += gram_[static_cast<size_t>(i * rank + j)] * row[j];
      own += row[i] * product;
      along += double{row[i]} * projected_[static_cast<size_t>(i * out + o)];
    }
    const auto at = offsets_[index] + static_cast<size_t>(o);
    const double square = squares_[at] + 2 * scale * along + scale * scale * own;
    // A row of no length cannot be given one: it stays as it is.
    gains_[at] = square > 0 ? static_cast<float>(magnitude[o] / std::sqrt(square)) : 1;
  }
  kernels_.sync(stream);
}

}  // namespace chorus
