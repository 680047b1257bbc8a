# cmake --preset cuda: both backends, CUDA's by nvcc. The machine code is for compute capabilities 8.0 and 9.0, and PTX of 9.0 is
# there for what comes after, unless CMAKE_CUDA_ARCHITECTURES says else.
include(ops/dispatch.cmake)
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
endif()
enable_language(CUDA CXX)
find_package(CUDAToolkit 12.5 REQUIRED)

ops_cpu(ops_cpu)
ops_rename(ops_cpu cpu)

file(GLOB cuda_sources CONFIGURE_DEPENDS ops/cuda/*.cu)
add_library(ops_cuda STATIC ${cuda_sources})
ops_rename(ops_cuda cuda)
target_compile_features(ops_cuda PRIVATE cuda_std_17)
target_compile_options(ops_cuda PRIVATE --extended-lambda -lineinfo -Xcompiler=-Wall,-Wextra,-fopenmp)
target_link_libraries(ops_cuda PUBLIC base CUDA::cudart_static CUDA::cublasLt)

# The loader may not know CUDA's folder, and CMake takes it for one of the system's.
cmake_path(GET CUDA_cublasLt_LIBRARY PARENT_PATH cuda_folder)
set(CMAKE_BUILD_RPATH ${cuda_folder})
set(CMAKE_INSTALL_RPATH ${cuda_folder})

ops_dispatch(ops "cpu;cuda" ops_cpu ops_cuda)
target_link_libraries(ops PUBLIC stdc++)
