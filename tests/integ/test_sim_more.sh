#!/bin/bash
# tests/run: slow timeout=1800
# As test_sim.sh, with a hundred thousand crash states, both campaigns side by side.
set -u
sim=${TENANTFS_BUILD:-build/gcc}/tests/sim/sim-names
export SIM_STATES=${SIM_STATES:-50000}
case ${TENANTFS_VARIANT:-gcc} in asan) SIM_STATES=$((SIM_STATES / 5)) ;; esac
"$sim" &
names=$!
"$sim" --content
content=$?
wait "$names" && exit $content
