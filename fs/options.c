#include "fs/options.h"

#include "fs/store/layout.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char options_usage[] =
	"Usage: tenantfs STORE#TENANT MOUNTPOINT [-f] [-o OPTION[,OPTION...]]\n"
	"Mounts one tenant of an encrypted store. Unmount with umount (an ordinary user: "
	"fusermount3 -u).\n"
	"\n"
	"  -f, --foreground      stay in the foreground; messages go to standard error\n"
	"  -o OPTION,...         see below; unknown options are refused\n"
	"  -h, --help            this text\n"
	"  -V, --version         version\n"
	"\n"
	"  keys=DIR              key directory (default /var/lib/tenantfs/keys, for a user\n"
	"                        ~/.local/share/tenantfs/keys)\n"
	"  passfile=FILE         first line is the passphrase; refused if others can read it\n"
	"  keyfile=FILE          key file instead of a passphrase\n"
	"  passcmd=COMMAND       first line of the command's output is the passphrase\n"
	"  passfd=N              read the passphrase from this descriptor\n"
	"  allow_other           let other users in (default for root); no_allow_other: only this "
	"one\n"
	"  ro, rw                read-only; read and write (default)\n"
	"  erase=sync|async      return from a removal when the bytes are overwritten (default "
	"async)\n"
	"  erase-require=A|B|C   refuse to mount where erasing promises less\n"
	"  journal=off           do without: faster, and after a kill or a power cut files that "
	"were\n"
	"                        being written may be unreadable in part\n"
	"  journal=reset         start a new journal in the place of a damaged one\n"
	"  audit=written|durable records are in the kernel, or on the disk, before an open "
	"returns\n"
	"  audit-paths=clear|hmac|none  how file names stand in the log\n"
	"  poll=MICROSECONDS     look that long for the next request before sleeping, when they "
	"come\n"
	"                        quickly (default 50, at most 1000); 0: never\n"
	"  suid, dev, noexec     as mount(8); nosuid and nodev are the default\n"
	"  nonempty              mount over a folder that is not empty\n"
	"\n"
	"Exit status: 0 mounted, 1 failed, 2 usage, 3 not permitted, 4 not found, 5 in use,\n"
	"6 wrong passphrase or key, 7 damaged or foreign, 8 newer format, 9 mistakes in a policy,\n"
	"10 FUSE missing, 11 disk full.\n";

/* What mount(8), fstab and systemd add and what means nothing to us. */
static bool is_ignored(const char *name)
{
	static const char *const names[] = {"defaults", "auto", "noauto", "user", "nouser", "users",
		"owner", "group", "nofail", "_netdev", "async", "atime", "noatime", "diratime",
		"nodiratime", "relatime", "norelatime", "strictatime", "lazytime", "nolazytime",
		"exec", "nosuid", "nodev", "default_permissions", "rw", "silent", "loud"};
	for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
		if (strcmp(name, names[k]) == 0)
			return true;
	return strncmp(name, "x-", 2) == 0 || strncmp(name, "X-", 2) == 0 ||
	       strncmp(name, "comment", 7) == 0;
}

/* Options without a value. True when name was one. */
static bool take_flag(struct options *o, const char *name)
{
	const struct {
		const char *name;
		bool *flag, value;
	} flags[] = {
		{"ro", &o->read_only, true},
		{"rw", &o->read_only, false},
		{"allow_other", &o->allow_other, true},
		{"no_allow_other", &o->allow_other, false},
		{"nonempty", &o->nonempty, true},
		{"suid", &o->suid, true},
		{"nosuid", &o->suid, false},
		{"dev", &o->dev, true},
		{"nodev", &o->dev, false},
		{"noexec", &o->noexec, true},
		{"exec", &o->noexec, false},
	};
	for (size_t k = 0; k < sizeof(flags) / sizeof(flags[0]); k++)
		if (strcmp(name, flags[k].name) == 0) {
			*flags[k].flag = flags[k].value;
			return true;
		}
	return false;
}

enum { JOURNAL_ON, JOURNAL_OFF, JOURNAL_RESET };

/* Options whose value is one of a few words. 1 taken, 0 not one of these, -EINVAL. */
static int take_word(struct options *o, const char *name, const char *value, struct err *e)
{
	static const struct {
		const char *name, *value;
		enum { ERASE, REQUIRE, JOURNAL, AUDIT, PATHS } what;
		int number;
	} words[] = {
		{"erase", "sync", ERASE, true},
		{"erase", "async", ERASE, false},
		{"erase-require", "A", REQUIRE, TRASH_A},
		{"erase-require", "B", REQUIRE, TRASH_B},
		{"erase-require", "C", REQUIRE, TRASH_C},
		{"journal", "on", JOURNAL, JOURNAL_ON},
		{"journal", "off", JOURNAL, JOURNAL_OFF},
		{"journal", "reset", JOURNAL, JOURNAL_RESET},
		{"audit", "written", AUDIT, false},
		{"audit", "durable", AUDIT, true},
		{"audit-paths", "clear", PATHS, AUDIT_PATH_CLEAR},
		{"audit-paths", "hmac", PATHS, AUDIT_PATH_HMAC},
		{"audit-paths", "none", PATHS, AUDIT_PATH_NONE},
	};
	bool known = false;
	for (size_t k = 0; k < sizeof(words) / sizeof(words[0]); k++) {
		if (strcmp(name, words[k].name) != 0)
			continue;
		known = true;
		if (!value || strcmp(value, words[k].value) != 0)
			continue;
		if (words[k].what == ERASE)
			o->trash.sync = words[k].number;
		else if (words[k].what == REQUIRE)
			o->trash.require = (enum trash_assurance)words[k].number;
		else if (words[k].what == JOURNAL && words[k].number == JOURNAL_RESET)
			o->journal_reset = true;
		else if (words[k].what == JOURNAL)
			o->journal_off = words[k].number == JOURNAL_OFF;
		else if (words[k].what == AUDIT)
			o->audit.durable = words[k].number;
		else
			o->audit.paths = words[k].number;
		return 1;
	}
	return known ? err_set(e, -EINVAL, "Option %s does not take \"%s\"; see tenantfs --help.",
			       name, value ? value : "")
		     : 0;
}

