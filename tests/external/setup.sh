#!/usr/bin/env bash
# Unpack bedtools and its libraries into a folder of their own, from Debian packages. Installs nothing.
#   bash tests/peers/setup.sh FOLDER
# Leaves FOLDER/bedtools and exits 0, or says why not and exits 1.
set -euo pipefail
source "$(dirname "$0")/../unpack_debian.sh"
mkdir -p "$1"
cd "$1"
ready() {
  [[ -x bedtools && $(./bedtools --version) == bedtools* ]] && echo "bedtools ready"
}
ready && exit 0

unpack_debian bedtools libbz2-1.0 libc6 libgcc-s1 liblzma5 libstdc++6 zlib1g
cat > bedtools << 'SH'
#!/bin/sh
root=$(cd "$(dirname "$0")" && pwd)/root
lib=$root/usr/lib/x86_64-linux-gnu
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib" "$root/usr/bin/bedtools" "$@"
SH
chmod +x bedtools
ready || { echo "the unpacked bedtools does not run" >&2; exit 1; }
