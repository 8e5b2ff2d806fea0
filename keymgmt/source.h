/*
 * Where a passphrase or key file comes from: a terminal without echo, a descriptor, a file that others cannot read, or a
 * command's output. Never argv, never the environment.
 */
#ifndef KEYMGMT_SOURCE_H
#define KEYMGMT_SOURCE_H

#include "keymgmt/base/err.h"
#include "keymgmt/slot.h"

/* At most one of these is set; none: the terminal (then standard input if that is a terminal). Strings borrowed. */
struct source {
	const char *passphrase_file; /* --passphrase-file, -o passfile= : first line counts without its newline */
	const char *key_file;        /* --key-file, -o keyfile= : all bytes count */
	const char *command;         /* --passphrase-command, -o passcmd= : run by /bin/sh -c, first line of its output */
	int fd;                      /* --passphrase-fd, -o passfd= : first line; -1 not given */
};
#define SOURCE_TERMINAL {.fd = -1}

/*
 * prompt: shown on a terminal ("Passphrase for acme"). twice: asked again and compared, and an empty one refused.
 * ret->secret is taken by the caller through *ret_secret (free it). -EACCES a file that group or others may read, or that another
 * than root and the caller owns; -ENOENT; -ENOKEY empty; -ENOTTY no terminal; -ECANCELED interrupted; a sentence each.
 */
MUST_USE int source_read(const struct source *s, const char *prompt, bool twice, struct slot_key *ret,
	struct secret **ret_secret, struct err *e);

#endif
