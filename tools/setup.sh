#!/bin/sh
# Installs what building and testing cohort needs and this machine lacks: Debian packages (as root or with sudo) or
# Homebrew's. Safe to repeat; a second run finds nothing to do and takes well under a second.
#   tools/setup.sh         what the build and the demo need
#   tools/setup.sh test    also what the tests need (node, clang tools, npm packages)
set -eu
cd "$(dirname "$0")/.."

build_packages="g++ cmake ninja-build make pkg-config ccache mold git ca-certificates
  libboost1.81-dev libssl-dev libcurl4-openssl-dev nlohmann-json3-dev libsimdjson-dev libtomlplusplus-dev libcli11-dev
  libfmt-dev libspdlog-dev libpcre2-dev libedit-dev libexpected-dev libgtest-dev libbenchmark-dev libutf8proc-dev"
test_packages="python3 clang-format clang-tidy curl iproute2 procps g++-aarch64-linux-gnu qemu-user-static
  libibverbs-dev ibverbs-providers libucx-dev qemu-system-x86 busybox-static kmod"
brew_packages="cmake ninja pkg-config ccache boost openssl@3 curl nlohmann-json simdjson tomlplusplus cli11 fmt spdlog
  pcre2 libedit googletest google-benchmark utf8proc tl-expected mlx"

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  if command -v sudo >/dev/null 2>&1; then sudo "$@"; return; fi
  echo "setup: installing packages needs root; run this script as root or install sudo" >&2
  exit 1
}

# Installed packages of the list, one dpkg call for all.
missing_debian_packages() {
  wanted=$(printf '%s\n' $1)
  have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' $1 2>/dev/null | sed -n 's/^installed //p')
  printf '%s\n' "$wanted" | grep -vxF "$have" || true
}

install_debian() {
  wanted="$build_packages"
  if [ "${1:-}" = test ]; then
    wanted="$wanted $test_packages"
    # A node of the user's own will do; Debian's otherwise.
    command -v npm >/dev/null 2>&1 || wanted="$wanted nodejs npm"
  fi
  missing=$(missing_debian_packages "$wanted")
  [ -z "$missing" ] && return
  echo "setup: installing" $missing
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

install_homebrew() {
  command -v brew >/dev/null 2>&1 || { echo "setup: install Homebrew first: https://brew.sh" >&2; exit 1; }
  for package in $brew_packages; do
    brew list "$package" >/dev/null 2>&1 || brew install "$package"
  done
}

case "$(uname -s)" in
  Darwin) install_homebrew ;;
  Linux)
    command -v apt-get >/dev/null 2>&1 || {
      echo "setup: this script knows Debian 12 and its relatives; install by hand:" $build_packages >&2
      exit 1
    }
    install_debian "${1:-}" ;;
  *) echo "setup: unknown system $(uname -s)" >&2; exit 1 ;;
esac

if [ "${1:-}" = test ]; then
  for script in tests/*/setup.sh; do
    [ -e "$script" ] && sh "$script"
  done
fi
exit 0
