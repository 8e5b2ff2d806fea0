#!/bin/bash
# tests/run: long timeout=14400
# As test_kills.py, with 500 rounds on each filesystem.
KILLS=${KILLS:-500} exec "$(dirname "$(readlink -f "$0")")/test_kills.py" --fs ext4 --fs xfs "$@"
