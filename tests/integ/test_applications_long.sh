#!/bin/bash
# tests/run: long timeout=7200
# Real applications with full sizes: test_app_git.sh, test_app_archives.sh and test_app_files.sh, and tenantfs itself built in the mount.
here=$(dirname "$(readlink -f "$0")")
export APP_GIT_OBJECTS=${APP_GIT_OBJECTS:-50000} APP_GIT_LOOSE=${APP_GIT_LOOSE:-3000} APP_SOURCES=${APP_SOURCES:-300} APP_TREE=${APP_TREE:-1}
export APP_FILES=${APP_FILES:-400} APP_MAIL=${APP_MAIL:-200} APP_MAPS=${APP_MAPS:-1000}
status=0
for t in git archives files; do "$here/test_app_$t.sh" || status=1; done
exit $status
