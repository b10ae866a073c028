# What `tools/setup --local` unpacked is found before what the system has, also at run time of the
# build tree's programs. The unpacked tools are the wrappers in build/deps/bin.
set(buslock_unpacked ${PROJECT_SOURCE_DIR}/build/deps/root/usr)
if(EXISTS ${buslock_unpacked}/include)
	list(PREPEND CMAKE_PREFIX_PATH ${PROJECT_SOURCE_DIR}/build/deps ${buslock_unpacked})
	list(APPEND CMAKE_BUILD_RPATH ${buslock_unpacked}/lib/${CMAKE_LIBRARY_ARCHITECTURE})
endif()
