#include "fs/gate/subject.h"

#include "keymgmt/base/cleanup.h"
#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void subject_init(struct subject *s, const struct op_caller *caller)
{
	*s = (struct subject){.caller = *caller};
}

void subject_done(struct subject *s)
{
	free(s->groups);
	s->groups = NULL;
}

/* Reads /proc/PID/FILE as text. Bytes read, or -errno. */
static ssize_t read_proc(pid_t pid, const char *file, char *text, size_t size)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
	AUTO_CLOSE fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = io_read_full(fd, text, size - 1);
	if (n >= 0)
		text[n] = 0;
	return n;
}

/* The number of `Uid:`'s file system column, the one that FUSE reports as the caller's. */
static bool status_uid_is(const char *status, uid_t uid)
{
	unsigned long ids[4];
	const char *line = strstr(status, "\nUid:");
	return line &&
	       sscanf(line, "\nUid: %lu %lu %lu %lu", &ids[0], &ids[1], &ids[2], &ids[3]) == 4 &&
	       ids[3] == uid;
}

static void parse_groups(struct subject *s, const char *status)
{
	const char *at = strstr(status, "\nGroups:");
	if (!at || !status_uid_is(status, s->caller.uid))
		return;
	at += strlen("\nGroups:");
	size_t room = 16, count = 0;
	gid_t *list = malloc(room * sizeof(*list));
	while (list && *at != '\n' && *at) {
		char *end;
		unsigned long gid = strtoul(at, &end, 10);
		if (end == at)
			break;
		if (count == room) {
			gid_t *more = realloc(list, 2 * room * sizeof(*list));
			if (!more) {
				free(list);
				return;
			}
			list = more;
			room *= 2;
		}
		list[count++] = (gid_t)gid;
		for (at = end; *at == ' '; at++)
			;
	}
	s->groups = list;
	s->group_count = list ? count : 0;
}

const gid_t *subject_groups(void *context, size_t *ret_count)
{
	struct subject *s = context;
	if (!s->groups_read && s->caller.pid > 0) {
		size_t size = 16384; /* grown for callers in thousands of groups */
		char *status = malloc(size);
		ssize_t n = -ENOMEM;
		while (status) {
			n = read_proc(s->caller.pid, "status", status, size);
			if (n < (ssize_t)size - 1 || size > 16u * SUBJECT_GROUPS_MAX)
				break;
			size *= 4;
			char *more = realloc(status, size);
			if (!more)
				n = -ENOMEM;
			if (!more)
				break;
			status = more;
		}
		if (n > 0)
			parse_groups(s, status);
		free(status);
	}
	s->groups_read = true;
	*ret_count = s->group_count;
	return s->groups;
}

static uint32_t read_number(pid_t pid, const char *file)
{
	char text[32], *end;
	if (read_proc(pid, file, text, sizeof(text)) <= 0)
		return UINT32_MAX;
	unsigned long v = strtoul(text, &end, 10);
	return end == text || v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* A user may bind what he likes over any path in a mount namespace of his own. */
static bool has_own_mounts(pid_t pid)
{
	char path[64], his[64], ours[64]; /* both "mnt:[NUMBER]" */
	snprintf(path, sizeof(path), "/proc/%d/ns/mnt", (int)pid);
	ssize_t n = readlink(path, his, sizeof(his));
	return n > 0 && (readlink("/proc/self/ns/mnt", ours, sizeof(ours)) != n ||
				memcmp(his, ours, (size_t)n) != 0);
}

void subject_facts(const struct op_caller *caller, struct subject_facts *ret)
{
	char path[64];
	ret->exe[0] = 0;
	ret->login_uid = (uid_t)-1;
	ret->session = UINT32_MAX;
	if (caller->pid <= 0)
		return;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)caller->pid);
	ssize_t n = readlink(path, ret->exe, sizeof(ret->exe) - 1);
	ret->exe[n > 0 ? n : 0] = 0;
	if (n > 0 && has_own_mounts(caller->pid)) {
		const size_t room = sizeof(ret->exe) - sizeof(SUBJECT_ELSEWHERE);
		memcpy(ret->exe + ((size_t)n < room ? (size_t)n : room), SUBJECT_ELSEWHERE,
			sizeof(SUBJECT_ELSEWHERE));
	}
	ret->login_uid = (uid_t)read_number(caller->pid, "loginuid");
	ret->session = read_number(caller->pid, "sessionid");
}
