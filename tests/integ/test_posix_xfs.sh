#!/bin/bash
# tests/run: slow timeout=180
# The conformance suite on xfs.
command -v mkfs.xfs >/dev/null || { echo "skip - posix_xfs: xfsprogs is not installed"; exit 77; }
POSIX_LOWER=xfs exec "$(dirname "$0")/test_posix.sh"
