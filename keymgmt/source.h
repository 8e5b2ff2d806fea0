/*
 * Where a passphrase or key file comes from: a terminal without echo, a descriptor, a file that
 * others cannot read, or a command's output. Never argv, never the environment.
 */
#ifndef KEYMGMT_SOURCE_H
#define KEYMGMT_SOURCE_H

#include "keymgmt/base/err.h"
#include "keymgmt/slot.h"

#define SOURCE_PASSPHRASE_MAX 4096 /* bytes */
#define SOURCE_KEY_FILE_MIN 32
#define SOURCE_KEY_FILE_MAX 65536

/* At most one of these is set; none: the terminal (then standard input if that is a terminal).
 * Strings borrowed. */
struct source {
	const char *passphrase_file; /* --passphrase-file, -o passfile= : first line counts without
					its newline */
	const char *key_file;        /* --key-file, -o keyfile= : all bytes count */
	const char *command; /* --passphrase-command, -o passcmd= : run by /bin/sh -c, first line of
				its output */
	int fd;              /* --passphrase-fd, -o passfd= : first line; -1 not given */
};
#define SOURCE_TERMINAL                                                                            \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/*
 * One option of the three programs: name "passphrase-file", "key-file", "passphrase-command",
 * "passphrase-fd" or "passfile", "keyfile", "passcmd", "passfd"; value is borrowed. 1 taken; 0 not
 * one of these names; -EINVAL with a sentence: a second source, or no descriptor number.
 */
MUST_USE int source_option(struct source *s, const char *name, const char *value, struct err *e);
/* Whether any is set: otherwise a terminal will be asked. */
bool source_given(const struct source *s);

/*
 * prompt: shown on a terminal ("Passphrase for acme"). twice: asked again on a terminal and
 * compared; an empty one is refused always. ret->secret points to *ret_secret, which the caller
 * frees. Of a descriptor exactly the first line is consumed, so that a second call reads the second
 * one. -EACCES a file that group or others may read, or that another than root and the caller owns;
 * -ENOENT; -ENOKEY empty, or a command that failed; -EFBIG too long; -EINVAL a key file under 32
 * bytes, or two entries that differ; -ENOTTY no terminal; -ECANCELED interrupted; a sentence each.
 * SIGINT, SIGTERM, SIGHUP and SIGQUIT during the prompt restore the terminal's echo and give
 * -ECANCELED. Where the caller holds SIGINT, SIGTERM or SIGHUP back, they end the wait for a file,
 * key file, descriptor or command in the same way; also when it is a pipe that nobody writes to
 * yet.
 */
MUST_USE int source_read(const struct source *s, const char *prompt, bool twice,
	struct slot_key *ret, struct secret **ret_secret, struct err *e);

#endif
