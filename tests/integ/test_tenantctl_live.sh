#!/bin/bash
# tests/run: core timeout=60
# tenantctl policy and status on a live mount: what is shown is what was applied, and the log has who applied what.
. "$(dirname "$0")/lib.sh"
need_root
need_fuse

make_store || exit 1
make_tenant acme || exit 1
T=$STORE#acme
with=(--keys "$K" --passphrase-file "$(passphrase acme)")
cd "$S" || exit 1
mount_tenant acme "$M" || { not_ok "mounts"; exit 1; }
check_status "show: none yet" 4 'no policy yet' tenantctl policy show "$T"
printf 'tenant acme # caf\xe9\npermit admin: user:root to any on /**\npermit old: user:#7 to read on "/caf\xe9"/** because "caf\xe9"\n' |
	sed 's/"\(.caf.\)"/\1/' >latin
check_same "apply" "policy version 1 is in force" "$(tenantctl policy apply "$T" latin 2>&1)"
tenantctl policy show "$T" >shown 2>/dev/null
check "show: byte by byte what was applied, also where it is no UTF-8" cmp latin shown
check "explain: a name that is no UTF-8" tenantctl policy explain "$T" --user 7 $'/caf\xe9/x' read
check_not "and no other name" tenantctl policy explain "$T" --user 7 $'/caf\xef\xbf\xbd/x' read

ring=$(ls "$K"/*/acme.json)
mv "$ring" away
check_status "a policy that cannot be stored is refused" 1 "keyring" tenantctl policy apply "$T" latin
mv away "$ring"
check_same "and the old one stays in force" "policy version 1" "$(tenantctl policy show "$T" 2>&1 >/dev/null)"
check_same "apply again" "policy version 2 is in force" "$(tenantctl policy apply "$T" latin 2>&1)"
tenantctl audit export "$T" "${with[@]}" >log.json
told() { # what the records of policies say: outcome, message, who, by which program
	/usr/bin/python3 - log.json <<'P'
import json, sys
for line in open(sys.argv[1]):
    r = json.loads(line)
    if r["class_uid"] != 3004 or "policy" not in r.get("message", ""):
        continue
    p = r["actor"].get("process", {})
    print(r["status"], r["message"], "uid", r["actor"]["user"]["uid"], "by", p.get("name"))
P
}
check_same "the log has who applied what, by which program, and what failed" \
	"Success policy apply, version 0 in force before uid 0 by tenantctl
Success policy apply, version 1 in force before uid 0 by tenantctl
Failure policy apply failed uid 0 by tenantctl
Success policy apply, version 1 in force before uid 0 by tenantctl" "$(told)"
check_umount "unmounts" "$M" "$daemon"
tenantctl policy show "$T" "${with[@]}" >shown 2>/dev/null
check "show, not mounted: the same bytes" cmp latin shown
