#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/amx_tiles.h"
#include "kernels/cpu/peak_units.h"

namespace chorus {
namespace {

// Four sums of two operands and two, as the kernel has them.
void multiply(int64_t rounds) {
  configure_tiles();
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
}

}  // namespace

constinit const MultiplyUnit kAmxUnit = {"amx tdpbf16ps", 4 * 2.0 * 16 * 16 * 32, multiply};

}  // namespace chorus
