#!/bin/bash
# tests/run: long timeout=1800
# Killed at every call, and not at every second one.
ERASE_KILLS_STRIDE=1 exec "$(dirname "$0")/test_erase_kills.py" "$TENANTFS_BUILD"
