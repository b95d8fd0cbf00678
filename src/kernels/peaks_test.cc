#include "kernels/peaks.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "base/buffer.h"
#include "kernels/kernels.h"
#include "kernels/training.h"

namespace chorus {
namespace {

TEST(Peaks, ReadRate) {
  ThreadTeam team(2);
  Buffer<std::byte> data(size_t{1} << 20);
  std::memset(data.data(), 1, data.bytes());
  EXPECT_GT(read_rate(team, data.span()), 1e6);
}

TEST(Peaks, EveryTableHasAUnitThatTheMachineCanRun) {
  ThreadTeam team(1);
  for (const Kernels* kernels : available_kernels()) {
    const MultiplyUnit* unit = int8_unit(kernels->name);
    if (unit == nullptr) continue;  // a machine with neither AVX2 nor more
    EXPECT_GT(multiply_rate(team, *unit), 1e8) << kernels->name;
  }
}

TEST(Peaks, TableWithItsOwnUnitGetsThatOne) {
  const MultiplyUnit* unit = int8_unit("avx2");
  if (unit == nullptr) GTEST_SKIP() << "no AVX2";
  EXPECT_EQ(std::string(unit->name), "avx2 maddubs");
  EXPECT_EQ(int8_unit("portable"), int8_unit(available_kernels().front()->name));
}

TEST(Peaks, EveryTrainingTableHasUnitsThatTheMachineCanRun) {
  ThreadTeam team(1);
  for (const TrainingKernels* kernels : available_training_kernels()) {
    for (const MultiplyUnit* unit : {f32_unit(kernels->name), weight_unit(kernels->name)}) {
      const std::string name = kernels->name;
      ASSERT_EQ(unit == nullptr, name == "portable" || name == "reference") << name;
      if (unit == nullptr) continue;
      EXPECT_GT(multiply_rate(team, *unit), 1e8) << unit->name;
    }
  }
}

}  // namespace
}  // namespace chorus
