# cmake --preset cuda: both backends, CUDA's by nvcc. The machine code is for compute capabilities 8.0 and 9.0; PTX of 9.0 is there
# for what comes after.
include(ops/dispatch.cmake)
set(CMAKE_CUDA_ARCHITECTURES 80-real 90)
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

ops_dispatch(ops "cpu;cuda" ops_cpu ops_cuda)
target_link_libraries(ops PUBLIC stdc++)
