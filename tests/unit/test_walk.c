/*
 * fs/lower/walk: everything below a folder is visited once, however deep, with the type it has;
 * links lead nowhere; an owner gets into folders of his own and leaves their modes as they were;
 * who visits may end it; each lower call may fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/lower/walk.h"
#include "tests/unit/fail_lower.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEEP 300
#define ORDINARY 65533

struct place {
	char path[64];
	int fd;
	struct fail_lower fail;
	unsigned files, links, others;
	unsigned end_at; /* the visit that ends it; 0: none */
	unsigned opened; /* files that could be opened */
};

static struct lower_ops blind_ops;
static struct lower blind = {&blind_ops};

/* A filesystem that does not say in a listing what an entry is. */
static ssize_t blind_getdents(struct lower *l, int fd, void *ret, size_t size)
{
	ssize_t n = lower_posix()->ops->getdents(l, fd, ret, size);
	for (ssize_t at = 0; at < n;) {
		uint8_t *record = (uint8_t *)ret + at;
		record[18] = DT_UNKNOWN;
		at += record[16] | record[17] << 8;
	}
	return n;
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	if (!p)
		return -1;
	snprintf(p->path, sizeof(p->path), "/tmp/test-walk-XXXXXX");
	if (!mkdtemp(p->path) || chmod(p->path, 0711) < 0)
		return -1;
	p->fd = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	blind_ops = *lower_posix()->ops;
	blind_ops.getdents = blind_getdents;
	fail_lower_init(&p->fail, lower_posix());
	*state = p;
	return p->fd < 0 || mkdirat(p->fd, "top", 0755) < 0 ? -1 : 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int teardown(void **state)
{
	struct place *p = *state;
	close(p->fd);
	int r = nftw(p->path, remove_one, 64, FTW_DEPTH | FTW_PHYS);
	free(p);
	return r;
}

static int visit(void *context, const struct walk_entry *e)
{
	struct place *p = context;
	struct stat st;
	assert_int_equal(fstatat(e->dirfd, e->name, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(e->type, IFTODT(st.st_mode));
	assert_int_equal(e->ino, st.st_ino);
	assert_int_equal(strncmp(e->path, "top", 3), 0);
	if (e->type == DT_REG) {
		p->files++;
		int fd = walk_open(&p->fail.base, e->dirfd, e->name, O_RDONLY);
		p->opened += fd >= 0;
		if (fd >= 0)
			close(fd);
	} else if (e->type == DT_LNK) {
		p->links++;
	} else {
		p->others++;
	}
	return p->end_at && p->files + p->links + p->others == p->end_at ? 42 : 0;
}

static int walk(struct place *p)
{
	p->files = p->links = p->others = p->opened = 0;
	return walk_tree(&p->fail.base, p->fd, "top", visit, p);
}

static void make_file(int dirfd, const char *name, mode_t mode)
{
	int fd = openat(dirfd, name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* 3 files, 2 links, a pipe; outside there is a file that nobody may come by. */
static void make_tree(struct place *p)
{
	assert_int_equal(mkdirat(p->fd, "outside", 0755), 0);
	make_file(p->fd, "outside/never", 0644);
	assert_int_equal(mkdirat(p->fd, "top/a", 0755), 0);
	assert_int_equal(mkdirat(p->fd, "top/a/empty", 0755), 0);
	make_file(p->fd, "top/1", 0644);
	make_file(p->fd, "top/a/2", 0644);
	make_file(p->fd, "top/a/.3", 0644);
	assert_int_equal(symlinkat("../outside", p->fd, "top/folder"), 0);
	assert_int_equal(symlinkat("nowhere", p->fd, "top/a/dangling"), 0);
	assert_int_equal(mknodat(p->fd, "top/pipe", S_IFIFO | 0600, 0), 0);
}

static void everything_is_visited_once(void **state)
{
	struct place *p = *state;
	make_tree(p);
	for (unsigned round = 0; round < 2; round++) {
		p->fail.under = round ? &blind : lower_posix();
		assert_int_equal(walk(p), 0);
		assert_int_equal(p->files, 3);
		assert_int_equal(p->opened, 3);
		assert_int_equal(p->links, 2);
		assert_int_equal(p->others, 1);
	}
	/* The folder itself may not be a link, nor one on the way. */
	assert_int_equal(symlinkat("top", p->fd, "link"), 0);
	int rc = walk_tree(&p->fail.base, p->fd, "link", visit, p);
	assert_true(rc == -ELOOP || rc == -ENOTDIR);
	rc = walk_tree(&p->fail.base, p->fd, "link/a", visit, p);
	assert_true(rc == -ELOOP || rc == -ENOTDIR);
	assert_int_equal(walk_tree(&p->fail.base, p->fd, "none", visit, p), -ENOENT);
	assert_int_equal(walk_tree(&p->fail.base, p->fd, "top/a", visit, p), 0);
}

static void who_visits_may_end_it(void **state)
{
	struct place *p = *state;
	make_tree(p);
	for (p->end_at = 1; p->end_at <= 6; p->end_at++) {
		assert_int_equal(walk(p), 42);
		assert_int_equal(p->files + p->links + p->others, p->end_at);
	}
	assert_int_equal(walk(p), 0);
}

static unsigned open_files(void)
{
	unsigned count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void each_lower_call_may_fail(void **state)
{
	struct place *p = *state;
	make_tree(p);
	unsigned before = open_files();
	for (unsigned blindly = 0; blindly < 2; blindly++)
		for (unsigned at = 1;; at++) {
			p->fail.under = blindly ? &blind : lower_posix();
			fail_lower_arm(&p->fail, FAIL_LOWER_ANY, at, -EIO, true);
			int rc = walk(p);
			bool hit = fail_lower_hit(&p->fail);
			assert_true(rc == 0 || (hit && rc == -EIO));
			assert_int_equal(open_files(), before);
			/* What was not visited was said to be so. */
			if (!rc)
				assert_int_equal(p->files, 3);
			if (!hit)
				break;
		}
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
}

static void a_tree_may_be_deeper_than_descriptors_last(void **state)
{
	struct place *p = *state;
	int at = openat(p->fd, "top", O_PATH | O_DIRECTORY | O_CLOEXEC);
	for (unsigned i = 0; i < DEEP; i++) {
		assert_int_equal(mkdirat(at, "folder", 0755), 0);
		make_file(at, "file", 0644);
		int next = openat(at, "folder", O_PATH | O_DIRECTORY | O_CLOEXEC);
		close(at);
		at = next;
	}
	close(at);
	struct rlimit had, few;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
	few = had;
	few.rlim_cur = 64;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	int rc = walk(p);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	assert_int_equal(rc, 0);
	assert_int_equal(p->files, DEEP);
	/* And so wide that one listing does not hold it. */
	for (unsigned i = 0; i < 700; i++) {
		char name[64];
		snprintf(name, sizeof(name), "top/a name of some length %06u", i);
		make_file(p->fd, name, 0644);
	}
	assert_int_equal(walk(p), 0);
	assert_int_equal(p->files, DEEP + 700);
}

/* As an ordinary user, who owns all of it and forbade himself most of it. */
static int walk_locked(struct place *p)
{
	static const struct {
		const char *name;
		mode_t mode;
	} rows[] = {{"top/a/b/c/file", 0}, {"top/a/b/file", 0200}, {"top/a/b/c", 0}, {"top/a/b", 0},
		{"top/a", 0400}, {"top/x", 0100}};
	struct stat st;
	if (syscall(SYS_setresgid, ORDINARY, ORDINARY, ORDINARY) < 0 ||
		syscall(SYS_setresuid, ORDINARY, ORDINARY, ORDINARY) < 0)
		return 3;
	if (mkdirat(p->fd, "top/a", 0700) < 0 || mkdirat(p->fd, "top/a/b", 0700) < 0 ||
		mkdirat(p->fd, "top/a/b/c", 0700) < 0 || mkdirat(p->fd, "top/x", 0700) < 0)
		return 4;
	make_file(p->fd, "top/a/b/c/file", 0600);
	make_file(p->fd, "top/a/b/file", 0600);
	make_file(p->fd, "top/x/file", 0600);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (fchmodat(p->fd, rows[i].name, rows[i].mode, 0) < 0)
			return 5;
	for (unsigned round = 0; round < 2; round++) {
		p->fail.under = round ? &blind : lower_posix();
		int rc = walk(p);
		if (rc < 0)
			return -rc;
		if (p->files != 3 || p->opened != 3)
			return 6;
	}
	/* From the top, as they can be seen again one after the other. */
	for (size_t i = sizeof(rows) / sizeof(*rows); i-- > 0;) {
		if (fstatat(p->fd, rows[i].name, &st, 0) < 0 ||
			(st.st_mode & 07777) != rows[i].mode)
			return 7;
		if (fchmodat(p->fd, rows[i].name, 0700, 0) < 0)
			return 8;
	}
	return 0;
}

static void an_owner_gets_into_what_he_locked(void **state)
{
	struct place *p = *state;
	int status;
	if (geteuid() != 0)
		skip();
	assert_int_equal(fchownat(p->fd, "top", ORDINARY, ORDINARY, 0), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child)
		_exit(walk_locked(p));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		T(everything_is_visited_once),
		T(who_visits_may_end_it),
		T(each_lower_call_may_fail),
		T(a_tree_may_be_deeper_than_descriptors_last),
		T(an_owner_gets_into_what_he_locked),
#undef T
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
