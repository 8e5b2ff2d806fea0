#!/bin/bash
# tests/run: core timeout=120
# Random calls of several processes on a tree, compared with a model in memory (tests/exercise/exercise_tree.c); the mount is made anew
# between rounds. EXERCISE_SEED and EXERCISE_OPERATIONS tell a story again (docs/hacking.md).
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/exercise.sh"
need_loop
need_fuse
exercise_store
exercise "the tree is what a model says" exercise-tree "${EXERCISE_SECONDS:-10}" --caches --round "${EXERCISE_ROUND:-700}" "$@"
check "the log verifies" audit verify acme
