#pragma once

namespace chorus {

// What this machine and its operating system let us run.
bool has_avx2();      // with FMA and F16C
bool has_avx_vnni();  // with AVX2
bool has_avx512();    // F, BW, VL, DQ
bool has_avx512_vnni();
bool has_avx512_bf16();       // with VNNI
bool has_fast_avx512_bf16();  // and as many products a cycle as f32 has, of two multiply-adds each
// Of AMX, which the operating system is asked to save the tile registers for:
bool has_amx_int8();  // with AVX-512 VNNI
bool has_amx_bf16();  // with AVX-512 BF16

}  // namespace chorus
