#!/bin/bash
# tests/run: long timeout=7200
# As test_many_tenants.sh, with 1,000 tenants, 50 mounted at once.
MANY_TENANTS=${MANY_TENANTS:-1000} MANY_MOUNTED=${MANY_MOUNTED:-50} exec "$(dirname "$(readlink -f "$0")")/test_many_tenants.sh" "$@"
