#include "base/sha256.h"

#include <gtest/gtest.h>

namespace chorus {
namespace {

TEST(Sha256, StandardVectorsAndReuse) {
  Sha256 hash;
  hash.add("ab");
  hash.add("c");
  const char* const abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_EQ(to_hex(hash.finish()), abc);
  hash.add("abc");
  EXPECT_EQ(to_hex(hash.finish()), abc);
  EXPECT_EQ(to_hex(hash.finish()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

}  // namespace
}  // namespace chorus
