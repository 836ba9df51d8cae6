#!/usr/bin/env bash
# Installs the library into a scratch prefix and builds a user's program against it with find_package.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly PREFIX=$PWD/build/install-test/prefix
rm -rf build/install-test
cmake --install build/release --prefix "$PREFIX" >/dev/null
cmake -S examples/consumer -B build/install-test/build -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_PREFIX_PATH="$PREFIX" >build/install-test.log 2>&1 || { cat build/install-test.log >&2; exit 1; }
cmake --build build/install-test/build >&2
build/install-test/build/consumer
echo "find_package(raptly COMPONENTS attention model): 1 passed, 0 failed"
