#include "kernels/kernels.h"

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kernels/cpu/cpu_id.h"
#include "kernels/cpu/cpu_kernels.h"
#include "kernels/reference.h"

namespace chorus {
namespace {

struct Entry {
  const Kernels* kernels;
  bool (*can_run)();
  bool (*is_best)();  // of what this machine can run from here on
};

bool always() { return true; }
bool never() { return false; }

constexpr Entry kEntries[] = {{&kAmxKernels, has_amx_int8, has_amx_int8},
                              {&kVnniBf16Kernels, has_avx512_bf16, has_fast_avx512_bf16},
                              {&kAvx512VnniKernels, has_avx512_vnni, has_avx512_vnni},
                              {&kAvx512Bf16Kernels, has_avx512_bf16, never},
                              {&kAvx512Kernels, has_avx512, has_avx512},
                              {&kAvxVnniKernels, has_avx_vnni, has_avx_vnni},
                              {&kAvx2Kernels, has_avx2, has_avx2},
                              {&kPortableKernels, always, always},
                              {&kReferenceKernels, always, never}};

}  // namespace

const Kernels* find_kernels(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (name == entry.kernels->name && entry.can_run()) return entry.kernels;
  }
  return nullptr;
}

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> tables;
  for (const Entry& entry : kEntries) {
    if (entry.can_run()) tables.push_back(entry.kernels);
  }
  return tables;
}

const Kernels& choose_kernels() {
  const char* name = std::getenv("CHORUS_KERNELS");
  if (name == nullptr || *name == '\0') {
    return *std::ranges::find_if(kEntries, [](const Entry& entry) { return entry.is_best(); })->kernels;
  }
  if (const Kernels* table = find_kernels(name)) return *table;
  std::string names;
  for (const Kernels* table : available_kernels()) {
    names += names.empty() ? "" : ", ";
    names += table->name;
  }
  fail("CHORUS_KERNELS is {}, which this machine cannot run or does not know; it can be {}", printable(name),
       names);
}

}  // namespace chorus
