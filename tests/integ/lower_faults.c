/*
 * For LD_PRELOAD: system calls of the daemon on its store fail, as long as the file named by
 * LOWER_FAULTS says so in its one line:
 *
 *     fsync ERRNO [PATH]   fsync, fdatasync and syncfs of what has PATH in its path
 *     quota ERRNO          whatever would need new space: new files, folders and links, and writes
 *                          and fallocates that find no block in place
 *
 * ERRNO is a number. Overwriting, removing, renaming and cutting go on, as for whom a quota has
 * nothing left.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int fdatasync(int fd);
int syncfs(int fd);
int openat64(int dirfd, const char *name, int flags, ...);
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset);
int fallocate64(int fd, int mode, off64_t offset, off64_t len);

#define REAL(type, name, ...)                                                                      \
	type (*real)(__VA_ARGS__);                                                                 \
	*(void **)&real = dlsym(RTLD_NEXT, name)

/* The errno for calls of this kind, or 0. */
static int fault(const char *kind, char path[static PATH_MAX])
{
	char word[16];
	int error = 0;
	const char *where = getenv("LOWER_FAULTS");
	FILE *f = where ? fopen(where, "re") : NULL;
	path[0] = '\0';
	if (!f)
		return 0;
	int n = fscanf(f, "%15s %d %4095s", word, &error, path);
	fclose(f);
	return n >= 2 && strcmp(word, kind) == 0 ? error : 0;
}

static int flush_fault(int fd)
{
	char path[PATH_MAX], link[64], where[PATH_MAX] = "";
	int error = fault("fsync", path);
	if (!error)
		return 0;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, where, sizeof(where) - 1);
	where[len < 0 ? 0 : len] = '\0';
	return strstr(where, path) ? error : 0;
}

static bool no_room(void)
{
	char path[PATH_MAX];
	errno = fault("quota", path);
	return errno;
}

/* Whether all of it has its place. */
static bool in_place(int fd, off64_t offset, off64_t len)
{
	struct stat64 st;
	off64_t end = offset + len;
	if (fstat64(fd, &st) < 0 || end > ((st.st_size + 4095) & ~(off64_t)4095))
		return false;
	off64_t hole = lseek64(fd, offset, SEEK_HOLE);
	return hole >= end || hole >= st.st_size;
}

int fsync(int fd)
{
	REAL(int, "fsync", int);
	errno = flush_fault(fd);
	return errno ? -1 : real(fd);
}

int fdatasync(int fd)
{
	REAL(int, "fdatasync", int);
	errno = flush_fault(fd);
	return errno ? -1 : real(fd);
}

int syncfs(int fd)
{
	REAL(int, "syncfs", int);
	errno = flush_fault(fd);
	return errno ? -1 : real(fd);
}

int openat64(int dirfd, const char *name, int flags, ...)
{
	REAL(int, "openat64", int, const char *, int, ...);
	struct stat64 st;
	va_list more;
	va_start(more, flags);
	mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
	va_end(more);
	if ((flags & O_CREAT) && fstatat64(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 && no_room())
		return -1;
	return real(dirfd, name, flags, mode);
}

int mkdirat(int dirfd, const char *name, mode_t mode)
{
	REAL(int, "mkdirat", int, const char *, mode_t);
	return no_room() ? -1 : real(dirfd, name, mode);
}

int symlinkat(const char *target, int dirfd, const char *name)
{
	REAL(int, "symlinkat", const char *, int, const char *);
	return no_room() ? -1 : real(target, dirfd, name);
}

ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t offset)
{
	REAL(ssize_t, "pwritev64", int, const struct iovec *, int, off64_t);
	size_t len = 0;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return !in_place(fd, offset, (off64_t)len) && no_room() ? -1 : real(fd, iov, n, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	REAL(int, "fallocate64", int, int, off64_t, off64_t);
	bool takes = !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE));
	return takes && !in_place(fd, offset, len) && no_room() ? -1 : real(fd, mode, offset, len);
}
