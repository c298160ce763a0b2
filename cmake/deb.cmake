# What Debian wants that an installed tree does not have: a changelog, compressed manual pages.
set(share ${CPACK_TEMPORARY_INSTALL_DIRECTORY}/usr/share)
string(TIMESTAMP now "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE ${share}/doc/graft/changelog
     "graft (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n"
     "  * Built from the source of version ${CPACK_PACKAGE_VERSION}.\n\n"
     " -- ${CPACK_PACKAGE_CONTACT}  ${now}\n")
file(GLOB pages ${share}/man/man1/*.1)
execute_process(COMMAND gzip -9n ${share}/doc/graft/changelog ${pages} COMMAND_ERROR_IS_FATAL ANY)
