#!/bin/bash
# tests/run: slow timeout=400 alone
# The README's first command.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
before=$(awk '{print $1, $2}' /proc/self/mounts; losetup -l -n -O BACK-FILE)
begin=$SECONDS
"$repo/tools/demo" >"$S/out" 2>&1
status=$?
took=$((SECONDS - begin))
sed 's/^/  /' "$S/out"
check_same "tools/demo ends with everything as promised" 0 $status
check "in under three minutes ($took s)" test $took -lt 180
check_same "and leaves no mount and no loop device" "$before" "$(awk '{print $1, $2}' /proc/self/mounts; losetup -l -n -O BACK-FILE)"
