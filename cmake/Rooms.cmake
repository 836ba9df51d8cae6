# A room is a folder of src/. Its sources join a component's library; x_test.cc files, with the
# test_x.cc files that they share, become one test program a room, x_bench.cc files one
# microbenchmark, x_fuzz.cc files a libFuzzer target each. A new file needs no line here. ctest
# labels: "fast" is everything except the suites whose name ends in "Slow"; those are "slow".
set(RAPTLY_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Werror)

function(raptly_settings target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  set_target_properties(${target} PROPERTIES
    CXX_EXTENSIONS OFF CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON
    POSITION_INDEPENDENT_CODE ON)
  # -ffp-contract=off: a * b + c is two roundings unless the code says fma; bits are a contract.
  target_compile_options(${target} PRIVATE ${RAPTLY_WARNINGS} -ffp-contract=off)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/src
    PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>)
  if(RAPTLY_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${RAPTLY_SANITIZE} -fno-omit-frame-pointer
      -fno-sanitize-recover=all)
    # GCC warns wrongly beside its sanitizers.
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
    target_link_options(${target} PUBLIC -fsanitize=${RAPTLY_SANITIZE})
  endif()
  if(RAPTLY_FUZZ)
    target_compile_options(${target} PRIVATE -fsanitize=fuzzer-no-link)
  endif()
endfunction()

function(raptly_component name)
  # Static whatever BUILD_SHARED_LIBS says: the model component uses the attention component's
  # insides, which are hidden. Position independent, so that a shared object may hold them.
  add_library(raptly_${name} STATIC)
  set_target_properties(raptly_${name} PROPERTIES EXPORT_NAME ${name})
  add_library(raptly::${name} ALIAS raptly_${name})
  raptly_settings(raptly_${name})
endfunction()

# Leaf files use instructions beyond Highway's targets: the suffix names the flags.
function(raptly_leaf_flags sources)
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    return()
  endif()
  set(avx512 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx2 -mfma -mf16c -mbmi -mbmi2
    -maes -mpclmul -mlzcnt -mpopcnt -mmovbe -mfsgsbase -mrdrnd)
  foreach(source ${sources})
    if(source MATCHES "_vnni\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512vnni")
    elseif(source MATCHES "_avx512bf16\\.cc$")
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${avx512};-mavx512bf16")
    endif()
  endforeach()
endfunction()

# Kernels are one source per level, inlined whole; under a sanitizer that explodes (decode_scalar.cc:
# more than four minutes; matmul.cc: 12 GB). So the scalar level is checked for addresses, without
# red zones between stack variables (33 s), and the vector levels of the same source are not.
function(raptly_kernel_sanitizers sources)
  foreach(source ${sources})
    file(STRINGS ${source} vector_levels REGEX "kernels/simd/targets|immintrin" LIMIT_COUNT 1)
    if(vector_levels)
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=all)
    elseif(source MATCHES "_scalar\\.cc$")
      set_property(SOURCE ${source} APPEND PROPERTY COMPILE_OPTIONS -fno-sanitize=undefined
        -fno-sanitize-address-use-after-scope
        $<IF:$<CXX_COMPILER_ID:Clang>,-mllvm=-asan-stack=0,--param=asan-stack=0>)
    endif()
  endforeach()
endfunction()

