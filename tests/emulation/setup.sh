#!/usr/bin/env bash
# Unpack the Bochs CPU emulator (AVX-512, AVX512-BF16, AMX) and its libraries into a folder of their
# own, from Debian packages and the mirror that this machine's apt already uses. Installs nothing.
#   bash tests/emulation/setup.sh FOLDER
# Prints "emulator ready" and exits 0, or says why not and exits 1.
set -euo pipefail
source "$(dirname "$0")/../unpack_debian.sh"
mkdir -p "$1"
cd "$1"
folder=$PWD
ready() {
  [[ -x bochs && $(./bochs --help cpu 2>&1) == *sapphire_rapids* ]] && echo "emulator ready"
}
ready && exit 0

for tool in gcc nm; do
  command -v $tool > /dev/null || { echo "$tool is not installed" >&2; exit 1; }
done
mkdir -p stand_ins
unpack_debian bochs libc6 libstdc++6 libgcc-s1 libltdl7

# The debugger's windows, readline and samplerate are linked but unused here: stand-ins for them.
lib=root/usr/lib/x86_64-linux-gnu
nm -D --undefined-only root/usr/bin/bochs-bin | awk '{ sub(/@.*/, "", $2)
  if ($2 ~ /^(gtk|gdk|g|pango|src|cairo|rl)_|^(readline|add_history)$/)
    print "long " $2 "(void) { return 0; }" }' | sort -u > stand_ins.c
gcc -shared -fPIC -fno-builtin -w stand_ins.c -Wl,-soname,libgtk-3.so.0 -o stand_ins/libgtk-3.so.0
for name in libgdk-3.so.0 libpango-1.0.so.0 libgobject-2.0.so.0 libglib-2.0.so.0 \
  libreadline.so.8 libsamplerate.so.0; do
  gcc -shared -nostdlib -x c /dev/null -Wl,-soname,$name -o stand_ins/$name
done
rm -rf "$lib"/bochs/plugins/libbx_sound{alsa,pulse,oss}*
printf '\x55\xaa\x01' > vga.rom # the smallest valid option ROM: Bochs wants one, nothing runs it
truncate -s 512 vga.rom
cat > bochs <<'SH'
#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
lib=$here/root/usr/lib/x86_64-linux-gnu
export BXSHARE=$here/root/usr/share/bochs LTDL_LIBRARY_PATH=$lib/bochs/plugins
exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib:$here/stand_ins" "$here/root/usr/bin/bochs-bin" "$@"
SH
chmod +x bochs
ready || { echo "the unpacked emulator does not run" >&2; exit 1; }
