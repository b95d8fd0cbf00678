#include "server/web_files.h"

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

namespace chorus {
namespace {

std::string on_disk(std::string_view path) {
  const std::string name = path == "/" ? "index.html" : std::string(path.substr(5));
  std::ifstream file(std::string(CHORUS_SOURCE_DIR) + "/src/server/web/" + name, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(WebFiles, AreTheFilesOfTheFolderByteForByte) {
  std::set<std::string_view> etags;
  for (const WebFile& file : web_files()) {
    EXPECT_EQ(file.body, on_disk(file.path)) << file.path;
    EXPECT_TRUE(etags.insert(file.etag).second) << file.path;
    EXPECT_TRUE(file.etag.size() > 2 && file.etag.front() == '"' && file.etag.back() == '"') << file.etag;
  }
  EXPECT_GT(etags.size(), 10u);
}

TEST(WebFiles, AreFoundByTheirPathOnly) {
  ASSERT_NE(find_web_file("/"), nullptr);
  EXPECT_EQ(find_web_file("/")->content_type, "text/html; charset=utf-8");
  ASSERT_NE(find_web_file("/web/app.js"), nullptr);
  EXPECT_EQ(find_web_file("/web/app.js")->content_type, "text/javascript; charset=utf-8");
  for (const char* path : {"", "/web", "/web/", "/web/nothing.js", "/web/index.html", "/app.js"}) {
    EXPECT_EQ(find_web_file(path), nullptr) << path;
  }
}

// What the page asks for at its start is here; what the policy forbids is not in it.
TEST(WebFiles, IndexNamesFilesThatExistAndHasNothingInline) {
  const std::string_view index = find_web_file("/")->body;
  size_t named = 0;
  for (size_t at = index.find("\"/web/"); at != std::string_view::npos; at = index.find("\"/web/", at + 1)) {
    const std::string_view path = index.substr(at + 1, index.find('"', at + 1) - at - 1);
    EXPECT_NE(find_web_file(path), nullptr) << path;
    ++named;
  }
  EXPECT_EQ(named, web_files().size() - 1) << "every module is preloaded";
  for (const char* inline_code : {"<style", " style=", "<script>", " onclick=", "http://", "https://"}) {
    EXPECT_EQ(index.find(inline_code), std::string_view::npos) << inline_code;
  }
}

}  // namespace
}  // namespace chorus
