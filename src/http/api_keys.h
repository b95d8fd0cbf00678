#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/sha256.h"

namespace chorus {

// The keys that open the server. Of each only its SHA-256 is kept.
class ApiKeys {
 public:
  // Reads files of one key a line; what follows '#' and blanks around are dropped. Empty path: no such file.
  // Error: unreadable, no key in it, or a key with blanks or control characters or longer than 4 KiB.
  ApiKeys(const std::string& user_file, const std::string& admin_file);

  struct Found {
    bool known = false, admin = false;
    std::string name;  // opaque, the same for the same key until the server ends; empty where not known
  };
  // Compares with every key in constant time.
  Found find(std::string_view key) const;

  bool any() const { return !entries_.empty(); }
  bool any_user() const { return any_user_; }
  bool any_admin() const { return any_admin_; }

 private:
  struct Entry {
    Digest digest;
    bool admin;
    std::string name;
  };
  void read(const std::string& path, bool admin, const Digest& salt);

  std::vector<Entry> entries_;
  bool any_user_ = false, any_admin_ = false;
};

}  // namespace chorus
