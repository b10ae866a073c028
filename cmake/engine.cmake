# The engine (Unicorn) and the disassembler (Capstone), both as static archives: the preloaded
# library lives in somebody else's process, and QEMU's own symbols and libcapstone.so.4 collide with
# dynamic ones. docs/engine.md tells the whole story.
find_package(Threads REQUIRED)
set(buslock_engine_help "Run tools/setup (add --local to leave the system alone), or give a Unicorn \
2.1.1 built from source with -DBUSLOCK_UNICORN=DIR.")

# Debian's, or what `tools/setup --local` unpacked (cmake/local.cmake puts it in the search path)
if(BUSLOCK_UNICORN)
	find_library(UNICORN_ARCHIVE NAMES libunicorn.a HINTS ${BUSLOCK_UNICORN} ${BUSLOCK_UNICORN}/lib
		${BUSLOCK_UNICORN}/build NO_DEFAULT_PATH)
	find_path(UNICORN_INCLUDE unicorn/unicorn.h HINTS ${BUSLOCK_UNICORN}/include NO_DEFAULT_PATH)
else()
	find_library(UNICORN_ARCHIVE NAMES libunicorn.a)
	find_path(UNICORN_INCLUDE unicorn/unicorn.h)
endif()
find_library(CAPSTONE_ARCHIVE NAMES libcapstone.a)
find_path(CAPSTONE_INCLUDE capstone/capstone.h)
foreach(part UNICORN_ARCHIVE UNICORN_INCLUDE CAPSTONE_ARCHIVE CAPSTONE_INCLUDE)
	if(NOT ${part})
		message(FATAL_ERROR "${part}: not found. ${buslock_engine_help}")
	endif()
endforeach()

# Exactly 2.1.1: 2.0.x has no address translation; 2.1.4's memory helpers recurse for ever when
# linked statically and its hooks see wrong flags.
file(STRINGS ${UNICORN_INCLUDE}/unicorn/unicorn.h unicorn_version REGEX "define UC_API_(MAJOR|MINOR|PATCH) ")
string(REGEX REPLACE "[^0-9;]" "" unicorn_version "${unicorn_version}")
list(JOIN unicorn_version "." unicorn_version)
if(NOT unicorn_version STREQUAL "2.1.1")
	message(FATAL_ERROR "Unicorn ${unicorn_version} found at ${UNICORN_INCLUDE}; buslock needs exactly "
		"2.1.1: older ones cannot translate addresses, newer ones are slower and their static archive "
		"crashes. ${buslock_engine_help}")
endif()
file(STRINGS ${CAPSTONE_INCLUDE}/capstone/capstone.h capstone_major REGEX "define CS_API_MAJOR ")
if(NOT capstone_major MATCHES "5$")
	message(FATAL_ERROR "Capstone at ${CAPSTONE_INCLUDE} is not version 5. ${buslock_engine_help}")
endif()

# The private functions that emu/engine_unicorn.c hooks into at link time. objcopy and the linker
# would pass over a missing one in silence or with a riddle.
set(buslock_weakened check_exit_request_x86_64)
set(buslock_wrapped tb_gen_code_x86_64 cpu_exec_x86_64)
# What the engine does by itself of locked instructions, CMPXCHG and STI: emu/engine_native.c.
list(APPEND buslock_wrapped tcg_func_start_x86_64 tcg_gen_movcond_i64_x86_64 tcg_gen_ext32u_i64_x86_64
	helper_sti_x86_64 helper_hlt_x86_64 tlb_reset_dirty_by_vaddr_x86_64)
foreach(operation fetch_add add_fetch fetch_and and_fetch fetch_or or_fetch fetch_xor xor_fetch xchg cmpxchg)
	foreach(size b w_le l_le q_le)
		list(APPEND buslock_wrapped helper_atomic_${operation}${size}_x86_64)
	endforeach()
endforeach()
set(buslock_called cpu_loop_exit_restore_x86_64)
execute_process(COMMAND ${CMAKE_NM} ${UNICORN_ARCHIVE} OUTPUT_VARIABLE unicorn_symbols ERROR_QUIET)
foreach(symbol ${buslock_weakened} ${buslock_wrapped} ${buslock_called})
	if(NOT unicorn_symbols MATCHES " T ${symbol}\n")
		message(FATAL_ERROR "${UNICORN_ARCHIVE} defines no function ${symbol}: it is not the x86 build of "
			"Unicorn 2.1.1 that emu/engine_unicorn.c is written for. ${buslock_engine_help}")
	endif()
endforeach()
unset(unicorn_symbols)

# A weak definition in the archive gives way to ours; --wrap cannot do this one, because its callers
# are in the same object file.
set(buslock_engine_archive ${CMAKE_BINARY_DIR}/libunicorn-seamed.a)
list(TRANSFORM buslock_weakened PREPEND "--weaken-symbol=" OUTPUT_VARIABLE weaken_options)
add_custom_command(OUTPUT ${buslock_engine_archive}
	COMMAND ${CMAKE_OBJCOPY} ${weaken_options} ${UNICORN_ARCHIVE} ${buslock_engine_archive}
	DEPENDS ${UNICORN_ARCHIVE} COMMENT "Opening the engine's seam" VERBATIM)
add_custom_target(buslock_engine_seam DEPENDS ${buslock_engine_archive})

add_library(buslock_engine INTERFACE)
add_dependencies(buslock_engine buslock_engine_seam)
target_include_directories(buslock_engine SYSTEM INTERFACE ${UNICORN_INCLUDE} ${CAPSTONE_INCLUDE})
# --exclude-libs and -Bsymbolic keep the engine's 30,000 symbols to ourselves.
list(TRANSFORM buslock_wrapped PREPEND "-Wl,--wrap=" OUTPUT_VARIABLE wrap_options)
target_link_options(buslock_engine INTERFACE ${wrap_options} -Wl,--exclude-libs,ALL -Wl,-Bsymbolic)
target_link_libraries(buslock_engine INTERFACE ${buslock_engine_archive} ${CAPSTONE_ARCHIVE}
	Threads::Threads m)
