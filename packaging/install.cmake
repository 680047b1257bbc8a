# What `make install` puts where, and `make deb` (CPack) into a package.
include(GNUInstallDirs)

# The manual page of the program is made of its own --help, so that it says what the program does.
add_custom_command(
  OUTPUT ${CMAKE_BINARY_DIR}/latentr3.1
  COMMAND ${CMAKE_SOURCE_DIR}/packaging/make_man.sh $<TARGET_FILE:latentr3> ${CMAKE_BINARY_DIR}/latentr3.1
  DEPENDS latentr3 packaging/make_man.sh
  VERBATIM)
add_custom_target(man ALL DEPENDS ${CMAKE_BINARY_DIR}/latentr3.1)

# The folder of latentr3.pc tells the prefix: the tree may be moved, or unpacked anywhere.
file(RELATIVE_PATH PREFIX_FROM_PC /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
configure_file(packaging/latentr3.pc.in latentr3.pc @ONLY)

if(TARGET latentr3_mpi)
  set_target_properties(latentr3 PROPERTIES BUILD_WITH_INSTALL_RPATH ON
                        INSTALL_RPATH "$ORIGIN;$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/latentr3;${CMAKE_INSTALL_RPATH}")
  install(TARGETS latentr3_mpi DESTINATION ${CMAKE_INSTALL_LIBDIR}/latentr3 COMPONENT mpi)
endif()
install(TARGETS latentr3 liblatentr3)
install(FILES include/latentr3.h TYPE INCLUDE)
install(FILES ${CMAKE_BINARY_DIR}/latentr3.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
install(FILES ${CMAKE_BINARY_DIR}/latentr3.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES docs/latentr3.3 DESTINATION ${CMAKE_INSTALL_MANDIR}/man3)
install(FILES README.md CONTRIBUTING.md TYPE DOC)
install(FILES LICENSE TYPE DOC RENAME copyright)
install(DIRECTORY docs examples experiments TYPE DOC PATTERN latentr3.3 EXCLUDE PATTERN results EXCLUDE)

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME latentr3)
set(CPACK_PACKAGE_CONTACT "The latentr3 authors <latentr3@localhost>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "recommender that thinks in a latent vector before it answers")
set(CPACK_PACKAGE_DESCRIPTION "An engine that turns an interaction log and a language model into a recommender:
it trains it, measures it, serves it over HTTP, and is a C library.")
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)    # what it depends on is read out of the binaries
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON) # and ldconfig runs when it is installed
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=") # a later version of the same soname serves packages built on this one
set(CPACK_STRIP_FILES ON)
# OpenMPI and the seventy packages behind it are for those who start several processes: a package of its own.
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL Unspecified)
set(CPACK_DEBIAN_UNSPECIFIED_PACKAGE_NAME latentr3)
if(TARGET latentr3_mpi)
  list(APPEND CPACK_COMPONENTS_ALL mpi)
  set(CPACK_COMPONENT_MPI_DESCRIPTION "sft, rl, sasrec and eval of latentr3 as several processes by OpenMPI")
  set(CPACK_DEBIAN_MPI_PACKAGE_NAME latentr3-mpi)
  set(CPACK_DEBIAN_MPI_PACKAGE_DEPENDS "latentr3 (= ${PROJECT_VERSION}), openmpi-bin")
endif()
include(CPack)
