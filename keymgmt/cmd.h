/* What the verbs of tenantkey share: the parsed command line, the opened tenant, and steps that
 * several take. */
#ifndef KEYMGMT_CMD_H
#define KEYMGMT_CMD_H

#include "fs/store/layout.h"
#include "keymgmt/keyring.h"
#include "keymgmt/source.h"

struct cmd {
	/* From the command line (cmd_options.c); strings borrowed from argv. */
	const char *verb;     /* "slot add" */
	const char *argument; /* STORE or STORE#TENANT */
	const char *operand;  /* slot name, or file of `escrow export`; NULL */
	const char *keys_dir, *owner, *slot;
	struct source secret;     /* of a slot that exists */
	struct source new_secret; /* of the one to be made */
	struct slot_cost cost;
	enum crypto_suite suite;
	uint64_t journal_bytes;
	bool quiet, json, no_progress;

	/* While it runs (cmd_common.c). */
	struct layout layout;
	struct keyring *keyring;
	int keys_fd;
	struct err err;
};

typedef int cmd_run(struct cmd *c);

/* Which options a verb takes. */
enum {
	CMD_SECRET = 1,
	CMD_NEW_SECRET = 2,
	CMD_CREATE = 4, /* --owner, --suite, --journal-size */
	CMD_JSON = 8,
	CMD_PROGRESS = 16,
	CMD_SLOT = 32, /* --slot NAME */
};

struct cmd_verb {
	const char *name;     /* one or two words */
	const char *operands; /* "STORE#TENANT NAME" */
	const char *summary;
	unsigned options; /* CMD_* */
	bool operand;     /* takes a second operand */
	cmd_run *run;
};

/* cmd_options.c: words of the command line. -EINVAL with a sentence in c->err; 1: --help or
 * --version was printed. */
MUST_USE int cmd_options_parse(int argc, char **argv, const struct cmd_verb *verbs, struct cmd *c,
	const struct cmd_verb **ret);

/* cmd_common.c. All leave a sentence in c->err when they fail. */
void cmd_common_done(struct cmd *c);
/* A line on standard output, unless -q. */
void cmd_common_say(const struct cmd *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Store, tenant, key directory and keyring, without keys; nothing more when that was done before.
 * lock: nobody else has the tenant, from before the keyring is read. */
MUST_USE int cmd_common_open(struct cmd *c, bool lock);
/* Asks for the existing secret and opens the keyring with it. */
MUST_USE int cmd_common_unlock(struct cmd *c);
/* Both, with the lock; and finishes a rotation that was interrupted. What every verb that changes
 * keys begins with. */
MUST_USE int cmd_common_begin(struct cmd *c);
/* The new secret, asked for twice on a terminal. *ret_secret is the caller's to free. */
MUST_USE int cmd_common_new_key(struct cmd *c, struct slot_key *ret, struct secret **ret_secret);
/*
 * One record on the tenant's log, which is opened and closed for it. allowed with error 0: about to
 * be done, or done; error: it failed. When this fails the caller must not go on.
 */
MUST_USE int cmd_common_log(struct cmd *c, const char *message, int error);

/*
 * cmd_rewrap.c: everything that an unfinished rotation or slot removal left to do, then forgets the
 * old keys. 0 also when there is nothing. -ECANCELED interrupted by a signal; -EBADMSG some files
 * are damaged: they were listed, the old epochs are kept. ret_files (may be NULL): headers
 * re-wrapped.
 */
MUST_USE int cmd_rewrap_finish(struct cmd *c, uint64_t *ret_files);

/* The verbs. 0 or -errno with a sentence in c->err. */
cmd_run cmd_init_run, cmd_create_run, cmd_info_run, cmd_passwd_run, cmd_rotate_run;
cmd_run cmd_slot_run_add, cmd_slot_run_remove, cmd_slot_run_list, cmd_escrow_run_export;

#endif
