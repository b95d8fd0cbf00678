// The loop of a MultiplyUnit over `dot`, as often as registers allow without one waiting for another.
// Included by one file per instruction set, which defines Vector (bytes, or the sums that its dot() adds to,
// of 16 or 32 bits), zero(), bytes(value) and dot().

namespace chorus {
namespace {

constexpr int kChains = 12;

void multiply(int64_t rounds) {
  Vector sums[kChains];
#pragma GCC unroll 12
  for (int j = 0; j < kChains; ++j) sums[j] = zero();
  Vector x = bytes(3);
  const Vector y = bytes(5);
  for (int64_t i = 0; i < rounds; ++i) {
#pragma GCC unroll 12
    for (int j = 0; j < kChains; ++j) {
      asm volatile("" : "+v"(x), "+v"(sums[j]));  // all products are alike; the compiler must not notice
      sums[j] = dot(sums[j], x, y);
    }
  }
#pragma GCC unroll 12
  for (int j = 0; j < kChains; ++j) asm volatile("" : : "v"(sums[j]));  // somebody might want them
}

constexpr double kOperations = 2.0 * sizeof(Vector) * kChains;

}  // namespace
}  // namespace chorus
