#include "http/api_keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <fstream>

#include "base/error.h"
#include "http/http_text.h"

namespace chorus {

namespace {

constexpr size_t kMaxKeyBytes = 4096;
constexpr size_t kMaxKeys = 10000;

Digest digest_of(std::string_view text) {
  Sha256 hash;
  hash.add(text);
  return hash.finish();
}

}  // namespace

ApiKeys::ApiKeys(const std::string& user_file, const std::string& admin_file) {
  Digest salt;
  if (RAND_bytes(reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size())) != 1)
    fail("no random bytes to be had for the names of API keys");
  if (!user_file.empty()) read(user_file, false, salt);
  if (!admin_file.empty()) read(admin_file, true, salt);
}

void ApiKeys::read(const std::string& path, bool admin, const Digest& salt) {
  std::ifstream file(path);
  if (!file) fail("{}: the file of API keys cannot be read", path);
  const size_t before = entries_.size();
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    std::string_view key = std::string_view(line).substr(0, line.find('#'));
    if (key.ends_with('\r')) key.remove_suffix(1);
    key = trim_blanks(key);
    if (key.empty()) continue;
    const bool visible = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < '\x7f'; });
    if (!visible || key.size() > kMaxKeyBytes)
      fail("{}: line {}: a key is 1 to {} visible ASCII characters without blanks", path, number,
           kMaxKeyBytes);
    if (entries_.size() == kMaxKeys) fail("{}: more than {} API keys", path, kMaxKeys);
    Entry entry{digest_of(key), admin, {}};
    Sha256 hash;
    hash.add(salt);
    hash.add(entry.digest);
    entry.name = to_hex(hash.finish()).substr(0, 16);
    entries_.push_back(std::move(entry));
  }
  if (file.bad() || entries_.size() == before) fail("{}: holds no API key; one a line is expected", path);
  (admin ? any_admin_ : any_user_) = true;
}

ApiKeys::Found ApiKeys::find(std::string_view key) const {
  const Digest digest = digest_of(key);
  Found found;
  const Entry* match = nullptr;
  for (const Entry& entry : entries_) {
    const bool same = CRYPTO_memcmp(entry.digest.data(), digest.data(), digest.size()) == 0;
    if (same) match = &entry;
    found.admin |= same && entry.admin;
  }
  found.known = match != nullptr;
  if (match != nullptr) found.name = match->name;
  return found;
}

}  // namespace chorus
