/* Command line and fstab's option string. Input: one argument a line; the program's name is ours.
 */
#include "fs/options.h"
#include "tests/fuzz/fuzz.h"

#include <getopt.h>

#define ARGS 12

static void check_options(const struct options *o)
{
	FUZZ_CHECK(
		memchr(o->store, 0, sizeof(o->store)) && memchr(o->tenant, 0, sizeof(o->tenant)));
	FUZZ_CHECK(
		o->help || o->version || (o->store[0] && o->tenant[0] && o->mountpoint[0] == '/'));
	FUZZ_CHECK(o->trash.require >= TRASH_A && o->trash.require <= TRASH_C);
	int given = (o->source.passphrase_file != NULL) + (o->source.key_file != NULL) +
		    (o->source.command != NULL) + (o->source.fd >= 0);
	FUZZ_CHECK(given <= 1 && source_given(&o->source) == (given == 1));
	FUZZ_CHECK(!o->keys || o->keys[0]);
}

static void parse(int argc, char **argv)
{
	struct options o;
	struct err e = {0};
	optind = 0; /* glibc: begin anew */
	int r = options_parse(argc, argv, &o, &e);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	if (r == 0)
		check_options(&o);
	options_done(&o);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	char program[] = "tenantfs", o[] = "-o", store[] = "/s#acme", mountpoint[] = "/";
	char *argv[ARGS + 5] = {program};
	size_t text_len;
	int argc = 1;
	fuzz_begin();
	bool only_options = fuzz_u8(&c) & 1;
	AUTO_FREE char *text = fuzz_rest(&c, &text_len);
	if (only_options) {
		argv[argc++] = o;
		argv[argc++] = text;
		argv[argc++] = store;
		argv[argc++] = mountpoint;
	}
	char *line = text;
	while (!only_options && line && argc < ARGS) {
		argv[argc++] = strsep(&line, "\n");
	}
	parse(argc, argv);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const texts[] = {"1ro,allow_other,suid,dev",
		"1keys=/k,passfile=/p,audit=durable", "1passfd=3",
		"1passcmd=pass show a\\,b,erase=sync",
		"1keyfile=/k,erase-require=A,audit-paths=hmac", "1rw,nosuid,dev",
		"1nodev,noexec,suid", "1defaults,x-systemd.automount,_netdev,comment=x",
		"1audit-paths=none,nonempty,no_allow_other,exec,\\\\", "1unknown",
		"1passfile=/a,keyfile=/b", "1erase=never", "1passfd=99999999999999999999",
		"0/srv/s#acme\n/\n-o\nro,dev,suid", "0-f\n-h", "0-V", "0--version",
		"0--foreground\n/s#a\n/", "0-x", "0/s\n/", "0/s#A\n/", "0/s#a\n/nonexistent",
		"0-o"};
	char name[16];
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "seed-%02zu", i);
		fuzz_seed(name, texts[i], strlen(texts[i]));
	}
}
