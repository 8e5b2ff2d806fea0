/* Helpers of the tests of fs/store/tree: files and directories by plaintext name, lower entries
 * counted. */
#ifndef TEST_TREE_PLACE_H
#define TEST_TREE_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/erase/trash.h"
#include "fs/store/tree.h"
#include "tests/unit/store_place.h"

#include <dirent.h>
#include <errno.h>

static inline struct trash *with_trash(struct store_place *p)
{
	const struct trash_options options = {.require = TRASH_C};
	struct trash *t;
	assert_int_equal(mkdirat(p->tenant_fd, "trash", 0700), 0);
	int fd = openat(p->tenant_fd, "trash", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(trash_open(&p->fail.base, fd, &options, &t, NULL), 0);
	assert_int_equal(trash_resume(t), 0);
	p->store.trash = t;
	p->trash_fd = fd;
	return t;
}

static inline void without_trash(struct store_place *p)
{
	trash_close(p->store.trash, -1);
	p->store.trash = NULL;
	close(p->trash_fd);
}

static inline struct name sealed(const struct dir *d, const char *plain)
{
	struct name n;
	assert_int_equal(name_seal(d, plain, &n), 0);
	return n;
}

static inline void make_dir(struct dir *d, const char *plain, struct dir **ret)
{
	struct name n = sealed(d, plain);
	struct stat st;
	assert_int_equal(tree_mkdir(d, &n, 0755, NULL, &st), 0);
	assert_int_equal(dir_open(d, n.lower, ret), 0);
}

static inline void make_file(struct dir *d, const char *plain, const char *content)
{
	struct name n = sealed(d, plain);
	struct file *f;
	struct stat st;
	assert_int_equal(file_create(d, &n, 0644, NULL, &f, &st), 0);
	if (content[0])
		assert_int_equal(file_write(f, content, strlen(content), 0), strlen(content));
	file_put(f);
}

/* -ENOENT, another errno, or the length of what is read. */
static inline ssize_t read_file(struct dir *d, const char *plain, char *ret, size_t size)
{
	struct name n = sealed(d, plain);
	AUTO(file_auto) struct file *f = NULL;
	int r = file_open(d, n.lower, &f);
	return r < 0 ? r : file_read(f, ret, size, 0);
}

static inline void assert_content(struct dir *d, const char *plain, const char *content)
{
	char got[256];
	ssize_t n = read_file(d, plain, got, sizeof(got));
	assert_int_equal(n, strlen(content));
	assert_memory_equal(got, content, (size_t)n);
}

static inline int rename_to(struct dir *from, const char *old, struct dir *to, const char *new,
	unsigned flags, struct dir *moved, struct dir *victim)
{
	struct name a = sealed(from, old), b = sealed(to, new);
	const struct tree_rename r = {.from = from,
		.to = to,
		.old_lower = a.lower,
		.new_name = &b,
		.flags = flags,
		.moved = moved,
		.victim_dir = victim};
	return tree_rename(&r);
}

static inline int stat_of(struct dir *d, const char *plain, struct stat *ret)
{
	struct name n = sealed(d, plain);
	return tree_stat(d, n.lower, ret);
}

/* Lower entries but "." and "..": of the user's, or with `all` of ours too. */
static inline unsigned lower_count(const struct dir *d, bool all)
{
	AUTO_CLOSE fd = openat(d->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_Alignas(struct dirent64) char bytes[8192];
	unsigned count = 0;
	for (ssize_t n;
		(n = lower_posix()->ops->getdents(lower_posix(), fd, bytes, sizeof(bytes))) > 0;)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *e = (const void *)(bytes + at);
			at += e->d_reclen;
			if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
				(all || !name_is_internal(e->d_name)))
				count++;
		}
	return count;
}

static inline void disarm(struct store_place *p)
{
	fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
}

static inline char *long_name(char with)
{
	static char names[128][256];
	memset(names[(unsigned char)with & 127], with, 255);
	return names[(unsigned char)with & 127];
}

#endif
