#!/bin/bash
# tests/run: long timeout=3600
# As test_sim_mutants.py, with the mistakes that show rarely.
SIM_MUTANTS=rare SIM_MUTANT_STATES=${SIM_MUTANT_STATES:-3000000} exec "$(dirname "$(readlink -f "$0")")/test_sim_mutants.py" "$@"
