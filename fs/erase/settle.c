/* A list: it has at most SETTLE_MAX members, so looking along it costs less than what led here. */
#include "fs/erase/settle.h"

#include <fcntl.h>

struct settle_dir {
	struct settle_dir *next;
	int fd;
	dev_t dev;
	ino_t ino;
};

struct settle_dir *settle_open(struct lower *l, int dirfd)
{
	struct stat st;
	struct settle_dir *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->fd = l->ops->reopen(l, dirfd, O_RDONLY | O_DIRECTORY);
	if (d->fd >= 0 && l->ops->fstat(l, d->fd, &st) == 0) {
		d->dev = st.st_dev;
		d->ino = st.st_ino;
		return d;
	}
	settle_close(l, d);
	return NULL;
}

void settle_close(struct lower *l, struct settle_dir *d)
{
	if (d && d->fd >= 0)
		(void)!l->ops->close(l, d->fd);
	free(d);
}

bool settle_add(struct settle *s, struct settle_dir **d)
{
	if (!*d)
		return false;
	for (const struct settle_dir *other = s->dirs; other; other = other->next)
		if (other->dev == (*d)->dev && other->ino == (*d)->ino)
			return true;
	if (s->count >= SETTLE_MAX)
		return false;
	(*d)->next = s->dirs;
	s->dirs = *d;
	s->count++;
	*d = NULL;
	return true;
}

int settle_sync(struct settle *s, struct lower *l, int trash_fd)
{
	int r = 0;
	while (s->dirs) {
		struct settle_dir *d = s->dirs;
		s->dirs = d->next;
		if (r == 0)
			r = l->ops->fsync(l, d->fd, false);
		settle_close(l, d);
	}
	s->count = 0;
	return r < 0 ? r : l->ops->fsync(l, trash_fd, false);
}

void settle_done(struct settle *s, struct lower *l)
{
	while (s->dirs) {
		struct settle_dir *d = s->dirs;
		s->dirs = d->next;
		settle_close(l, d);
	}
	s->count = 0;
}
