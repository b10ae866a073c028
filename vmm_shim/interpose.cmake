# The shim inside somebody else's process.
#   libbuslock-kvm.so          for programs that link it, before libc
#   libbuslock-kvm-preload.so  the same file, under the name that `buslock exec` preloads: a program
#                              that links the library and is preloaded as well has it once
#   libbuslock-kvm.a           the same as one object, everything but the interposed names hidden
# All of them contain the shim, the processor and the engine, and export only what interpose.map lists.

add_library(buslock-interpose OBJECT
	interpose.c interpose_fault.c interpose_file.c interpose_io.c interpose_memory.c interpose_module.c
	interpose_own.c interpose_path.c
	interpose_signal.c interpose_stat.c interpose_syscall.c
	interpose_time.c interpose_time_wait.c interpose_time_thread.c)
target_link_libraries(buslock-interpose PUBLIC buslock_flags)
# Thread-local variables without the allocation that a first use in a loaded library costs.
target_compile_options(buslock-interpose PRIVATE -ftls-model=initial-exec)

# The list of names has one home, the version script. Each is also wrapped: see interpose_own.c.
set(map ${CMAKE_CURRENT_SOURCE_DIR}/interpose.map)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${map})
file(READ ${map} names)
string(REGEX REPLACE "^.*global:" "" names "${names}")
string(REGEX REPLACE "local:.*$" "" names "${names}")
string(REGEX MATCHALL "[A-Za-z_0-9]+" interposed "${names}")
list(TRANSFORM interposed PREPEND "--wrap=" OUTPUT_VARIABLE wraps)
list(TRANSFORM wraps PREPEND "-Wl," OUTPUT_VARIABLE wrap_flags)

add_library(buslock-kvm SHARED $<TARGET_OBJECTS:buslock-interpose>)
target_link_libraries(buslock-kvm PRIVATE buslock-kvm-core ${CMAKE_DL_LIBS})
target_link_options(buslock-kvm PRIVATE -Wl,--version-script=${map} ${wrap_flags} -Wl,-z,now)
set_target_properties(buslock-kvm PROPERTIES LINK_DEPENDS ${map} VERSION ${PROJECT_VERSION}
	SOVERSION ${PROJECT_VERSION_MAJOR} LINKER_LANGUAGE C)
if(NOT BUSLOCK_SANITIZE)
	target_link_options(buslock-kvm PRIVATE -Wl,-z,defs)
endif()

# Beside the command, where it looks first.
set(preload ${CMAKE_BINARY_DIR}/libbuslock-kvm-preload.so)
add_custom_command(OUTPUT ${preload} DEPENDS buslock-kvm VERBATIM
	COMMAND ${CMAKE_COMMAND} -E create_symlink $<TARGET_FILE:buslock-kvm> ${preload})
add_custom_target(buslock-preload ALL DEPENDS ${preload})

# The engine's seams are link options too (cmake/engine.cmake); here ld is called directly.
get_target_property(seams buslock_engine INTERFACE_LINK_OPTIONS)
list(FILTER seams INCLUDE REGEX "^-Wl,--wrap=")
list(TRANSFORM seams REPLACE "^-Wl," "")
set(archive ${CMAKE_CURRENT_BINARY_DIR}/libbuslock-kvm.a)
set(keep ${CMAKE_CURRENT_BINARY_DIR}/libbuslock-kvm.names)
list(JOIN interposed "\n" lines)
file(GENERATE OUTPUT ${keep} CONTENT "${lines}\n")
add_custom_command(OUTPUT ${archive} COMMAND_EXPAND_LISTS VERBATIM
	DEPENDS buslock-interpose buslock-kvm-core buslock-emu buslock-report buslock_engine_seam
		${buslock_engine_archive} ${CAPSTONE_ARCHIVE} $<TARGET_OBJECTS:buslock-interpose>
	COMMAND ${CMAKE_LINKER} -r -o libbuslock-kvm.o ${wraps} ${seams}
		$<TARGET_OBJECTS:buslock-interpose> --start-group $<TARGET_FILE:buslock-kvm-core>
		$<TARGET_FILE:buslock-emu> $<TARGET_FILE:buslock-report> ${buslock_engine_archive}
		${CAPSTONE_ARCHIVE} --end-group
	COMMAND ${CMAKE_OBJCOPY} --keep-global-symbols=${keep} libbuslock-kvm.o
	COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
	COMMAND ${CMAKE_AR} rcs ${archive} libbuslock-kvm.o
	COMMENT "Linking libbuslock-kvm.a")
add_custom_target(buslock-kvm-archive ALL DEPENDS ${archive})
add_dependencies(buslock-preload buslock-kvm-archive)

install(TARGETS buslock-kvm LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES $<TARGET_FILE:buslock-kvm> DESTINATION ${CMAKE_INSTALL_LIBDIR}/buslock
	RENAME libbuslock-kvm-preload.so)
