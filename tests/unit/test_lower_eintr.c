/*
 * lower_posix.c when signals come: every system call that it makes says EINTR a few times before it
 * is made. None comes out, each is made exactly once, and close is not repeated: Linux has closed
 * the descriptor by then, and its number may be another's. The C library's functions are replaced
 * here, for the whole program. (Real signals interrupt none of these calls on the local filesystems
 * of Linux 6.18: only network and FUSE filesystems do it.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/lower/lower.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/statfs.h>
#include <sys/xattr.h>

#define INTERRUPTIONS 3

static bool armed;
static unsigned pending, interrupted, made;

/* Whether this call is to say EINTR. */
static bool interrupt(void)
{
	if (!armed)
		return false;
	if (!pending) {
		made++;
		pending = INTERRUPTIONS;
		return false;
	}
	pending--;
	interrupted++;
	errno = EINTR;
	return true;
}

/* A function of the C library, replaced. */
#define CALL(type, name, parameters, arguments)                                                    \
	type name parameters;                                                                      \
	type name parameters                                                                       \
	{                                                                                          \
		type(*real) parameters;                                                            \
		*(void **)&real = dlsym(RTLD_NEXT, #name);                                         \
		return interrupt() ? (type)-1 : real arguments;                                    \
	}
#define CALL_OPEN(name, parameters, arguments)                                                     \
	int name parameters;                                                                       \
	int name parameters                                                                        \
	{                                                                                          \
		int(*real) parameters;                                                             \
		*(void **)&real = dlsym(RTLD_NEXT, #name);                                         \
		va_list more;                                                                      \
		va_start(more, flags);                                                             \
		mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                          \
		va_end(more);                                                                      \
		return interrupt() ? -1 : real arguments;                                          \
	}
CALL_OPEN(openat64, (int dirfd, const char *path, int flags, ...), (dirfd, path, flags, mode))
CALL_OPEN(open64, (const char *path, int flags, ...), (path, flags, mode))
CALL(int, __open64_2, (const char *path, int flags), (path, flags)) /* open(2), fortified */
CALL(ssize_t, preadv64, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at))
CALL(ssize_t, pwritev64, (int fd, const struct iovec *iov, int n, off64_t at), (fd, iov, n, at))
CALL(int, fsync, (int fd), (fd))
CALL(int, fdatasync, (int fd), (fd))
CALL(int, syncfs, (int fd), (fd))
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size))
CALL(int, fallocate64, (int fd, int mode, off64_t at, off64_t len), (fd, mode, at, len))
CALL(int, mkdirat, (int fd, const char *path, mode_t mode), (fd, path, mode))
CALL(int, mknodat, (int fd, const char *path, mode_t mode, dev_t dev), (fd, path, mode, dev))
CALL(int, symlinkat, (const char *to, int fd, const char *path), (to, fd, path))
CALL(ssize_t, readlinkat, (int fd, const char *path, char *ret, size_t size), (fd, path, ret, size))
CALL(int, linkat, (int a, const char *old, int b, const char *new, int flags),
	(a, old, b, new, flags))
