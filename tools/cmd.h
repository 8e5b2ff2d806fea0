/*
 * What the verbs of tenantctl share: the table, the command line, the opened tenant. A verb reads
 * its own words with cmd_common_options; everything that it leaves in struct cmd is released by
 * main.
 */
#ifndef TOOLS_CMD_H
#define TOOLS_CMD_H

#include "fs/gate/audit.h"
#include "fs/store/layout.h"
#include "keymgmt/keyring.h"
#include "keymgmt/source.h"

#include <getopt.h>

struct cmd {
	/* From the command line; strings borrowed from argv. */
	const struct cmd_verb *verb;
	const char *keys_dir; /* --keys */
	struct source
		secret; /* --passphrase-file, --passphrase-fd, --passphrase-command, --key-file */

	/* While it runs. */
	struct layout layout;
	struct keyring *keyring;
	int keys_fd;
	struct err err;
};

/*
 * argv[0] is the verb, the rest its words. 0; -errno with a sentence in c->err, whose exit status
 * is err_exit_status; above 0: that exit status, everything was said already.
 */
typedef int cmd_run(struct cmd *c, int argc, char **argv);

struct cmd_verb {
	const char *name;     /* one or two words */
	const char *operands; /* "STORE#TENANT FILE" */
	const char *summary;
	const char *options; /* help: lines of its own options, each with its newline; NULL */
	bool tenant;         /* takes --keys and the options of the secret too */
	cmd_run *run;
};

/* The verbs, in the order of --help; tenantctl.c has the table. */
cmd_run cmd_policy_run_check, cmd_policy_run_explain, cmd_policy_run_apply, cmd_policy_run_show;
cmd_run cmd_status_run, cmd_fsck_run;
cmd_run cmd_audit_run_show, cmd_audit_run_verify, cmd_audit_run_export;

/* cmd_common.c. Failures leave a sentence in c->err. */

/* Takes one option of a verb's own list. 0, or -EINVAL with a sentence. value: NULL without an
 * argument. */
typedef int cmd_take(struct cmd *c, void *context, int option, const char *value);
/*
 * Reads argv: the verb's own long options (own: ends with {0}; its .val from 1 to 255, letters
 * included; NULL: none) through take, the shared ones by itself. From min to max operands stay,
 * *ret_operands points at them and the count is returned. -EINVAL; -ECANCELED: --help was printed,
 * return it from the verb.
 */
MUST_USE int cmd_common_options(struct cmd *c, int argc, char **argv, const struct option *own,
	cmd_take *take, void *context, int min, int max, char ***ret_operands);
/* Store and tenant of "STORE#TENANT", nothing else. */
MUST_USE int cmd_common_open(struct cmd *c, const char *argument);
/* The tenant's lock, so that nobody mounts it meanwhile. -EBUSY says who has it. */
MUST_USE int cmd_common_lock(struct cmd *c);
/* Key directory and keyring, opened with the secret. After cmd_common_open, and cmd_common_lock
 * where there is to be one. */
MUST_USE int cmd_common_unlock(struct cmd *c);
/*
 * One record on the log of a tenant that is not mounted, durable; needs lock and keyring. When this
 * fails the caller must not go on. error: -errno of what happened, 0: about to be done.
 */
MUST_USE int cmd_common_log(struct cmd *c, enum audit_kind kind, const char *message, int error);
void cmd_common_done(struct cmd *c);

#endif
