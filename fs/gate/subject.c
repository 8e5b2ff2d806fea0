#include "fs/gate/subject.h"

#include "keymgmt/base/cleanup.h"
#include "keymgmt/base/io.h"
#include "keymgmt/base/lock.h"

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

/* What /proc has of one caller, kept open. */
struct known {
	struct lock_mutex lock; /* guards the rest; innermost */
	pid_t pid;              /* 0: nobody */
	int dir, login_uid, session;
};

#define KNOWN 16
struct subject_known {
	struct known list[KNOWN];
	char mounts[64]; /* ours, as the link /proc/self/ns/mnt says it */
	ssize_t mounts_len;
};

struct subject_known *subject_known_new(void)
{
	struct subject_known *t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	for (size_t i = 0; i < KNOWN; i++) {
		t->list[i].dir = t->list[i].login_uid = t->list[i].session = -1;
		lock_init(&t->list[i].lock, LOCK_CALLERS);
	}
	t->mounts_len = readlink("/proc/self/ns/mnt", t->mounts, sizeof(t->mounts));
	return t;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void forget(struct known *k)
{
	close_one(&k->dir);
	close_one(&k->login_uid);
	close_one(&k->session);
	k->pid = 0;
}

void subject_known_free(struct subject_known *t)
{
	for (size_t i = 0; t && i < KNOWN; i++) {
		forget(&t->list[i]);
		lock_done(&t->list[i].lock);
	}
	free(t);
}

/* What cannot be opened stays -1: kernels without audit have neither number. */
static bool meet(struct known *k, pid_t pid)
{
	char path[64];
	forget(k);
	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	k->dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (k->dir < 0)
		return false;
	k->login_uid = openat(k->dir, "loginuid", O_RDONLY | O_CLOEXEC);
	k->session = openat(k->dir, "sessionid", O_RDONLY | O_CLOEXEC);
	k->pid = pid;
	return true;
}

static uint32_t read_number(int fd)
{
	char text[32], *end;
	ssize_t n = fd < 0 ? -1 : pread(fd, text, sizeof(text) - 1, 0);
	if (n <= 0)
		return UINT32_MAX;
	text[n] = 0;
	unsigned long v = strtoul(text, &end, 10);
	return end == text || v > UINT32_MAX ? UINT32_MAX : (uint32_t)v;
}

/* A user may bind what he likes over any path in a mount namespace of his own. */
static bool has_own_mounts(const struct subject_known *t, const struct known *k)
{
	char his[64]; /* "mnt:[NUMBER]" */
	ssize_t n = readlinkat(k->dir, "ns/mnt", his, sizeof(his));
	return n > 0 && (n != t->mounts_len || memcmp(his, t->mounts, (size_t)n) != 0);
}

/* False when the process is gone. */
static bool ask(const struct subject_known *t, const struct known *k, struct subject_facts *ret)
{
	ssize_t n = readlinkat(k->dir, "exe", ret->exe, sizeof(ret->exe) - 1);
	if (n < 0 && faccessat(k->dir, "stat", F_OK, 0) < 0)
		return false;
	ret->exe[n > 0 ? n : 0] = 0;
	if (n > 0 && has_own_mounts(t, k)) {
		const size_t room = sizeof(ret->exe) - sizeof(SUBJECT_ELSEWHERE);
		memcpy(ret->exe + ((size_t)n < room ? (size_t)n : room), SUBJECT_ELSEWHERE,
			sizeof(SUBJECT_ELSEWHERE));
	}
	ret->login_uid = (uid_t)read_number(k->login_uid);
	ret->session = read_number(k->session);
	return true;
}

void subject_facts(
	struct subject_known *t, const struct op_caller *caller, struct subject_facts *ret)
{
	ret->exe[0] = 0;
	ret->login_uid = (uid_t)-1;
	ret->session = UINT32_MAX;
	if (caller->pid <= 0)
		return;
	struct known *k = &t->list[(size_t)caller->pid % KNOWN];
	lock_take(&k->lock);
	bool there = k->pid == caller->pid && ask(t, k, ret);
	if (!there && meet(k, caller->pid) && !ask(t, k, ret))
		forget(k);
	lock_drop(&k->lock);
}