function(raptly_room room)
  cmake_parse_arguments(ARG "" "COMPONENT" "" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${room}/*.cc)
  set(tests ${sources})
  set(benches ${sources})
  list(FILTER sources EXCLUDE REGEX "(_(test|bench|fuzz)|/test_[^/]*)\\.cc$")
  list(FILTER tests INCLUDE REGEX "(_test|/test_[^/]*)\\.cc$")
  list(FILTER benches INCLUDE REGEX "_bench\\.cc$")
  target_sources(raptly_${ARG_COMPONENT} PRIVATE ${sources})
  raptly_leaf_flags("${sources}")
  if(RAPTLY_SANITIZE)
    raptly_kernel_sanitizers("${sources}")
  endif()
  if(RAPTLY_TESTS AND tests)
    raptly_test(${room} ${ARG_COMPONENT} "${tests}")
  endif()
  if(RAPTLY_BENCH AND benches)
    add_executable(raptly_${room}_bench ${benches})
    raptly_settings(raptly_${room}_bench)
    target_link_libraries(raptly_${room}_bench PRIVATE raptly_${ARG_COMPONENT} PkgConfig::HWY
      benchmark::benchmark_main)
  endif()
endfunction()

function(raptly_test room component tests)
  set(target raptly_${room}_test)
  add_executable(${target} ${tests})
  raptly_settings(${target})
  target_compile_definitions(${target} PRIVATE
    RAPTLY_SOURCE_DIR="${PROJECT_SOURCE_DIR}" RAPTLY_BINARY_DIR="${PROJECT_BINARY_DIR}")
  target_link_libraries(${target} PRIVATE raptly_${component} PkgConfig::HWY GTest::gtest_main
    rapidcheck rapidcheck_gtest)
  if(TARGET nlohmann_json::nlohmann_json)
    target_link_libraries(${target} PRIVATE nlohmann_json::nlohmann_json)
  endif()
  raptly_add_test(${room} fast -*Slow.*:*Slow/* LABELS fast)
  raptly_add_test(${room} slow *Slow.*:*Slow/* LABELS slow TIMEOUT 900)
  # Every lower level that the machine has; a level it has not exits at once and says so.
  if(room MATCHES "^(kernels|attention)$")
    foreach(level scalar avx2 avx512 avx512_bf16)
      raptly_add_test(${room} ${level} -*Slow.*:*Slow/* LABELS "slow;isa" TIMEOUT 900
        ENVIRONMENT RAPTLY_MAX_ISA=${level})
    endforeach()
  endif()
endfunction()

# One run of a room's test program. `ctest -j` runs several; an emulated room is cut in shards, so
# that it too uses all cores. Rooms that look at a clock or at signals run alone.
function(raptly_add_test room name filter)
  cmake_parse_arguments(ARG "" "TIMEOUT" "LABELS;ENVIRONMENT" ${ARGN})
  if(RAPTLY_SANITIZE MATCHES "address")  # more memory than there is must be an error, as without it
    list(APPEND ARG_ENVIRONMENT ASAN_OPTIONS=allocator_may_return_null=1)
  endif()
  set(shards 1)
  if(CMAKE_CROSSCOMPILING)
    set(shards 4)
  endif()
  math(EXPR last "${shards} - 1")
  foreach(shard RANGE ${last})
    set(test ${room}.${name})
    if(shards GREATER 1)
      string(APPEND test .${shard})
    endif()
    add_test(NAME ${test} COMMAND raptly_${room}_test --gtest_filter=${filter})
    set(environment GTEST_TOTAL_SHARDS=${shards} GTEST_SHARD_INDEX=${shard} ${ARG_ENVIRONMENT})
    set_tests_properties(${test} PROPERTIES LABELS "${ARG_LABELS}" ENVIRONMENT "${environment}")
    if(ARG_TIMEOUT)
      set_tests_properties(${test} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
    endif()
    if(room MATCHES "^(base|mask|cli)$")
      set_property(TEST ${test} PROPERTY RUN_SERIAL ON)
    endif()
  endforeach()
endfunction()

function(raptly_program name)
  cmake_parse_arguments(ARG "" "ROOM" "" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${ARG_ROOM}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|_bench|_fuzz|/main|/test_[^/]*)\\.cc$")
  list(FILTER tests INCLUDE REGEX "(_test|/test_[^/]*)\\.cc$")
  add_library(raptly_${ARG_ROOM} STATIC ${sources})
  raptly_settings(raptly_${ARG_ROOM})
  target_link_libraries(raptly_${ARG_ROOM} PUBLIC raptly_model PkgConfig::HWY
    nlohmann_json::nlohmann_json CLI11::CLI11 spdlog::spdlog PNG::PNG)
  target_compile_definitions(raptly_${ARG_ROOM} PRIVATE RAPTLY_VERSION="${PROJECT_VERSION}")
  add_executable(${name} ${PROJECT_SOURCE_DIR}/src/${ARG_ROOM}/main.cc)
  raptly_settings(${name})
  target_link_libraries(${name} PRIVATE raptly_${ARG_ROOM})
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  install(TARGETS ${name} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
  if(RAPTLY_TESTS AND tests)
    raptly_test(${ARG_ROOM} cli "${tests}")
    add_dependencies(raptly_${ARG_ROOM}_test ${name})
  endif()
endfunction()

function(raptly_fuzzers)
  file(GLOB_RECURSE fuzzers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/*_fuzz.cc)
  foreach(source ${fuzzers})
    get_filename_component(name ${source} NAME_WE)
    add_executable(${name} ${source})
    raptly_settings(${name})
    target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
    target_link_libraries(${name} PRIVATE raptly_model)
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/fuzz)
  endforeach()
endfunction()
