#!/bin/bash
# tests/run: long timeout=36000
# As test_sim.sh, with ten million crash states.
set -u
SIM_STATES=${SIM_STATES:-10000000} exec "${TENANTFS_BUILD:-build/gcc}/tests/sim/sim-names"
