/* fs/lower: the real one. Links are not followed, O_PATH descriptors serve, errors are exact,
 * ownership a call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/fail_lower.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

struct place {
	char path[64];
	int fd; /* O_PATH */
	struct lower *l;
};

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	strncpy(p->path, "/var/tmp/test_lower.XXXXXX", sizeof(p->path) - 1);
	if (!mkdtemp(p->path))
		return -1;
	p->fd = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	p->l = lower_posix();
	*state = p;
	return p->fd < 0 ? -1 : 0;
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
	nftw(p->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static int make(struct place *p, const char *name, const char *content)
{
	int fd = p->l->ops->openat(p->l, p->fd, name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
	assert_true(fd >= 0);
	assert_int_equal(lower_write_all(p->l, fd, content, strlen(content), 0), 0);
	return fd;
}

static void whole_reads_end_in_an_error_at_the_end(void **state)
{
	struct place *p = *state;
	AUTO_CLOSE fd = make(p, "f", "0123456789");
	char got[16];
	assert_int_equal(lower_read_all(p->l, fd, got, 5, 5), 0);
	assert_memory_equal(got, "56789", 5);
	assert_int_equal(lower_read_all(p->l, fd, got, 6, 5), -EIO);
	assert_int_equal(lower_read_all(p->l, -1, got, 6, 5), -EBADF);
	AUTO_CLOSE read_only = p->l->ops->openat(p->l, p->fd, "f", O_RDONLY, 0, NULL);
	assert_int_equal(lower_write_all(p->l, read_only, "x", 1, 0), -EBADF);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

static void short_transfers_are_gone_on_with(void **state)
{
	struct place *p = *state;
	struct fail_lower short_one;
	static const size_t keeps[] = {1, 3, 9, 10, 11};
	AUTO_CLOSE fd = make(p, "f", "0123456789");
	fail_lower_init(&short_one, p->l);
	for (size_t i = 0; i < sizeof(keeps) / sizeof(keeps[0]); i++)
		for (int write = 0; write < 2; write++) {
			char got[16] = "";
			fail_lower_arm(&short_one, FAIL_LOWER_ANY, 1, 0, false);
			short_one.how = FAIL_LOWER_SHORT;
			short_one.keep = keeps[i];
			if (write)
				assert_int_equal(
					lower_write_all(&short_one.base, fd, "abcdefghij", 10, 1),
					0);
			assert_int_equal(lower_read_all(&short_one.base, fd, got, 10, write), 0);
			assert_string_equal(got, write ? "abcdefghij" : "0123456789");
			assert_int_equal(lower_write_all(p->l, fd, "0123456789", 10, 0), 0);
		}
}

static void links_are_not_followed(void **state)
{
	struct place *p = *state;
	const struct lower_ops *o = p->l->ops;
	close(make(p, "f", "x"));
	assert_int_equal(o->symlinkat(p->l, "f", p->fd, "s", NULL), 0);
	assert_int_equal(o->openat(p->l, p->fd, "s", O_RDONLY, 0, NULL), -ELOOP);
	assert_int_equal(o->fchmodat(p->l, p->fd, "s", 0777), -EOPNOTSUPP);
	assert_int_equal(o->fchmodat(p->l, p->fd, "f", 0641), 0);
	const struct timespec ts[2] = {{11, 0}, {22, 0}};
	assert_int_equal(o->utimensat(p->l, p->fd, "s", ts), 0);
	struct stat st;
	assert_int_equal(o->fstatat(p->l, p->fd, "s", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	assert_int_equal(st.st_mtime, 22);
	assert_int_equal(o->fstatat(p->l, p->fd, "f", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0641);
	assert_int_not_equal(st.st_mtime, 22);
	assert_int_equal(o->linkat(p->l, p->fd, "s", p->fd, "s2"), 0);
	assert_int_equal(o->fstatat(p->l, p->fd, "s2", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
	char target[4];
	assert_int_equal(o->readlinkat(p->l, p->fd, "s2", target, sizeof(target)), 1);
	AUTO_CLOSE link = o->openat(p->l, p->fd, "s", O_PATH, 0, NULL);
	assert_int_equal(o->fstatat(p->l, link, "", &st), 0);
	assert_true(S_ISLNK(st.st_mode));
}

static void an_o_path_descriptor_will_do(void **state)
{
	struct place *p = *state;
	const struct lower_ops *o = p->l->ops;
	AUTO_CLOSE made = make(p, "f", "x");
	AUTO_CLOSE fd = o->openat(p->l, p->fd, "f", O_PATH, 0, NULL);
	char got[8];
	assert_int_equal(o->fsetxattr(p->l, fd, "user.a", "val", 3, XATTR_CREATE), 0);
	assert_int_equal(o->fsetxattr(p->l, fd, "user.a", "val", 3, XATTR_CREATE), -EEXIST);
	assert_int_equal(o->fgetxattr(p->l, fd, "user.a", got, sizeof(got)), 3);
	assert_int_equal(o->fgetxattr(p->l, made, "user.a", got, sizeof(got)), 3);
	assert_int_equal(o->flistxattr(p->l, fd, NULL, 0), 7);
	assert_int_equal(o->fremovexattr(p->l, fd, "user.a"), 0);
	assert_int_equal(o->fgetxattr(p->l, fd, "user.a", got, sizeof(got)), -ENODATA);
	assert_int_equal(o->fchmod(p->l, fd, 0444), 0);
	const struct timespec ts[2] = {{11, 0}, {33, 0}};
	assert_int_equal(o->futimens(p->l, fd, ts), 0);
	assert_int_equal(o->fsync(p->l, fd, false), 0);
	assert_int_equal(o->fsync(p->l, p->fd, false), 0);
	assert_int_equal(o->syncfs(p->l, fd), -EBADF);
	assert_int_equal(o->syncfs(p->l, made), 0);
	assert_int_equal(o->linkfd(p->l, fd, p->fd, "g"), 0);
	struct stat st;
	assert_int_equal(o->fstatat(p->l, p->fd, "g", &st), 0);
	assert_int_equal(st.st_mode & 07777, 0444);
	assert_int_equal(st.st_mtime, 33);
	assert_int_equal(st.st_nlink, 2);
	AUTO_CLOSE again = o->reopen(p->l, fd, O_RDONLY | O_NOFOLLOW);
	assert_int_equal(lower_read_all(p->l, again, got, 1, 0), 0);
	assert_int_equal(o->close(p->l, o->reopen(p->l, fd, O_RDONLY)), 0);
	assert_int_equal(o->close(p->l, -1), -EBADF);
}

static void renames_obey_their_flags(void **state)
{
	struct place *p = *state;
	const struct lower_ops *o = p->l->ops;
	close(make(p, "a", "a"));
	close(make(p, "b", "bb"));
	assert_int_equal(o->renameat(p->l, p->fd, "a", p->fd, "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(o->renameat(p->l, p->fd, "a", p->fd, "b", RENAME_EXCHANGE), 0);
	struct stat st;
	assert_int_equal(o->fstatat(p->l, p->fd, "a", &st), 0);
	assert_int_equal(st.st_size, 2);
	assert_int_equal(o->renameat(p->l, p->fd, "a", p->fd, "b", 0), 0);
	assert_int_equal(o->fstatat(p->l, p->fd, "a", &st), -ENOENT);
	assert_int_equal(o->unlinkat(p->l, p->fd, "b", AT_REMOVEDIR), -ENOTDIR);
	assert_int_equal(o->unlinkat(p->l, p->fd, "b", 0), 0);
}

static void a_directory_is_read_from_any_offset(void **state)
{
	struct place *p = *state;
	const struct lower_ops *o = p->l->ops;
	for (int i = 0; i < 50; i++) {
		char name[16];
		snprintf(name, sizeof(name), "n%d", i);
		assert_int_equal(o->mkdirat(p->l, p->fd, name, 0700, NULL), 0);
	}
	AUTO_CLOSE fd = o->reopen(p->l, p->fd, O_RDONLY | O_DIRECTORY);
	_Alignas(struct dirent64) char bytes[512];
	int64_t third = 0;
	char fourth[256] = "";
	int seen = 0;
	for (ssize_t n; (n = o->getdents(p->l, fd, bytes, sizeof(bytes))) > 0;) {
		for (ssize_t at = 0; at < n; seen++) {
			const struct dirent64 *e =
				(const struct dirent64 *)(const void *)(bytes + at);
			if (seen == 2)
				third = e->d_off;
			if (seen == 3)
				snprintf(fourth, sizeof(fourth), "%s", e->d_name);
			at += e->d_reclen;
		}
	}
	assert_int_equal(seen, 52);
	assert_int_equal(o->seekdir(p->l, fd, third), 0);
	assert_true(o->getdents(p->l, fd, bytes, sizeof(bytes)) > 0);
	assert_string_equal(((struct dirent64 *)(void *)bytes)->d_name, fourth);
}

static void locks_extents_and_types_are_told(void **state)
{
	struct place *p = *state;
	const struct lower_ops *o = p->l->ops;
	AUTO_CLOSE fd = make(p, "f", "some bytes");
	AUTO_CLOSE other = o->openat(p->l, p->fd, "f", O_RDWR, 0, NULL);
	assert_int_equal(o->lock(p->l, fd), 0);
	assert_int_equal(o->lock(p->l, other), -EAGAIN);
	struct statvfs vfs;
	assert_int_equal(o->fstatvfs(p->l, p->fd, &vfs), 0);
	assert_true(o->fs_type(p->l, p->fd) > 0);
	assert_int_equal(o->fs_type(p->l, -1), -EBADF);
	assert_int_equal(o->fsync(p->l, fd, true), 0);
	struct lower_extent extents[4];
	int n = o->fiemap(p->l, fd, 0, extents, 4);
	if (n != -EOPNOTSUPP) { /* tmpfs has none */
		assert_int_equal(n, 1);
		assert_int_equal(extents[0].logical, 0);
		assert_true(extents[0].physical > 0);
	}
	assert_int_equal(o->fallocate(p->l, fd, 0, 0, 8192), 0);
	assert_int_equal(o->ftruncate(p->l, fd, 3), 0);
	struct stat st;
	assert_int_equal(o->fstat(p->l, fd, &st), 0);
	assert_int_equal(st.st_size, 3);
}

static void *make_as_owner(void *arg)
{
	struct place *p = arg;
	const struct lower_ops *o = p->l->ops;
	for (uid_t i = 1; i <= 200; i++) {
		char name[32];
		const struct lower_cred cred = {40000 + i, 50000 + i};
		snprintf(name, sizeof(name), "%lx-%u", (unsigned long)pthread_self(), i);
		int fd = o->openat(p->l, p->fd, name, O_CREAT | O_EXCL | O_RDWR, 0666, &cred);
		if (fd < 0)
			return (void *)"open";
		struct stat st;
		if (o->fstat(p->l, fd, &st) < 0 || st.st_uid != cred.uid || st.st_gid != cred.gid ||
			(st.st_mode & 0777) != 0666)
			return (void *)"owner";
		close(fd);
		snprintf(name, sizeof(name), "%lx-%u.", (unsigned long)pthread_self(), i);
		fd = o->openat(p->l, p->fd, name, O_CREAT | O_EXCL | O_RDWR, 0600, NULL);
		if (fd < 0 || o->fstat(p->l, fd, &st) < 0 || st.st_uid != 0 || st.st_gid != 0)
			return (void *)"own";
		close(fd);
	}
	return NULL;
}

/* The folder belongs to root with mode 0700: without capabilities none of these ids could create in
 * it. */
static void root_creates_for_others_thread_by_thread(void **state)
{
	struct place *p = *state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(lower_posix_prepare(), 0);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, make_as_owner, p), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	const struct lower_ops *o = p->l->ops;
	const struct lower_cred cred = {4711, 4712};
	struct stat st;
	assert_int_equal(o->mkdirat(p->l, p->fd, "d", 0751, &cred), 0);
	assert_int_equal(o->mknodat(p->l, p->fd, "p", S_IFIFO | 0622, 0, &cred), 0);
	assert_int_equal(o->symlinkat(p->l, "x", p->fd, "s", &cred), 0);
	static const char *const names[] = {"d", "p", "s"};
	for (int i = 0; i < 3; i++) {
		assert_int_equal(o->fstatat(p->l, p->fd, names[i], &st), 0);
		assert_int_equal(st.st_uid, 4711);
		assert_int_equal(st.st_gid, 4712);
	}
	assert_int_equal(o->mkdirat(p->l, p->fd, "d", 0751, &cred), -EEXIST);
	assert_int_equal(o->fchownat(p->l, p->fd, "s", 1, 2), 0);
	assert_int_equal(o->fstatat(p->l, p->fd, "s", &st), 0);
	assert_int_equal(st.st_uid, 1);
}

/* Who writes to the store can put one where a file was: that must not hold us up. */
static void a_pipe_does_not_block(void **state)
{
	struct place *p = *state;
	static const int flags[] = {O_RDONLY, O_RDWR, O_WRONLY};
	assert_int_equal(mkfifoat(p->fd, "pipe", 0600), 0);
	alarm(10);
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		int fd = p->l->ops->openat(p->l, p->fd, "pipe", flags[i], 0, NULL);
		assert_true(flags[i] == O_WRONLY ? fd == -ENXIO : fd >= 0);
		if (fd >= 0)
			p->l->ops->close(p->l, fd);
	}
	int held = p->l->ops->openat(p->l, p->fd, "pipe", O_PATH, 0, NULL);
	assert_true(held >= 0);
	int fd = p->l->ops->reopen(p->l, held, O_RDONLY);
	assert_true(fd >= 0);
	p->l->ops->close(p->l, fd);
	p->l->ops->close(p->l, held);
	alarm(0);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_pipe_does_not_block),
		CASE(whole_reads_end_in_an_error_at_the_end),
		CASE(short_transfers_are_gone_on_with),
		CASE(links_are_not_followed),
		CASE(an_o_path_descriptor_will_do),
		CASE(renames_obey_their_flags),
		CASE(a_directory_is_read_from_any_offset),
		CASE(locks_extents_and_types_are_told),
		CASE(root_creates_for_others_thread_by_thread),
	};
	return cmocka_run_group_tests_name("lower", tests, NULL, NULL);
}
