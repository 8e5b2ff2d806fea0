#!/bin/bash
# tests/run: long timeout=14400
# As test_power_cuts.py, with 500 rounds on each filesystem.
POWER_CUTS=${POWER_CUTS:-500} exec "$(dirname "$(readlink -f "$0")")/test_power_cuts.py" "$@"
