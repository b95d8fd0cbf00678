# cmake -DFOLDER=... -DOUTPUT=... -P embed_web.cmake: makes a C++ file of a folder's files, as server/web_files.h
# declares them: index.html is "/", the others are "/web/NAME".
file(GLOB files ${FOLDER}/*)
list(SORT files)
set(arrays "")
set(table "")
set(number 0)
foreach(file IN LISTS files)
  get_filename_component(name ${file} NAME)
  if(name MATCHES "\\.html$")
    set(type "text/html; charset=utf-8")
  elseif(name MATCHES "\\.js$")
    set(type "text/javascript; charset=utf-8")
  elseif(name MATCHES "\\.css$")
    set(type "text/css; charset=utf-8")
  elseif(name MATCHES "\\.svg$")
    set(type "image/svg+xml")
  else()
    message(FATAL_ERROR "${name}: no content type is known for it")
  endif()
  if(name STREQUAL "index.html")
    set(path "/")
  else()
    set(path "/web/${name}")
  endif()
  file(SHA256 ${file} hash)
  string(SUBSTRING ${hash} 0 32 hash)
  file(SIZE ${file} size)
  file(READ ${file} bytes HEX)
  string(REGEX REPLACE "(..)" "\\\\x\\1" bytes "${bytes}")
  string(APPEND arrays "constexpr char kFile${number}[] = \"${bytes}\";\n")
  string(APPEND table "    {\"${path}\", \"${type}\", \"\\\"${hash}\\\"\", {kFile${number}, ${size}}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE ${OUTPUT} "// Made by cmake/embed_web.cmake.
#include \"server/web_files.h\"

namespace chorus {
namespace {
${arrays}
constexpr WebFile kFiles[] = {
${table}};
}  // namespace

std::span<const WebFile> web_files() { return kFiles; }
}  // namespace chorus
")
