/* What /proc tells of a caller, fetched only where a verdict or a record needs it. */
#ifndef GATE_SUBJECT_H
#define GATE_SUBJECT_H

#include "fs/op.h"

#include <limits.h>
#include <stdbool.h>

#define SUBJECT_GROUPS_MAX 65536 /* NGROUPS_MAX of Linux */

/* One caller during one request. Start with subject_init; end with subject_done. Not shared by
 * threads. */
struct subject {
	struct op_caller caller;
	bool groups_read;
	gid_t *groups; /* owned; NULL: unknown */
	size_t group_count;
};

void subject_init(struct subject *s, const struct op_caller *caller);
void subject_done(struct subject *s);

/*
 * Supplementary groups from /proc/PID/status, read once. NULL when the caller is unknown, gone, or
 * its uid there is not the one the kernel gave us (the pid was reused): such a caller matches no
 * group. context: struct subject.
 */
const gid_t *subject_groups(void *context, size_t *ret_count);

/* Behind exe of a caller in another mount namespace than ours: the path is as he sees it, and he
 * may have put another file there. */
#define SUBJECT_ELSEWHERE " (in another mount namespace)"

/* Who is behind the caller, for the log. Fields that cannot be read: exe "", ids (uint32_t)-1. */
struct subject_facts {
	char exe[PATH_MAX];
	uid_t login_uid;
	uint32_t session;
};

/*
 * Those who asked last, with what /proc has of them held open: a read of what is open costs a tenth
 * of opening it. The kernel makes each answer anew, so a program that has become another since is
 * told as that; of a process that is gone it answers ESRCH, also when its number is somebody else's
 * now: then it is opened again. 48 descriptors at most. For any thread. subject_known_new: owned;
 * NULL without memory.
 */
struct subject_known;
struct subject_known *subject_known_new(void);
void subject_known_free(struct subject_known *t);
void subject_facts(
	struct subject_known *t, const struct op_caller *caller, struct subject_facts *ret);

#endif
