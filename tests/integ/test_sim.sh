#!/bin/bash
# tests/run: core timeout=240
# The simulated disk, and the store on it: ended at random calls, mounted again, compared with what should be there; first with names above all,
# then with content. Results begin with "sim names:", "sim content:" and "sim mistakes:". The seed is printed; a failing one is run again with
# the command in the line behind it. SIM_STATES=n: so many crash states of each. A mistake is looked for until it is found: the rarest takes 800 on
# average, and may take ten times as many.
set -u
sim=${TENANTFS_BUILD:-build/gcc}/tests/sim
status=0
export SIM_STATES=${SIM_STATES:-10000}
mistakes=$SIM_STATES
case ${TENANTFS_VARIANT:-gcc} in asan) SIM_STATES=$((SIM_STATES / 5)) ;; esac
for command in "$sim/test-sim-disk" "$sim/sim-names" "$sim/sim-names --content"; do
	$command || status=1
done
SIM_STATES=$mistakes "$sim/sim-names" --mistakes || status=1
exit $status
