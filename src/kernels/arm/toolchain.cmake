# Debian's cross compiler, and an emulator of the CPU of a Raspberry Pi 5 (dot products, no i8mm, no bf16) to run what it
# makes: g++-aarch64-linux-gnu, qemu-user-static.
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CROSSCOMPILING_EMULATOR qemu-aarch64-static;-L;/usr/aarch64-linux-gnu;-cpu;cortex-a76)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