CALL(int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
CALL(int, renameat2, (int a, const char *old, int b, const char *new, unsigned flags),
	(a, old, b, new, flags))
CALL(int, fchmod, (int fd, mode_t mode), (fd, mode))
CALL(int, fchmodat, (int fd, const char *path, mode_t mode, int flags), (fd, path, mode, flags))
CALL(int, fchownat, (int fd, const char *path, uid_t u, gid_t g, int flags),
	(fd, path, u, g, flags))
CALL(int, utimensat, (int fd, const char *path, const struct timespec ts[2], int flags),
	(fd, path, ts, flags))
CALL(int, futimens, (int fd, const struct timespec ts[2]), (fd, ts))
CALL(ssize_t, fgetxattr, (int fd, const char *name, void *ret, size_t size), (fd, name, ret, size))
CALL(ssize_t, flistxattr, (int fd, char *ret, size_t size), (fd, ret, size))
CALL(int, fsetxattr, (int fd, const char *name, const void *value, size_t size, int flags),
	(fd, name, value, size, flags))
CALL(int, fremovexattr, (int fd, const char *name), (fd, name))
CALL(ssize_t, getdents64, (int fd, void *ret, size_t size), (fd, ret, size))
CALL(int, fstatfs64, (int fd, struct statfs64 *ret), (fd, ret))

/* Linux closes it all the same. */
int close(int fd);
int close(int fd)
{
	int (*real)(int);
	*(void **)&real = dlsym(RTLD_NEXT, "close");
	int r = real(fd);
	if (!armed)
		return r;
	made++;
	if (r == 0) {
		interrupted++;
		errno = EINTR;
		return -1;
	}
	return r;
}

struct place {
	char path[64];
	int fd, file, dir;
	struct lower *l;
};

static int make(void **state)
{
	static struct place p;
	p.l = lower_posix();
	snprintf(p.path, sizeof(p.path), "/var/tmp/lower_eintr.XXXXXX");
	if (!mkdtemp(p.path))
		return -1;
	p.fd = open(p.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	p.file = openat(p.fd, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	p.dir = openat(p.fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &p;
	return p.fd < 0 || p.file < 0 || p.dir < 0 ? -1 : 0;
}

static int remove_all(void **state)
{
	static const char *const names[] = {"file", "new", "fifo", "link", "hard", "hard 2"};
	struct place *p = *state;
	armed = false;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)unlinkat(p->fd, names[i], 0);
	(void)unlinkat(p->fd, "dir", AT_REMOVEDIR);
	(void)close(p->file);
	(void)close(p->dir);
	(void)close(p->fd);
	return rmdir(p->path);
}

static void begin(void)
{
	armed = true;
	pending = INTERRUPTIONS;
	interrupted = made = 0;
}

/* It was interrupted, and then made once. */
static long ended(long r, const char *what)
{
	armed = false;
	if (made != 1 || interrupted != INTERRUPTIONS)
		fail_msg("%s: made %u times, interrupted %u times", what, made, interrupted);
	if (r < 0)
		fail_msg("%s: %s", what, strerror((int)-r));
	return r;
}

#define ONCE(call) (begin(), ended((long)(call), #call))

static void content(void **state)
{
	struct place *p = *state;
	struct lower *l = p->l;
	const struct lower_ops *o = l->ops;
	char got[8] = "";
	assert_int_equal(ONCE(lower_pwrite(l, p->file, "content", 7, 0)), 7);
	assert_int_equal(ONCE(lower_pread(l, p->file, got, 7, 0)), 7);
	assert_memory_equal(got, "content", 7);
	ONCE(o->fsync(l, p->file, false));
	ONCE(o->fsync(l, p->file, true));
	ONCE(o->syncfs(l, p->file));
	ONCE(o->ftruncate(l, p->file, 100));
	ONCE(o->fallocate(l, p->file, FALLOC_FL_KEEP_SIZE, 0, 4096));
	ONCE(o->fchmod(l, p->file, 0640));
	ONCE(o->futimens(l, p->file, NULL));
	ONCE(o->fsetxattr(l, p->file, "user.a", "v", 1, 0));
	assert_int_equal(ONCE(o->fgetxattr(l, p->file, "user.a", got, sizeof(got))), 1);
	assert_true(ONCE(o->flistxattr(l, p->file, NULL, 0)) > 0);
	ONCE(o->fremovexattr(l, p->file, "user.a"));
	assert_true(ONCE(o->fs_type(l, p->file)) > 0);
}

static void names(void **state)
{
	struct place *p = *state;
	struct lower *l = p->l;
	const struct lower_ops *o = l->ops;
	char got[1024];
	int fd = (int)ONCE(o->openat(l, p->fd, "new", O_RDWR | O_CREAT | O_EXCL, 0600, NULL));
	int again = (int)ONCE(o->reopen(l, fd, O_RDONLY));
	ONCE(o->mkdirat(l, p->fd, "dir", 0700, NULL));
	ONCE(o->mknodat(l, p->fd, "fifo", S_IFIFO | 0600, 0, NULL));
	ONCE(o->symlinkat(l, "target", p->fd, "link", NULL));
	assert_int_equal(ONCE(o->readlinkat(l, p->fd, "link", got, sizeof(got))), 6);
	ONCE(o->linkat(l, p->fd, "new", p->fd, "hard"));
	ONCE(o->linkfd(l, fd, p->fd, "hard 2"));
	ONCE(o->renameat(l, p->fd, "hard", p->fd, "hard 2", RENAME_EXCHANGE));
	ONCE(o->unlinkat(l, p->fd, "hard", 0));
	ONCE(o->fchmodat(l, p->fd, "new", 0600));
	ONCE(o->fchownat(l, p->fd, "new", geteuid(), getegid()));
	ONCE(o->utimensat(l, p->fd, "new", NULL));
	assert_true(ONCE(o->getdents(l, p->dir, got, sizeof(got))) > 0);
	close(again);
	close(fd);
}

static void close_is_not_repeated(void **state)
{
	struct place *p = *state;
	int fd = dup(p->file);
	begin();
	int r = p->l->ops->close(p->l, fd);
	armed = false;
	assert_int_equal(r, 0);
	assert_int_equal(made, 1);
	assert_int_equal(interrupted, 1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content),
		cmocka_unit_test(names),
		cmocka_unit_test(close_is_not_repeated),
	};
	return cmocka_run_group_tests(tests, make, remove_all);
}
