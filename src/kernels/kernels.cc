#include "kernels/kernels.h"

#include <cstdlib>
#include <string>

#include "base/error.h"
#include "kernels/tables.h"

namespace chorus {
namespace {

// Best first.
constexpr const Kernels* kTables[] = {&kReferenceKernels};

bool can_run(const Kernels&) { return true; }

}  // namespace

size_t attention_workspace(int max_rows, int heads, int dim, int max_context) {
  const auto pieces = static_cast<size_t>(round_up(max_context, kAttentionPiece) / kAttentionPiece);
  return static_cast<size_t>(max_rows) * static_cast<size_t>(heads) * pieces * static_cast<size_t>(dim + 2);
}

const Kernels* find_kernels(std::string_view name) {
  for (const Kernels* table : kTables) {
    if (name == table->name && can_run(*table)) return table;
  }
  return nullptr;
}

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> tables;
  for (const Kernels* table : kTables) {
    if (can_run(*table)) tables.push_back(table);
  }
  return tables;
}

const Kernels& choose_kernels() {
  const char* name = std::getenv("CHORUS_KERNELS");
  if (name == nullptr || *name == '\0') return *available_kernels().front();
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
