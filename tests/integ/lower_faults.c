/*
 * For LD_PRELOAD: system calls of the daemon on its store fail, as long as the file named by
 * LOWER_FAULTS says so in its one line:
 *
 *     fsync ERRNO [PATH]   fsync, fdatasync and syncfs of what has PATH in its path
 *     quota ERRNO          whatever would need a block: new folders and links, and writes and
 *                          fallocates that find none in place. (What is freed counts for nothing.)
 *
 * ERRNO is a number. Overwriting, removing, renaming, cutting and making empty files go on,
 * as for whom a quota has nothing left.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

int fdatasync(int fd);
int syncfs(int fd);
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

#define EXTENTS 32

/* Whether all of it has its place on the disk, also one that was only reserved. */
static bool in_place(int fd, uint64_t offset, uint64_t len)
{
	union {
		struct fiemap map;
		uint8_t room[sizeof(struct fiemap) + EXTENTS * sizeof(struct fiemap_extent)];
	} request;
	uint64_t at = offset, end = offset + len;
	memset(&request, 0, sizeof(request));
	request.map.fm_start = offset;
	request.map.fm_length = len;
	request.map.fm_extent_count = EXTENTS;
	if (ioctl(fd, FS_IOC_FIEMAP, &request.map) < 0)
		return false;
	for (unsigned i = 0; i < request.map.fm_mapped_extents; i++) {
		const struct fiemap_extent *e = &request.map.fm_extents[i];
		if (e->fe_logical > at)
			return false;
		at = e->fe_logical + e->fe_length;
	}
	return at >= end;
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
	return !in_place(fd, (uint64_t)offset, (uint64_t)len) && no_room()
		       ? -1
		       : real(fd, iov, n, offset);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
	REAL(int, "fallocate64", int, int, off64_t, off64_t);
	bool takes = !(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_COLLAPSE_RANGE));
	return takes && !in_place(fd, (uint64_t)offset, (uint64_t)len) && no_room()
		       ? -1
		       : real(fd, mode, offset, len);
}
