#!/usr/bin/env bash
# Kernel tests cross-built for NEON, run under qemu-aarch64 (./dev test calls it).
# The target's libraries are unpacked into build/neon-sysroot through a private apt state: the system's
# own packages and architectures are not touched.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly SYSROOT=$PWD/build/neon-sysroot
readonly PACKAGES="libhwy1 libhwy-dev libgtest-dev librapidcheck-dev"

unpack_packages() {
  local state=$PWD/build/neon-apt
  mkdir -p "$state"/{lists/partial,cache/archives/partial,debs}
  : >"$state/status"
  cat >"$state/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State::lists "$state/lists";
Dir::Cache "$state/cache";
Dir::State::status "$state/status";
CONF
  (
    export APT_CONFIG=$state/apt.conf
    apt-get update -qq
    # shellcheck disable=SC2086
    cd "$state/debs" && apt-get download -qq $PACKAGES
  )
  for deb in "$state"/debs/*.deb; do dpkg-deb -x "$deb" "$SYSROOT"; done
  touch "$SYSROOT/.complete"
}

[ -e "$SYSROOT/.complete" ] || unpack_packages
export RAPTLY_SYSROOT=$SYSROOT
cmake -S . -B build/neon -G Ninja -DCMAKE_BUILD_TYPE=Release -DRAPTLY_MODEL=OFF -DRAPTLY_EXAMPLES=OFF \
  -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64.cmake" >build/neon-configure.log 2>&1 ||
  { cat build/neon-configure.log >&2; exit 1; }
cmake --build build/neon --target raptly_kernels_test raptly_mask_test >&2
RAPTLY_EMULATED=1 ctest --test-dir build/neon -j "$(nproc)" --output-on-failure --no-tests=error -R '^(kernels|mask)\.fast'
