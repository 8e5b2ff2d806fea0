/* argv → one const struct: tenantfs STORE#TENANT MOUNTPOINT [-f] [-o OPTION,...], as mount(8) calls
 * it too. */
#ifndef FS_OPTIONS_H
#define FS_OPTIONS_H

#include "fs/erase/trash.h"
#include "fs/gate/audit.h"
#include "keymgmt/base/err.h"
#include "keymgmt/source.h"

#include <limits.h>

/* Microseconds: if nobody asks, and at most. */
#define OPTIONS_POLL 50
#define OPTIONS_POLL_MOST 1000

struct options {
	char store[PATH_MAX];
	char tenant[64];
	char mountpoint[PATH_MAX]; /* absolute */
	const char *keys;          /* NULL: the default place */
	struct source source;
	bool foreground, help, version;
	bool read_only, allow_other, nonempty, suid, dev, noexec;
	bool journal_off;   /* nothing is logged: a crash can cost what was being written */
	bool journal_reset; /* a damaged journal is replaced by an empty one */
	unsigned poll_us;   /* for how long at most a request is polled for; 0: never */
	struct trash_options trash;
	struct audit_options audit;
	char *words; /* the -o text that strings above point into; owned */
};

/* 0; -EINVAL with a sentence. Free with options_done. */
MUST_USE int options_parse(int argc, char **argv, struct options *ret, struct err *e);
void options_done(struct options *o);
extern const char options_usage[];

#endif
