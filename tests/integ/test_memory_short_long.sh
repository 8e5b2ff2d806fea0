#!/bin/bash
# tests/run: long timeout=7200
# As test_memory_short.sh, with ten GiB.
SHORT_MEGABYTES=${SHORT_MEGABYTES:-10240} exec "$(dirname "$(readlink -f "$0")")/test_memory_short.sh" "$@"
