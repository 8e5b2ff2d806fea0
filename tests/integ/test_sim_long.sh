#!/bin/bash
# tests/run: long timeout=36000
# As test_sim_more.sh, with ten million crash states.
set -u
SIM_STATES=${SIM_STATES:-5000000} exec "$(dirname "$0")/test_sim_more.sh"
