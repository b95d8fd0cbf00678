#include "kernels/peaks.h"

#include <chrono>

#include "kernels/cpu/cpu_id.h"
#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

constexpr int64_t kLine = 64;

// The seconds of f(member) from a common start to a common end.
template <typename F>
double team_seconds(ThreadTeam& team, F f) {
  double seconds = 0;
  team.run([&](TeamMember& member) {
    member.barrier();
    const auto start = std::chrono::steady_clock::now();
    f(member);
    member.barrier();
    const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
    if (member.index() == 0) seconds = time.count();
  });
  return seconds;
}

// Sixteen words at a time, so that the loads of any instruction set outrun the memory.
void read_all(const uint64_t* data, int64_t words) {
  constexpr int kWords = 16;
  uint64_t sums[kWords] = {};
  for (int64_t i = 0; i + kWords <= words; i += kWords) {
    for (int j = 0; j < kWords; ++j) sums[j] ^= data[i + j];
  }
  uint64_t sum = 0;
  for (const uint64_t s : sums) sum ^= s;
  asm volatile("" : : "r"(sum));  // somebody might want it
}

struct Entry {
  std::string_view kernels;
  const MultiplyUnit* unit;
  bool (*can_run)();
};

// Best first.
constexpr Entry kEntries[] = {{"avx512vnni", &kAvx512VnniUnit, has_avx512_vnni},
                              {"avx512", &kAvx512Unit, has_avx512},
                              {"avxvnni", &kAvxVnniUnit, has_avx_vnni},
                              {"avx2", &kAvx2Unit, has_avx2}};

}  // namespace

double read_rate(ThreadTeam& team, std::span<const std::byte> data) {
  const auto* words = reinterpret_cast<const uint64_t*>(data.data());
  const double seconds = team_seconds(team, [&](TeamMember& member) {
    const auto lines = member.share(static_cast<int64_t>(data.size()) / kLine, 64);
    read_all(words + lines.begin * kLine / 8, (lines.end - lines.begin) * kLine / 8);
  });
  return static_cast<double>(data.size()) / seconds;
}

const MultiplyUnit* int8_unit(std::string_view kernels) {
  const MultiplyUnit* best = nullptr;
  for (const Entry& entry : kEntries) {
    if (!entry.can_run()) continue;
    if (entry.kernels == kernels) return entry.unit;
    if (best == nullptr) best = entry.unit;
  }
  return best;
}

const MultiplyUnit* f32_unit(std::string_view training_kernels) {
  if (training_kernels == "avx2" && has_avx2()) return &kAvx2F32Unit;
  const bool wide =
      training_kernels == "amx" || training_kernels == "avx512bf16" || training_kernels == "avx512";
  return wide && has_avx512() ? &kAvx512F32Unit : nullptr;
}

const MultiplyUnit* weight_unit(std::string_view training_kernels) {
  if (training_kernels == "amx" && has_amx_bf16()) return &kAmxUnit;
  if (training_kernels == "avx512bf16" && has_avx512_bf16()) return &kAvx512Bf16Unit;
  return f32_unit(training_kernels);
}

double multiply_rate(ThreadTeam& team, const MultiplyUnit& unit) {
  constexpr double kPerThread = 4e9;
  const auto rounds = static_cast<int64_t>(kPerThread / unit.operations) * team.size();
  const double seconds = team_seconds(team, [&](TeamMember& member) {  // fewer than the team has, at times
    const auto [begin, end] = member.share(rounds);
    unit.multiply(end - begin);
  });
  return static_cast<double>(rounds) * unit.operations / seconds;
}

}  // namespace chorus
