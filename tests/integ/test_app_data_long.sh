#!/bin/bash
# tests/run: long timeout=1800 alone
# As test_app_postgres.sh (pgbench for 30 s each time, a million rows), test_app_sqlite.sh and test_app_service.sh, for longer.
here=$(dirname "$(readlink -f "$0")")
status=0
PG_SECONDS=${PG_SECONDS:-30} PG_SCALE=${PG_SCALE:-10} "$here/test_app_postgres.sh" "$@" || status=1
SQLITE_SECONDS=${SQLITE_SECONDS:-30} "$here/test_app_sqlite.sh" "$@" || status=1
SERVICE_SECONDS=${SERVICE_SECONDS:-30} "$here/test_app_service.sh" "$@" || status=1
exit $status
