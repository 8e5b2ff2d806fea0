/* fs/options.c: the command line of tenantfs, as typed and as mount(8) passes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse(struct options *o, struct err *e, const char *line)
{
	static char copy[1024];
	char *argv[32] = {0};
	int argc = 0;
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *at = copy, *word; (word = strsep(&at, "|"));)
		argv[argc++] = word;
	optind = 0;
	*e = (struct err){0};
	return options_parse(argc, argv, o, e);
}

static void every_form_is_taken(void **state)
{
	struct options o;
	struct err e;
	(void)state;
	assert_int_equal(parse(&o, &e, "tenantfs|/srv/store#acme|/tmp"), 0);
	assert_string_equal(o.store, "/srv/store");
	assert_string_equal(o.tenant, "acme");
	assert_string_equal(o.mountpoint, "/tmp");
	assert_int_equal(o.allow_other, geteuid() == 0);
	assert_int_equal(o.poll_us, 50);
	assert_false(
		o.suid || o.dev || o.read_only || o.foreground || o.trash.sync || o.audit.durable);
	options_done(&o);
	/* As mount.fuse3 calls it. */
	assert_int_equal(
		parse(&o, &e,
			"tenantfs|/s#a|/tmp|-o|rw,nosuid,nodev,noauto,_netdev,x-systemd.automount,"
			"poll=1000,keys=/k\\,1,passfile=/"
			"p,erase=sync,erase-require=B,audit=durable,audit-paths=hmac,suid,dev,"
			"noexec"),
		0);
	assert_string_equal(o.keys, "/k,1");
	assert_int_equal(o.poll_us, 1000);
	assert_string_equal(o.source.passphrase_file, "/p");
	assert_true(o.trash.sync && o.audit.durable && o.suid && o.dev && o.noexec);
	assert_int_equal(o.trash.require, TRASH_B);
	assert_int_equal(o.audit.paths, AUDIT_PATH_HMAC);
	options_done(&o);
	assert_int_equal(
		parse(&o, &e, "tenantfs|-f|-o|ro,no_allow_other|-o|keyfile=/x|/s#a|/tmp"), 0);
	assert_true(o.foreground && o.read_only && !o.allow_other);
	assert_string_equal(o.source.key_file, "/x");
	options_done(&o);
	/* What mount.fuse3 adds is no wish of anybody. */
	assert_int_equal(parse(&o, &e, "tenantfs|/s#a|/tmp|-o|rw,dev,suid"), 0);
	assert_false(o.suid || o.dev);
	options_done(&o);
	assert_int_equal(parse(&o, &e, "tenantfs|/s#a|/tmp|-o|rw,nodev,suid"), 0);
	assert_false(o.suid || o.dev);
	options_done(&o);
	assert_int_equal(parse(&o, &e, "tenantfs|/s#a|/tmp|-o|rw,nosuid,dev"), 0);
	assert_false(o.suid || o.dev);
	options_done(&o);
	assert_int_equal(parse(&o, &e, "tenantfs|/s#a|/tmp|-o|rw,suid,dev,dev,suid"), 0);
	assert_true(o.suid && o.dev);
	options_done(&o);
	assert_int_equal(parse(&o, &e, "tenantfs|/s#a|/tmp|-o|suid,dev"), 0);
	assert_true(o.suid && o.dev);
	options_done(&o);
	assert_int_equal(parse(&o, &e, "tenantfs|--help"), 0);
	assert_true(o.help);
	options_done(&o);
}

static void mistakes_are_named(void **state)
{
	static const struct {
		const char *line;
		int code;
		const char *says;
	} rows[] = {
		{"tenantfs", -EINVAL, "STORE#TENANT"},
		{"tenantfs|/s#a", -EINVAL, "MOUNTPOINT"},
		{"tenantfs|/s|/tmp", -EINVAL, "#"},
		{"tenantfs|/s#BAD|/tmp", -EINVAL, "BAD"},
		{"tenantfs|/s#a|/nonexistent/place", -ENOENT, "/nonexistent/place"},
		{"tenantfs|/s#a|/tmp|-o|bogus", -EINVAL, "bogus"},
		{"tenantfs|/s#a|/tmp|-o|erase=perhaps", -EINVAL, "perhaps"},
		{"tenantfs|/s#a|/tmp|-o|poll=1001", -EINVAL, "0 to 1000"},
		{"tenantfs|/s#a|/tmp|-o|poll=00050", -EINVAL, "poll"},
		{"tenantfs|/s#a|/tmp|-o|poll=5x", -EINVAL, "poll"},
		{"tenantfs|/s#a|/tmp|-o|poll=-1", -EINVAL, "poll"},
		{"tenantfs|/s#a|/tmp|-o|poll=", -EINVAL, "poll"},
		{"tenantfs|/s#a|/tmp|-o|poll", -EINVAL, "poll"},
		{"tenantfs|/s#a|/tmp|-o|passphrase=secret", -EINVAL, "passphrase"},
		{"tenantfs|/s#a|/tmp|-o|passfile=/a,keyfile=/b", -EINVAL, ""},
		{"tenantfs|/s#a|/tmp|-o|keys=", -EINVAL, "keys"},
		{"tenantfs|/s#a|/tmp|-o|passfd=x", -EINVAL, ""},
		{"tenantfs|-z|/s#a|/tmp", -EINVAL, "-z"},
	};
	struct options o;
	struct err e;
	(void)state;
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		assert_int_equal(parse(&o, &e, rows[k].line), rows[k].code);
		assert_int_equal(e.code, rows[k].code);
		assert_non_null(strstr(e.text, rows[k].says));
		/* A secret typed in the wrong place is not repeated. */
		assert_null(strstr(e.text, "secret"));
		options_done(&o);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_form_is_taken),
		cmocka_unit_test(mistakes_are_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
