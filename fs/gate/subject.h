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
void subject_facts(const struct op_caller *caller, struct subject_facts *ret);

#endif
