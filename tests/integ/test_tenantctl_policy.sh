#!/bin/bash
# tests/run: core timeout=120
# tenantctl policy and status without FUSE: exit statuses, the place of each mistake, what is stored.
[ $# -eq 0 ] || export TENANTFS_BUILD=$1
. "$(dirname "$0")/lib.sh"
need_command tenantkey tenantctl

cd "$S" || exit 1
policy() { tenantctl policy "$@"; }

cat >good <<E
tenant acme # the one
let team = user:#100 group:#200 except user:#101
permit a: team to read,write on /a/** until 2030-06-30 because "INC-1"
forbid b: anyone to any on /a/secret/**
E
check "check: a policy without mistakes" policy check good
check_same "and nothing is said" "" "$(policy check good 2>&1)"
check "check: its tenant" policy check good --tenant acme
check_same "another tenant's" "1:8: this policy is for tenant \"acme\", not for \"umbra\"" \
	"$(policy check --tenant umbra good 2>/dev/null)"
check_same "from standard input" "" "$(policy check - <good 2>&1)"

cat >bad <<E
tenant acme
permit a: user:no-such-user-here group:no-such-group-here to fly on b until 2024-02-30
review every 90d
permit c: user:#1 to read on /x via /usr/bin/restic
  let o = mon-fri 07:00-19:00 Europe/Berlin
permit d: login:maria, service:app to any on /x//y "/z
nonsense
permit a2: user:#1 to read
E
out=$(policy check bad 2>/dev/null)
check_same "each mistake has its line and column" \
	"2:11 2:34 2:62 2:69 2:77 3:1 4:33 5:11 6:11 6:24 6:46 6:52 7:1 8:27" \
	"$(sed -n 's/^\([0-9]*:[0-9]*\): .*/\1/p' <<<"$out" | xargs)"
check "what a later version will know is named" grep -qF '3:1: "review" is not supported by this version' <<<"$out"
check_status "mistakes give 9" 9 'the policy has 14 mistakes' policy check bad
cat >warned <<E
tenant acme
permit a: anyone to read on /a/**
E
check_same "a warning is one" \
	"2:8: warning: this permits anyone something without an end; name the subjects or add until" "$(policy check warned)"
check "and gives 0" policy check warned
check_status "no such file" 4 'cannot open' policy check no-such-file
check_status "usage" 2 'usage: tenantctl policy check' policy check
check_status "unknown option" 2 'unknown or ambiguous option' policy check --nonsense good
check_status "unknown verb" 2 'there is no verb' tenantctl policy fly
check_status "no verb" 2 'a verb is missing' tenantctl
check "help" tenantctl --help
check "help of a verb" policy apply --help
check "version" tenantctl --version

explain() { policy explain --file good "$@"; }
first() { explain "$@" | head -n 1; }
check_same "explain: allowed" "user 100, read on /a/x: allowed by a because \"INC-1\"" \
	"$(first --user 100 --at "2030-06-30 23:59" /a/x read)"
check "allowed gives 0" explain --user 100 --at 2030-06-30 /a/x read,write
check_same "explain: over" "user 100, read on /a/x: denied with ENOENT: time" \
	"$(first --user 100 --at 2030-07-01 /a/x read)"
explain --user 100 --at 2030-07-01 /a/x read >/dev/null
check_same "denied gives 3" 3 $?
check_same "explain: except" "user 101, read on /a/x: denied with ENOENT: user" \
	"$(first --user 101 --group 200 --at 2030-01-01 /a/x read)"
check_same "explain: by a group" "user 102, write on /a/x: allowed by a because \"INC-1\"" \
	"$(first --user 102 --group 7 --group 200 --at 2030-01-01 /a/x write)"
check_same "explain: forbidden" "user 100, list on /a/secret/x: denied with ENOENT: forbidden" \
	"$(first --user 100 --at 2030-01-01 /a/secret/x list)"
check "explain: each rule with what fits" grep -qF '  forbid b (line 4): user yes, path no, action yes, time yes' \
	<(explain --user 100 --at 2030-01-01 /a/x read)
check_status "explain: no action" 2 "'fly' is no action" explain --user 100 /a fly
check_status "explain: no path" 2 "is no path inside the tenant" explain --user 100 a read
for p in /a/ //a /a//b /a/../b /a/. /..; do
	check_status "explain: $p could not be asked for" 2 "is no path inside the tenant" explain --user 100 $p read
done
check "explain: the top folder" explain --user 100 --at 2030-01-01 / list
check "explain: names with dots" explain --user 100 --at 2030-01-01 /a/..b/.c/d. read
check_status "explain: no user" 2 "there is no user" explain --user no-such-user-here /a read
check_status "explain: no moment" 2 "YYYY-MM-DD" explain --at soon /a read
check_status "explain: neither file nor tenant" 2 "usage" policy explain /a read

make_store || exit 1
make_tenant acme || exit 1
T=$STORE#acme
with=(--keys "$K" --passphrase-file "$(passphrase acme)")
stored() { sha256sum "$STORE/t/acme/policy" "$K"/*/acme.json; }
next="in force from the next mount on"
check_status "show: none yet" 4 'no policy yet' policy show "$T" "${with[@]}"
check_same "apply" "policy version 1 is stored, $next" "$(policy apply "$T" good "${with[@]}")"
check_same "apply again" "policy version 2 is stored, $next" "$(policy apply "$T" good "${with[@]}")"
check_same "show" "$(cat good)" "$(policy show "$T" "${with[@]}" 2>/dev/null)"
before=$(stored)
policy apply "$T" bad "${with[@]}" >/dev/null 2>&1
check_same "a policy with mistakes is not applied: 9" 9 $?
echo "tenant umbra" >foreign
policy apply "$T" foreign "${with[@]}" >/dev/null 2>&1
check_same "nor another tenant's: 9" 9 $?
(umask 077 && echo wrong >wrong)
check_status "nor with a wrong passphrase" 6 . policy apply "$T" good --keys "$K" --passphrase-file "$S/wrong"
check_status "no such tenant" 4 . policy apply "$STORE#nobody" good "${with[@]}"
check_status "no such keys" 4 . policy apply "$T" good --keys "$S/nowhere" --passphrase-file "$S/wrong"
check_same "and nothing has changed" "$before" "$(stored)"
check_same "explain what is in force" "user 100, read on /a/x: allowed by a because \"INC-1\"" \
	"$(policy explain "$T" "${with[@]}" --user 100 --at 2030-01-01 /a/x read | head -n 1)"
check_not "the stored policy does not show its text" grep -qa 'INC-1\|permit' "$STORE/t/acme/policy"
printf x | dd of="$STORE/t/acme/policy" bs=1 seek=50 conv=notrunc status=none
check_status "a damaged policy" 7 'damaged' policy show "$T" "${with[@]}"
check_same "can be replaced" "policy version 3 is stored, $next" "$(policy apply "$T" good "${with[@]}")"
check_same "each was recorded, also what failed" "3" \
	"$(tenantctl audit show "$T" "${with[@]}" 2>/dev/null | grep -c 'policy apply')"

check_same "status: not mounted" "tenant acme is not mounted" "$(tenantctl status "$T")"
check "gives 0" tenantctl status "$T"
check_same "as JSON" '{"code": 0, "message": "not mounted"}' "$(tenantctl status "$T" --json)"
check_status "status: no such tenant" 4 . tenantctl status "$STORE#nobody"
