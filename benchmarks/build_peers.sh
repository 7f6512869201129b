#!/usr/bin/env bash
# Builds llama-batched-bench and llama-server, the peers that the speed benchmarks compare with,
# from the llama.cpp sources inside the very llama-cpp-python release that ttc pins.
#
#   benchmarks/build_peers.sh [FOLDER]        FOLDER defaults to build/peers
#
# Build them as the wheel was built, or the ratios compare compilers: CC, CXX and CMAKE_ARGS are
# honoured as pip honours them, e.g.
#   CC=clang CXX=clang++ CMAKE_ARGS="-DGGML_OPENMP=OFF" benchmarks/build_peers.sh
# LLAMA_CPP_SOURCE names an unpacked llama.cpp instead, PYTHON the interpreter whose pip fetches the
# release. Needs cmake; takes minutes. At run time the speed benchmarks put the wheel's own
# libggml before the one built here.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$here/build/peers}
python=${PYTHON:-$here/.venv/bin/python}
version=$(sed -n 's/.*"llama-cpp-python==\([^"]*\)".*/\1/p' "$here/pyproject.toml")
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

source_tree=${LLAMA_CPP_SOURCE:-$folder/llama_cpp_python-$version/vendor/llama.cpp}
if [ ! -f "$source_tree/CMakeLists.txt" ]; then
    "$python" -m pip download --quiet --no-deps --no-binary llama-cpp-python -d "$folder" \
        "llama-cpp-python==$version"
    tar -xzf "$folder/llama_cpp_python-$version.tar.gz" -C "$folder"
fi

generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi

# zig links its C++ library into every shared library; without -Bsymbolic one frees what another
# allocated, and llama-server aborts at its start.
linker=-Wl,-Bsymbolic
if [ "$(uname)" = Darwin ]; then linker=; fi

# The web interface is left out: by default its assets would be fetched from a model hub.
# shellcheck disable=SC2086  # CMAKE_ARGS is a list
cmake -S "$source_tree" -B "$folder/cmake" ${generator[@]+"${generator[@]}"} \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DCMAKE_SHARED_LINKER_FLAGS="$linker" \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON -DCMAKE_INSTALL_RPATH='$ORIGIN' \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF \
    ${CMAKE_ARGS:-}
nice -n 19 cmake --build "$folder/cmake" --config Release -j "${JOBS:-2}" \
    --target llama-batched-bench llama-server

echo "built: $folder/cmake/bin/llama-batched-bench"
echo "built: $folder/cmake/bin/llama-server"