/* 1 taken, -EINVAL. */
static int take_poll(struct options *o, const char *value, struct err *e)
{
	uint64_t n = 0;
	size_t len = value ? strlen(value) : 0;
	for (size_t k = 0; k < len && len <= 4; k++)
		n = value[k] >= '0' && value[k] <= '9' ? 10 * n + (uint64_t)(value[k] - '0')
						       : UINT32_MAX;
	if (len == 0 || len > 4 || n > OPTIONS_POLL_MOST)
		return err_set(e, -EINVAL,
			"Option poll takes microseconds, 0 to %d; see tenantfs --help.",
			OPTIONS_POLL_MOST);
	o->poll_us = (unsigned)n;
	return 1;
}

static int take_option(struct options *o, char *text, struct err *e)
{
	char *value = strchr(text, '=');
	if (value)
		*value++ = 0;
	if (!value && take_flag(o, text))
		return 0;
	if (is_ignored(text))
		return 0;
	if (strcmp(text, "keys") == 0 && value && *value) {
		o->keys = value;
		return 0;
	}
	int r = strcmp(text, "poll") == 0 ? take_poll(o, value, e) : take_word(o, text, value, e);
	if (r == 0 && value)
		r = source_option(&o->source, text, value, e);
	if (r == 0)
		return err_set(e, -EINVAL, "Unknown option %s; see tenantfs --help.", text);
	return r < 0 ? r : 0;
}

static bool has_word(const char *words, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = words; (at = strstr(at, word)); at += len)
		if ((at == words || at[-1] == ',') && (at[len] == ',' || !at[len]))
			return true;
	return false;
}

/*
 * mount.fuse3 appends "dev,suid" (without the one whose opposite it was given) of its own accord.
 * Taken at face value every mount(8) and fstab line would opt in, so such an end does not count;
 * "suid,dev" does.
 */
static void drop_what_mount_adds(char *words)
{
	const char *end = has_word(words, "nodev")    ? ",suid"
			  : has_word(words, "nosuid") ? ",dev"
						      : ",dev,suid";
	size_t len = strlen(words), end_len = strlen(end);
	if (len >= end_len && strcmp(words + len - end_len, end) == 0)
		words[len - end_len] = 0;
}

/* Splits at commas; "\," stands for a comma in a value. */
static int take_options(struct options *o, struct err *e)
{
	char *at = o->words;
	if (at)
		drop_what_mount_adds(at);
	while (at && *at) {
		char *to = at, *from = at, *start = at;
		while (*from && *from != ',') {
			if (from[0] == '\\' && (from[1] == ',' || from[1] == '\\'))
				from++;
			*to++ = *from++;
		}
		at = *from ? from + 1 : from;
		*to = 0;
		int r = *start ? take_option(o, start, e) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_words(struct options *o, const char *text)
{
	char *more = NULL;
	if (asprintf(&more, "%s%s%s", o->words ? o->words : "", o->words ? "," : "", text) < 0)
		return -ENOMEM;
	free(o->words);
	o->words = more;
	return 0;
}

static int take_places(int argc, char **argv, struct options *o, struct err *e)
{
	if (argc - optind != 2)
		return err_set(e, -EINVAL,
			"tenantfs takes STORE#TENANT and MOUNTPOINT; see tenantfs --help.");
	int r = layout_split(argv[optind], true, o->store, o->tenant, e);
	if (r < 0)
		return r;
	if (!realpath(argv[optind + 1], o->mountpoint))
		return err_set(e, -errno, "Cannot use the mount point %s: %s.", argv[optind + 1],
			strerror(errno));
	return 0;
}

int options_parse(int argc, char **argv, struct options *o, struct err *e)
{
	static const struct option longs[] = {{"foreground", 0, NULL, 'f'}, {"help", 0, NULL, 'h'},
		{"version", 0, NULL, 'V'}, {NULL, 0, NULL, 0}};
	int c, r = 0;
	*o = (struct options){.source = SOURCE_TERMINAL,
		.poll_us = OPTIONS_POLL,
		.allow_other = geteuid() == 0,
		.trash.require = TRASH_C};
	opterr = 0;
	while (r == 0 && (c = getopt_long(argc, argv, "fho:Vvns", longs, NULL)) != -1) {
		switch (c) {
		case 'f':
			o->foreground = true;
			break;
		case 'h':
			o->help = true;
			break;
		case 'V':
			o->version = true;
			break;
		case 'o':
			r = add_words(o, optarg);
			break;
		case 'v': /* mount(8) may pass these three: verbose, no mtab, sloppy */
		case 'n':
		case 's':
			break;
		default:
			r = err_set(e, -EINVAL, "Unknown option %s; see tenantfs --help.",
				argv[optind - 1]);
		}
	}
	if (r < 0 || o->help || o->version)
		return r;
	r = take_options(o, e);
	return r < 0 ? r : take_places(argc, argv, o, e);
}

void options_done(struct options *o)
{
	free(o->words);
	o->words = NULL;
}
