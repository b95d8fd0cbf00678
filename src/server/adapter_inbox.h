#pragma once

#include <string>

#include "server/adapter_files.h"

namespace chorus {

// Files of an adapter that were sent, in a hidden folder of the adapters' directory until it is known what
// they are. What is not kept is gone with it.
class AdapterInbox {
 public:
  // Writes them there and syncs them. Error: the disk.
  AdapterInbox(const std::string& directory, const std::string& name, const AdapterFiles& files);
  ~AdapterInbox();
  AdapterInbox(const AdapterInbox&) = delete;
  AdapterInbox& operator=(const AdapterInbox&) = delete;

  const std::string& path() const { return path_; }  // of the adapter, relative to the directory
  // Gives it its own name in the directory, under which it is returned. False: there is one and it is not to
  // be replaced. Error: the disk.
  bool keep(bool replace);
  const std::string& kept() const { return kept_; }

  // Whether the directory has an adapter of this name.
  static bool exists(const std::string& directory, const std::string& name);
  // Removes what a server that was killed has left for an hour.
  static void remove_old(const std::string& directory);

 private:
  const std::string directory_, name_;
  std::string folder_;  // in the directory
  std::string path_, kept_;
};

}  // namespace chorus
