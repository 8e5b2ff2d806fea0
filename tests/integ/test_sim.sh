#!/bin/bash
# tests/run: core timeout=240
# The simulated disk, and the store on it: ended at random calls, mounted again, compared with what should be there.
# Results begin with "sim names:" and "sim mistakes:". The seed is printed; a failing one is run again with "sim-names --seed S". SIM_STATES=n: so many crash states.
set -u
sim=${TENANTFS_BUILD:-build/gcc}/tests/sim
status=0
export SIM_STATES=${SIM_STATES:-20000}
case ${TENANTFS_VARIANT:-gcc} in asan) SIM_STATES=$((SIM_STATES / 5)) ;; esac
for command in "$sim/test-sim-disk" "$sim/sim-names" "$sim/sim-names --mistakes"; do
	$command || status=1
done
exit $status
