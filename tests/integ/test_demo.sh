#!/bin/bash
# tests/run: slow timeout=400
# The README's first command.
. "$(dirname "$0")/lib.sh"
need_loop
need_fuse
left() { grep tenantfs-demo- /proc/self/mounts; losetup -l -n -O BACK-FILE | grep tenantfs-demo-; ls -d "${TMPDIR:-/var/tmp}"/tenantfs-demo-* 2>/dev/null; }
before=$(left)
begin=$SECONDS
"$repo/tools/demo" >"$S/out" 2>&1
status=$?
took=$((SECONDS - begin))
sed 's/^/  /' "$S/out"
check_same "tools/demo ends with everything as promised" 0 $status
check "in under three minutes ($took s)" test $took -lt 180
check_same "and leaves no mount, loop device or folder" "$before" "$(left)"
