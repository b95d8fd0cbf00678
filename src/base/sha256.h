#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace chorus {

using Digest = std::array<std::byte, 32>;

// SHA-256 (FIPS 180-4) of everything added. Allocates in the constructor only.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }
  // A number or a plain struct without padding, as its bytes.
  template <typename T>
  void add_value(const T& value) {
    static_assert(std::has_unique_object_representations_v<T> || std::is_floating_point_v<T>);
    add(std::as_bytes(std::span(&value, 1)));
  }
  Digest finish();  // and starts over

 private:
  void* context_;
};

std::string to_hex(const Digest& digest);

}  // namespace chorus
