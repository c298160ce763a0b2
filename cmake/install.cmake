# What is installed where, and the Debian package made of it. Everything finds its neighbours by
# relative paths, so an installed tree may be moved.
include(CMakePackageConfigHelpers)

install(TARGETS graft_shared graft_static EXPORT graft
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(FILES include/graft.h TYPE INCLUDE)

# find_package(graft): graft::graft, or graft::graft_static with its libraries' -dev packages.
set(dir ${CMAKE_INSTALL_LIBDIR}/cmake/graft)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/graftConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(EXPORT graft FILE graftConfig.cmake NAMESPACE graft:: DESTINATION ${dir})
install(FILES ${PROJECT_BINARY_DIR}/graftConfigVersion.cmake DESTINATION ${dir})

# pkg-config graft: --static is for libgraft.a.
list(TRANSFORM GRAFT_LIBS_PRIVATE PREPEND "-l" OUTPUT_VARIABLE PC_LIBS_PRIVATE)
list(JOIN PC_LIBS_PRIVATE " " PC_LIBS_PRIVATE)
file(RELATIVE_PATH PC_PREFIX ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" PC_PREFIX ${PC_PREFIX})
file(RELATIVE_PATH PC_LIBDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_LIBDIR})
file(RELATIVE_PATH PC_INCLUDEDIR ${CMAKE_INSTALL_PREFIX} ${CMAKE_INSTALL_FULL_INCLUDEDIR})
configure_file(cmake/graft.pc.in graft.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/graft.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

# Debian's zsh looks in share/zsh/vendor-completions: preset "deb".
set(GRAFT_ZSH_DIR ${CMAKE_INSTALL_DATADIR}/zsh/site-functions CACHE STRING "Where _graft goes")
install(TARGETS graft)
install(FILES ${GRAFT_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
set(completion ${PROJECT_BINARY_DIR}/cli/completion)
install(FILES ${completion}/bash RENAME graft
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${completion}/fish RENAME graft.fish
        DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES ${completion}/zsh RENAME _graft DESTINATION ${GRAFT_ZSH_DIR})
install(FILES README.md cmake/copyright TYPE DOC)
install(DIRECTORY examples TYPE DOC)
install(FILES models/graft-base.onnx python/graft.py DESTINATION ${CMAKE_INSTALL_DATADIR}/graft)

# cpack -G DEB; the dependencies are those of the programs' libraries (dpkg-shlibdeps).
set(CPACK_PACKAGE_CONTACT "graft maintainers <maintainers@graft.invalid>")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_SOURCE_DIR}/cmake/deb.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${PROJECT_SOURCE_DIR}/cmake/triggers)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION
"graft reads a pre-trained network (ONNX, PyTorch .pth, safetensors), cuts off
its old head, learns a new one from labelled pictures, says with evidence
whether the transfer helped, and writes a plain ONNX file. No Python.
.
This package holds the tool with its manual and completions, and the library
with its header, for pkg-config and CMake.")
include(CPack)
