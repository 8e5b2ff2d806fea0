#!/bin/bash
# tests/run: long timeout=28800
# As test_exercise_file.sh and test_exercise_tree.sh, with ten million operations of each. EXERCISE_TOTAL=n: so many.
here=$(dirname "$(readlink -f "$0")")
total=${EXERCISE_TOTAL:-10000000}
status=0
# Of each of six stories, or of each of four processes.
EXERCISE_OPERATIONS=$(((total + 5) / 6)) EXERCISE_ROUND=${EXERCISE_ROUND:-50000} "$here/test_exercise_file.sh" "$@" || status=1
EXERCISE_OPERATIONS=$(((total + 3) / 4)) EXERCISE_ROUND=${EXERCISE_ROUND:-50000} "$here/test_exercise_tree.sh" "$@" || status=1
exit $status
