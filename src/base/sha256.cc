#include "base/sha256.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <new>

namespace chorus {
namespace {

EVP_MD_CTX* as_context(void* context) { return static_cast<EVP_MD_CTX*>(context); }

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  if (context_ == nullptr || EVP_DigestInit_ex(as_context(context_), EVP_sha256(), nullptr) != 1)
    throw std::bad_alloc();
}

Sha256::~Sha256() { EVP_MD_CTX_free(as_context(context_)); }

void Sha256::add(std::span<const std::byte> bytes) {
  EVP_DigestUpdate(as_context(context_), bytes.data(), bytes.size());
}

Digest Sha256::finish() {
  Digest digest;
  EVP_DigestFinal_ex(as_context(context_), reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  EVP_DigestInit_ex(as_context(context_), nullptr, nullptr);
  return digest;
}

std::string to_hex(const Digest& digest) {
  std::string text;
  for (const std::byte b : digest) text += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return text;
}

}  // namespace chorus
