# Several backends in one library: each has its device's name before its functions, and dispatch.c chooses between them.

# Compile a library's sources with the contract's functions renamed for `device`.
function(ops_rename library device)
  set(names ${CMAKE_BINARY_DIR}/ops_names_${device}.h)
  if(NOT TARGET ops_names_${device})
    add_custom_command(OUTPUT ${names} DEPENDS ${CMAKE_SOURCE_DIR}/ops/ops.h ${CMAKE_SOURCE_DIR}/ops/dispatch.awk VERBATIM
      COMMAND awk -v make=names -v device=${device} -f ${CMAKE_SOURCE_DIR}/ops/dispatch.awk ${CMAKE_SOURCE_DIR}/ops/ops.h > ${names})
    add_custom_target(ops_names_${device} DEPENDS ${names})
  endif()
  add_dependencies(${library} ops_names_${device})
  target_compile_options(${library} PRIVATE -include ${names})
endfunction()

# The library `name` of these devices; the first is the one where none is named. What follows are the backends' libraries.
function(ops_dispatch name devices)
  set(folder ${CMAKE_BINARY_DIR}/${name}_table)
  file(MAKE_DIRECTORY ${folder})
  string(REPLACE ";" " " list "${devices}")
  add_custom_command(OUTPUT ${folder}/ops_table.h DEPENDS ${CMAKE_SOURCE_DIR}/ops/ops.h ${CMAKE_SOURCE_DIR}/ops/dispatch.awk VERBATIM
    COMMAND awk -v make=table -v devices=${list} -f ${CMAKE_SOURCE_DIR}/ops/dispatch.awk ${CMAKE_SOURCE_DIR}/ops/ops.h
            > ${folder}/ops_table.h)
  add_library(${name} STATIC ${CMAKE_SOURCE_DIR}/ops/dispatch.c ${folder}/ops_table.h)
  target_include_directories(${name} PRIVATE ${folder})
  target_link_libraries(${name} PUBLIC ${ARGN} base)
endfunction()
