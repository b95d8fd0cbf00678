#include "kernels/cpu/cpu_id.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace chorus {
namespace {

bool has_f16c() {  // not every compiler's __builtin_cpu_supports knows it
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
}

bool has_bit_7_1(unsigned bit) {  // of leaf 7, subleaf 1
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax & bit) != 0;
}

constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24, kAmxInt8 = 1u << 25;
bool has_amx(unsigned products) {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx & kAmxTile) != 0 &&
         (edx & products) != 0;
}

// Fails where the kernel does not know the request or does not save the registers.
bool request_tile_registers() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

// __builtin_cpu_supports also asks whether the operating system saves the registers.
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c(); }

bool has_avx_vnni() { return has_avx2() && has_bit_7_1(bit_AVXVNNI); }

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool has_avx512_vnni() { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }

bool has_avx512_bf16() { return has_avx512_vnni() && has_bit_7_1(bit_AVX512BF16); }

// Intel's bf16 dot product has half the rate of its multiply-add (on Sapphire Rapids 109 and 207 GFLOP/s a
// core): nothing for the bits that it loses. AMD's has the same rate.
bool has_fast_avx512_bf16() { return has_avx512_bf16() && __builtin_cpu_is("amd"); }

bool has_amx_int8() { return has_avx512_vnni() && has_amx(kAmxInt8) && request_tile_registers(); }

bool has_amx_bf16() { return has_avx512_bf16() && has_amx(kAmxBf16) && request_tile_registers(); }

}  // namespace chorus
