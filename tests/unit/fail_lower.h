/*
 * A lower for tests that passes every call on to another one and fails the n-th, or does something
 * else there: transfers less than it was asked for, ends the process to play a crash. "Fail the
 * n-th call until success": for (n = 1;; n++) { fail_lower_arm(&f, ANY, n, -EIO, true); run; if
 * (!fail_lower_hit(&f)) break; check }. Thread-safe. A failing close closes all the same.
 */
#ifndef TEST_FAIL_LOWER_H
#define TEST_FAIL_LOWER_H

#include "fs/lower/lower.h"

#include <stdatomic.h>

/* In the order of struct lower_ops. */
enum fail_lower_op {
	FAIL_LOWER_ANY,
	FAIL_LOWER_OPENAT,
	FAIL_LOWER_CLOSE,
	FAIL_LOWER_PREADV,
	FAIL_LOWER_PWRITEV,
	FAIL_LOWER_FSYNC,
	FAIL_LOWER_SYNCFS,
	FAIL_LOWER_FTRUNCATE,
	FAIL_LOWER_FALLOCATE,
	FAIL_LOWER_FSTAT,
	FAIL_LOWER_FSTATAT,
	FAIL_LOWER_MKDIRAT,
	FAIL_LOWER_MKNODAT,
	FAIL_LOWER_SYMLINKAT,
	FAIL_LOWER_READLINKAT,
	FAIL_LOWER_LINKAT,
	FAIL_LOWER_LINKFD,
	FAIL_LOWER_UNLINKAT,
	FAIL_LOWER_RENAMEAT,
	FAIL_LOWER_FCHMOD,
	FAIL_LOWER_FCHMODAT,
	FAIL_LOWER_FCHOWNAT,
	FAIL_LOWER_UTIMENSAT,
	FAIL_LOWER_FUTIMENS,
	FAIL_LOWER_FGETXATTR,
	FAIL_LOWER_FLISTXATTR,
	FAIL_LOWER_FSETXATTR,
	FAIL_LOWER_FREMOVEXATTR,
	FAIL_LOWER_GETDENTS,
	FAIL_LOWER_SEEKDIR,
	FAIL_LOWER_REOPEN,
	FAIL_LOWER_FSTATVFS,
	FAIL_LOWER_FIEMAP,
	FAIL_LOWER_FS_TYPE,
	FAIL_LOWER_LOCK,
};

enum fail_lower_how {
	FAIL_LOWER_ERROR, /* `error`; the call is not made */
	FAIL_LOWER_SHORT, /* preadv and pwritev transfer at most `keep` bytes; others are made whole
			   */
	FAIL_LOWER_PASS   /* `instead` alone: it may have told the lower under it to fail */
};

struct fail_lower {
	struct lower base; /* give &f.base to the code under test */
	struct lower *under;
	enum fail_lower_op only; /* which calls count */
	unsigned at;             /* 1: the first one; 0: never */
	int error;               /* -errno */
	enum fail_lower_how how; /* fail_lower_arm makes it FAIL_LOWER_ERROR */
	size_t keep;             /* bytes; at least 1 */
	bool once;               /* else every counted call from there on fails */
	void (*instead)(void);   /* called before the n-th call fails; may end the process */
	atomic_uint counted;     /* calls of that kind since arming */
	atomic_uint total[FAIL_LOWER_LOCK + 1]; /* of each kind since init; [FAIL_LOWER_ANY]: all */
};

void fail_lower_init(struct fail_lower *f, struct lower *under);
/* Counts from now on. Not while other threads make calls. */
void fail_lower_arm(
	struct fail_lower *f, enum fail_lower_op only, unsigned at, int error, bool once);
/* Whether the armed call came. */
bool fail_lower_hit(const struct fail_lower *f);

#endif
