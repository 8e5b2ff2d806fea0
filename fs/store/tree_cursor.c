/* Reading a directory: lower entries in the lower order, what is not the user's left out. */
#include "fs/store/tree_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define BUFFER_LEN 32768

struct tree_cursor {
	struct dir *dir; /* a reference */
	int fd;
	int64_t position;  /* the lower offset behind the last entry taken from the buffer */
	size_t at, filled; /* bytes of buffer */
	bool alarmed;      /* one alarm is enough */
	bool sidecars;     /* some were passed over */
	_Alignas(struct dirent64) char buffer[BUFFER_LEN];
};

int tree_cursor_open(struct dir *d, struct tree_cursor **ret)
{
	struct lower *l = d->store->lower;
	struct tree_cursor *c = malloc(sizeof(*c));
	if (!c)
		return -ENOMEM;
	int fd = l->ops->reopen(l, d->fd, O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		free(c);
		return fd;
	}
	c->dir = dir_get(d);
	c->fd = fd;
	c->position = 0;
	c->at = c->filled = 0;
	c->alarmed = c->sidecars = false;
	*ret = c;
	return 0;
}

void tree_cursor_close(struct tree_cursor *c)
{
	if (!c)
		return;
	struct lower *l = c->dir->store->lower;
	l->ops->close(l, c->fd);
	dir_put(c->dir);
	free(c);
}

/* The next lower entry in *ret, which points into the buffer. 1, 0 at the end. */
static int next_lower(struct tree_cursor *c, const struct dirent64 **ret)
{
	struct lower *l = c->dir->store->lower;
	if (c->at == c->filled) {
		ssize_t n = l->ops->getdents(l, c->fd, c->buffer, sizeof(c->buffer));
		if (n <= 0)
			return (int)n;
		c->at = 0;
		c->filled = (size_t)n;
	}
	const struct dirent64 *e = (const void *)(c->buffer + c->at);
	c->at += e->d_reclen;
	c->position = e->d_off;
	*ret = e;
	return 1;
}

static int move_to(struct tree_cursor *c, int64_t offset)
{
	struct lower *l = c->dir->store->lower;
	/* A rewind reads anew even when nothing was taken yet: rewinddir(3) shows what is new. */
	if (offset == c->position && offset != 0)
		return 0;
	int r = l->ops->seekdir(l, c->fd, offset);
	if (r < 0)
		return r;
	c->at = c->filled = 0;
	c->position = offset;
	return 0;
}

/* 1 and the name; 0: leave it out, *ret_bad when it is there and still no name of this directory.
 */
static int open_name(const struct dir *d, const char *lower, char *ret_plain, bool *ret_bad)
{
	struct lower *l = d->store->lower;
	int r = -EBADMSG;
	if (strlen(lower) > 255)
		return 0;
	/* A removal takes the entry first and then its sidecar: look again whether the entry is
	 * there. */
	for (int attempt = 0; attempt < 2; attempt++) {
		struct stat st;
		r = name_open(d, lower, ret_plain);
		if (r == 0)
			return 1;
		if (r != -ENOENT && r != -EBADMSG)
			return r;
		int there = l->ops->fstatat(l, d->fd, lower, &st);
		if (there < 0)
			return there == -ENOENT ? 0 : there;
	}
	*ret_bad = true;
	return 0;
}

static void tell_once(struct tree_cursor *c, uint64_t ino)
{
	if (!c->alarmed)
		(void)store_alarm(c->dir->store, &(struct store_alarm){.what = "name",
							 .detail = "an entry's name does not open",
							 .file_id = c->dir->id,
							 .lower_ino = ino,
							 .block = UINT64_MAX});
	c->alarmed = true;
}

static uint8_t type_of(const struct dir *d, const struct dirent64 *e)
{
	struct lower *l = d->store->lower;
	struct stat st;
	if (e->d_type != DT_UNKNOWN || l->ops->fstatat(l, d->fd, e->d_name, &st) < 0)
		return e->d_type;
	return (uint8_t)IFTODT(st.st_mode);
}

int tree_cursor_next(struct tree_cursor *c, int64_t offset, struct tree_entry *ret)
{
	const struct dirent64 *e = NULL;
	int r = move_to(c, offset);
	if (r < 0)
		return r;
	while ((r = next_lower(c, &e)) > 0) {
		bool bad = false;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			snprintf(ret->plain, sizeof(ret->plain), "%s", e->d_name);
		else if (name_is_internal(e->d_name)) {
			c->sidecars |= tree_tidy_concerns(e->d_name);
			continue;
		} else
			r = open_name(c->dir, e->d_name, ret->plain, &bad);
		if (bad)
			tell_once(c, e->d_ino);
		if (r < 0)
			return r;
		if (r == 0)
			continue;
		snprintf(ret->lower, sizeof(ret->lower), "%s", e->d_name);
		ret->ino = e->d_ino;
		ret->next = e->d_off;
		ret->type = type_of(c->dir, e);
		return 1;
	}
	if (r == 0 && c->sidecars) {
		tree_tidy(c->dir);
		c->sidecars = false;
	}
	return r;
}
