#!/bin/bash
# tests/run: core timeout=120
# Random calls of several processes on a few files, compared with a model in memory (tests/exercise/exercise_file.c); the mount is made
# anew between rounds. EXERCISE_SEED and EXERCISE_OPERATIONS tell a story again (docs/hacking.md).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/exercise.sh"
need_loop
need_fuse
exercise_store
exercise "files are what a model says" exercise-file "${EXERCISE_SECONDS:-10}" --strict --caches --round "${EXERCISE_ROUND:-800}" "$@"

mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
mkdir "$M/times"
told=$(timeout 60 /usr/bin/python3 "$(dirname "$0")/told_times.py" "$M/times") || not_ok "changes files"
check_umount "unmounts" "$M" "$daemon"
mount_tenant acme "$M" || { not_ok "mounts again"; exit 1; }
check_same "times of changes past the cache stay as they were told" "$told" \
	"$(cd "$M/times" && while read -r f _; do echo "$f $(date -r "$f" +%s%N)"; done <<<"$told")"
check_umount "unmounts" "$M" "$daemon"
check "the log verifies" audit verify acme
