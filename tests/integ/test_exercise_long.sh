#!/bin/bash
# tests/run: long timeout=28800
# As test_exercise_file.sh and test_exercise_tree.sh, with ten million operations of each: a quarter on ext4 and on xfs, as root and as root and two users. EXERCISE_TOTAL=n: so many.
here=$(dirname "$(readlink -f "$0")")
quarter=$(((${EXERCISE_TOTAL:-10000000} + 3) / 4))
status=0
export EXERCISE_FS EXERCISE_USERS EXERCISE_OPERATIONS EXERCISE_ROUND=${EXERCISE_ROUND:-50000}
for EXERCISE_FS in ext4 xfs; do
	for EXERCISE_USERS in no yes; do
		# Of each of six stories, or of each of four processes.
		EXERCISE_OPERATIONS=$(((quarter + 5) / 6))
		"$here/test_exercise_file.sh" "$@" || status=1
		EXERCISE_OPERATIONS=$(((quarter + 3) / 4))
		"$here/test_exercise_tree.sh" "$@" || status=1
	done
done
exit $status
