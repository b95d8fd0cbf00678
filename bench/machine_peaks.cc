#include "machine_peaks.h"

#include <benchmark/benchmark.h>
#include <immintrin.h>

#include <algorithm>
#include <chrono>
#include <cstring>

#include "base/buffer.h"

namespace chorus {
namespace {

constexpr int kTries = 7;

// The median time of f(member) from a common start to a common end.
template <typename F>
double median_seconds(ThreadTeam& team, F f) {
  std::vector<double> seconds;
  for (int i = 0; i < kTries; ++i) {
    team.run([&](TeamMember& member) {
      member.barrier();
      const auto start = std::chrono::steady_clock::now();
      f(member);
      member.barrier();
      const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start;
      if (member.index() == 0) seconds.push_back(time.count());
    });
  }
  std::nth_element(seconds.begin(), seconds.begin() + kTries / 2, seconds.end());
  return seconds[kTries / 2];
}

__attribute__((target("avx2"))) void read_all(const std::byte* data, int64_t begin, int64_t end) {
  __m256i sums[4] = {};
  for (int64_t i = begin; i + 128 <= end; i += 128) {
    for (int j = 0; j < 4; ++j) {
      const __m256i line = _mm256_load_si256(reinterpret_cast<const __m256i*>(data + i + 32 * j));
      sums[j] = _mm256_xor_si256(sums[j], line);
    }
  }
  for (__m256i& sum : sums) benchmark::DoNotOptimize(sum);
}

__attribute__((target("avx512f,avx512vnni"))) void multiply(int64_t rounds) {
  __m512i sums[16];
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) sums[j] = _mm512_setzero_si512();
  const __m512i x = _mm512_set1_epi8(3), y = _mm512_set1_epi8(5);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 16
    for (int j = 0; j < 16; ++j) {
      sums[j] = _mm512_dpbusd_epi32(sums[j], x, y);
      asm volatile("" : "+v"(sums[j]));  // the chains are alike; the compiler must not notice
    }
  }
#pragma GCC unroll 16
  for (int j = 0; j < 16; ++j) {
    asm volatile("" : : "v"(sums[j]));
  }
}

}  // namespace

double measure_read_bandwidth(ThreadTeam& team) {
  Buffer<std::byte> data(size_t{1} << 30);
  std::memset(data.data(), 1, data.size());
  const double seconds = median_seconds(team, [&](TeamMember& member) {
    const auto range = member.share(static_cast<int64_t>(data.size()), 4096);
    read_all(data.data(), range.begin, range.end);
  });
  return static_cast<double>(data.size()) / seconds;
}

double measure_int8_peak(ThreadTeam& team) {
  if (!__builtin_cpu_supports("avx512vnni")) return 0;
  constexpr int64_t kRounds = 4'000'000;
  const double seconds = median_seconds(team, [](TeamMember&) { multiply(kRounds); });
  return static_cast<double>(team.size()) * kRounds * 16 * 128 / seconds;
}

}  // namespace chorus
