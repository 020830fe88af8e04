#!/usr/bin/env bash
# Run a static, single-threaded program on an emulated CPU; its output and exit status come back.
#   bash tests/emulation/run.sh FOLDER CPU PROGRAM [up to ten plain arguments]
# FOLDER: made by setup.sh. CPU: sapphire_rapids (AVX-512, AVX512-BF16, AMX), corei7_icelake_u
# (AVX-512), corei7_haswell_4770 (AVX2). The program is non-PIE, under 4 MiB stripped, without
# files. An illegal instruction is reported as "EMU FAULT vec 6" and exit status 255; 124: no end.
# The speed is about 10^8 scalar instructions or 2*10^6 vector multiply-adds a second.
set -euo pipefail
emulator=$1 cpu=$2 program=$3
shift 3
stub=$(cd "$(dirname "$0")/stub" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The ROM, 4 MiB: the program, then the stub in the last 64 KiB.
gcc -c "$stub/stub.S" -o "$work/entry.o"
gcc -c -Os -ffreestanding -fno-stack-protector -fno-pic -fcf-protection=none -mno-red-zone \
  -mgeneral-regs-only -fno-tree-loop-distribute-patterns "-DARGUMENTS=\"$*\"" \
  "$stub/stub.c" -o "$work/stub.o"
ld -T "$stub/stub.ld" -z noexecstack --no-warn-rwx-segments \
  -o "$work/stub.elf" "$work/entry.o" "$work/stub.o"
objcopy -O binary "$work/stub.elf" "$work/stub.bin"
strip -o "$work/rom" "$program"
room=$((4 * 1024 * 1024 - 65536))
[ "$(stat -c %s "$work/rom")" -le $room ] || { echo "$program is over 4 MiB" >&2; exit 99; }
truncate -s $room "$work/rom"
cat "$work/stub.bin" >> "$work/rom"

cat > "$work/bochsrc" <<CONF
config_interface: textconfig
display_library: rfb, options="timeout=0"
romimage: file=$work/rom
vgaromimage: file=$emulator/vga.rom
memory: guest=1024, host=1024
cpu: model=$cpu, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none
port_e9_hack: enabled=1
log: $work/log
panic: action=fatal
error: action=ignore
info: action=report
debug: action=ignore
CONF
timeout 300 "$emulator/bochs" -q -f "$work/bochsrc" < /dev/null > "$work/out" 2>&1 || true
noise='^[0-9]{11}|^=====|Bochs|Built from|Timestamp|no version inf|UNMAP|^$|^EMU EXIT'
grep -avE "$noise" "$work/out" || true
status=$(grep -aoE '^EMU EXIT [0-9]+' "$work/out" | tail -n 1 | cut -d ' ' -f 3)
[ -n "$status" ] || { tail -n 5 "$work/out" "$work/log" >&2; exit 124; }
exit "$status"
