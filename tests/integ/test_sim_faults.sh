#!/bin/bash
# tests/run: core timeout=240
# The store on the simulated disk, with each of its lower calls failing or doing less than it was asked for, one at a time.
# Results: "EIO", "EIO from there on", "ENOSPC", "EDQUOT", "EDQUOT from there on", "an fsync that forgets", "a write of 1 byte", "a write of 4,095 bytes",
# "writes of 4,096 bytes", "writes of 1,000 bytes", "a read of 1 byte", "a read of 4,100 bytes", "reads of 1,000 bytes", "a full disk".
# A line that fails names the command for that one. SIM_FAULTS_EVERY=n: every n-th lower call only.
set -u
case ${TENANTFS_VARIANT:-gcc} in asan) export SIM_FAULTS_EVERY=${SIM_FAULTS_EVERY:-7} ;; esac
exec "${TENANTFS_BUILD:-build/gcc}/tests/sim/sim-faults"
