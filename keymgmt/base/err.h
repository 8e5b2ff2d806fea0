/*
 * Results and what the user is told.
 *
 * Functions return >= 0 or -errno. What a person must be told travels beside it in a struct err:
 * one sentence that says what is wrong and what to do. Libraries fill it, only programs print it.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* Exit status of every tenantfs program; the table is in docs/man and tests/integ checks it. */
enum err_exit {
	EXIT_OK = 0,
	EXIT_FAILED = 1,    /* a system call failed; the sentence names it */
	EXIT_USAGE = 2,     /* wrong words on the command line */
	EXIT_DENIED = 3,    /* not permitted: EACCES, EPERM */
	EXIT_NOT_FOUND = 4, /* no such store, tenant, keyring, file: ENOENT, ENOTDIR */
	EXIT_IN_USE = 5,    /* mounted already, mount point in use, exists: EBUSY, EEXIST */
	EXIT_WRONG_KEY = 6, /* wrong passphrase or key: EKEYREJECTED, ENOKEY */
	EXIT_DAMAGED = 7,   /* damaged or foreign: EBADMSG, EIO */
	EXIT_NEWER = 8,     /* a format newer than this program: EPROTONOSUPPORT */
	EXIT_POLICY = 9,    /* mistakes in a policy: EBADRQC */
	EXIT_NO_FUSE = 10,  /* /dev/fuse or fusermount3 missing: ENODEV */
	EXIT_NO_SPACE = 11, /* ENOSPC, EDQUOT */
};

struct err {
	int code;       /* the -errno that came with it, 0 while empty */
	char text[512]; /* one sentence without a final newline */
};

/* Sets the sentence (replacing an earlier one) and returns code (-errno). e may be NULL. */
int err_set(struct err *e, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set, but keeps a sentence that is already there: the innermost knows best. */
int err_default(struct err *e, int code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* enum err_exit for a -errno (0 gives EXIT_OK). */
int err_exit_status(int code);

/* What an application sees: -EBADMSG and other internal codes become -EIO; the rest as it is. */
int err_to_fuse(int code);

#endif
