# Tests again over other libraries of ops:
#   foreign_*    the CPU's, with device memory out of reach but inside calls of ops.h, which take no other: a layer above that
#                touches it dies, or that passes memory of the host
#   emulated_*   CUDA's sources as C++, block by block and thread by thread (tests/shim/cuda)
include(ops/dispatch.cmake)
ops_cpu(ops_cpu)
ops_rename(ops_cpu cpu)
ops_dispatch(ops_foreign cpu ops_cpu)
target_compile_definitions(ops_foreign PRIVATE FOREIGN)

# again PREFIX OPS TEST...
function(again prefix ops)
  foreach(name ${ARGN})
    add_executable(${prefix}_${name} tests/${name}.c)
    target_compile_definitions(${prefix}_${name} PRIVATE OPS_OPAQUE $<IF:$<STREQUAL:${prefix},emulated>,OPS_EMULATED,FOREIGN>)
    target_link_libraries(${prefix}_${name} PRIVATE serve report train rec model data text io ${ops} base ${CMOCKA})
    add_test(NAME ${prefix}_${name} COMMAND ${prefix}_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(${prefix}_${name} PROPERTIES ENVIRONMENT OMP_WAIT_POLICY=passive)
  endforeach()
endfunction()

again(foreign ops_foreign test_ablations test_attention test_beam test_device test_frozen test_gradients test_ground test_guard test_layers
      test_lean test_loop test_lora test_ops test_optimizer test_recompute test_rewards test_rl test_sasrec test_sasrec_ops
      test_sasrec_ranker test_score test_segments test_serve test_sft test_steps test_thought_test test_training test_weights)

include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
  message(STATUS "no C++ compiler: ops/cuda is not tested")
  return()
endif()
enable_language(CXX)
file(GLOB cuda_sources CONFIGURE_DEPENDS ops/cuda/*.cu)
set_source_files_properties(${cuda_sources} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++;-Wno-unknown-pragmas;-fno-strict-aliasing;-fopenmp")
add_library(ops_emulated STATIC ${cuda_sources} tests/shim/cuda/emulation.cpp)
target_compile_features(ops_emulated PRIVATE cxx_std_17)
target_include_directories(ops_emulated BEFORE PRIVATE tests/shim/cuda)
target_link_libraries(ops_emulated PUBLIC base OpenMP::OpenMP_C stdc++ m)
again(emulated ops_emulated test_attention test_device test_layers test_ops test_sasrec_ops)
option(EMULATE_MODELS "whole models over ops/cuda on the processor too: half an hour" OFF)
if(EMULATE_MODELS)
  again(emulated ops_emulated test_frozen test_lora test_recompute test_rl test_sasrec test_sasrec_ranker test_score test_segments test_serve
        test_sft test_steps)
endif()
