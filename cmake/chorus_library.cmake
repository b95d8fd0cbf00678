# chorus_library(NAME LINK libs...): one library chorus_NAME of this folder's *.cc, and, where the folder has
# *_test.cc, one test program chorus_NAME_test, whose cases CTest sees one by one.
find_package(GTest REQUIRED)
include(GoogleTest)

function(chorus_library name)
  cmake_parse_arguments(ARG "" "" "LINK;EXCLUDE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS *.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  foreach(pattern IN LISTS ARG_EXCLUDE)
    list(FILTER sources EXCLUDE REGEX "${pattern}")
  endforeach()
  add_library(chorus_${name} STATIC ${sources})
  target_link_libraries(chorus_${name} PUBLIC ${ARG_LINK} PRIVATE chorus_flags)
  if(tests)
    add_executable(chorus_${name}_test ${tests})
    target_link_libraries(chorus_${name}_test PRIVATE chorus_${name} chorus_flags GTest::gtest_main)
    target_compile_definitions(chorus_${name}_test PRIVATE
      CHORUS_SOURCE_DIR="${PROJECT_SOURCE_DIR}" CHORUS_BINARY_DIR="${PROJECT_BINARY_DIR}")
    gtest_discover_tests(chorus_${name}_test TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 120
                         PROPERTIES LABELS ${name} TIMEOUT 900)
  endif()
endfunction()
