# Build options and the flags that every target shares.
option(BUSLOCK_TESTS "Build the tests, guests and benchmarks" ON)
option(BUSLOCK_WERROR "Treat warnings as errors" OFF)
option(BUSLOCK_FUZZ "Fuzz targets for clang's libFuzzer instead of programs that run by themselves" OFF)
set(BUSLOCK_SANITIZE "" CACHE STRING "Sanitizers, e.g. address,undefined or thread")
set(BUSLOCK_UNICORN "" CACHE PATH "Directory with libunicorn.a and include/ of a Unicorn 2.1.1 built from source")

if(NOT CMAKE_BUILD_TYPE)
	set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "Build type" FORCE)
endif()

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_C_VISIBILITY_PRESET hidden)

# The language is C11 with GNU extensions; gcc's -Wpedantic lets most of them pass, clang's does not.
add_compile_options($<$<C_COMPILER_ID:Clang>:-Wno-gnu> $<$<C_COMPILER_ID:Clang>:-Wno-flexible-array-extensions>)

add_library(buslock_flags INTERFACE)
target_compile_options(buslock_flags INTERFACE -Wall -Wextra -Wpedantic -fno-strict-aliasing
	$<$<C_COMPILER_ID:Clang>:-Wno-gnu-statement-expression>)
target_compile_definitions(buslock_flags INTERFACE _GNU_SOURCE BUSLOCK_VERSION="${PROJECT_VERSION}")
target_include_directories(buslock_flags INTERFACE ${PROJECT_SOURCE_DIR})
if(BUSLOCK_WERROR)
	target_compile_options(buslock_flags INTERFACE -Werror)
endif()
if(BUSLOCK_FUZZ)
	# what tells libFuzzer where a program has been; build the fuzz targets alone
	target_compile_options(buslock_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
if(BUSLOCK_SANITIZE)
	target_compile_options(buslock_flags INTERFACE
		-fsanitize=${BUSLOCK_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
	target_link_options(buslock_flags INTERFACE -fsanitize=${BUSLOCK_SANITIZE})
endif()
