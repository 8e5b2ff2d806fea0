#include "fs/gate/policy_parts.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>

#define SCRATCH_FIRST 4096u
#define SCRATCH_MAX (16u << 20) /* a group with very many members */

static int find_user(const char *name, char *scratch, size_t size, uint32_t *ret)
{
	struct passwd entry, *found = NULL;
	int rc = getpwnam_r(name, &entry, scratch, size, &found);
	if (!found)
		return rc ? -rc : -ENOENT;
	*ret = entry.pw_uid;
	return 0;
}

static int find_group(const char *name, char *scratch, size_t size, uint32_t *ret)
{
	struct group entry, *found = NULL;
	int rc = getgrnam_r(name, &entry, scratch, size, &found);
	if (!found)
		return rc ? -rc : -ENOENT;
	*ret = entry.gr_gid;
	return 0;
}

static int find(
	int (*look)(const char *, char *, size_t, uint32_t *), const char *name, uint32_t *ret)
{
	for (size_t size = SCRATCH_FIRST; size <= SCRATCH_MAX; size *= 4) {
		AUTO_FREE char *scratch = malloc(size);
		if (!scratch)
			return -ENOMEM;
		int rc = look(name, scratch, size, ret);
		if (rc != -ERANGE)
			/* getpwnam_r(3): these too mean that there is no such name */
			return rc == -ESRCH || rc == -EBADF || rc == -EPERM ? -ENOENT : rc;
	}
	return -ERANGE;
}

static int user(void *context, const char *name, uid_t *ret)
{
	(void)context;
	return find(find_user, name, ret);
}

static int group(void *context, const char *name, gid_t *ret)
{
	(void)context;
	return find(find_group, name, ret);
}

const struct policy_names *policy_names_system(void)
{
	static const struct policy_names names = {user, group, NULL};
	return &names;
}
