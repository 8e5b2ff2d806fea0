#!/bin/bash
# tests/run: long timeout=10800
# As test_many_files.sh, with a million.
MANY_FILES=${MANY_FILES:-1000000} exec "$(dirname "$(readlink -f "$0")")/test_many_files.sh" "$@"
