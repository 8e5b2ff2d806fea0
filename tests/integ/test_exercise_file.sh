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
check "the log verifies" audit verify acme
