#include "fs/lower/walk.h"

#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define DIRENT_HEAD 19 /* of struct linux_dirent64: ino 8, off 8, record length 2, type 1 */

/* Folders still to be read wait as paths, not as descriptors: a tree may be deeper than those last.
 */
struct walk {
	struct lower *l;
	int top;
	walk_visit *visit;
	void *context;
	char **folders; /* owned, as are the paths */
	size_t waiting, room;
};

static void walk_done(struct walk *w)
{
	while (w->waiting > 0)
		free(w->folders[--w->waiting]);
	free(w->folders);
}

static int push(struct walk *w, const char *path, const char *name)
{
	if (w->waiting == w->room) {
		size_t room = w->room ? w->room * 2 : 64;
		char **more = reallocarray(w->folders, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		w->folders = more;
		w->room = room;
	}
	char *full = NULL;
	if (asprintf(&full, "%s%s%s", path, path[0] ? "/" : "", name) < 0)
		return -ENOMEM;
	w->folders[w->waiting++] = full;
	return 0;
}

static int open_locked_out(
	struct lower *l, int dirfd, const char *name, const struct stat *st, int flags)
{
	mode_t mode = st->st_mode & 07777;
	int rc = l->ops->fchmodat(l, dirfd, name, mode | S_IRUSR | S_IWUSR | S_IXUSR);
	if (rc < 0)
		return rc;
	int fd = l->ops->openat(l, dirfd, name, flags, 0, NULL);
	rc = l->ops->fchmodat(l, dirfd, name, mode);
	if (rc < 0 && fd >= 0) {
		(void)l->ops->close(l, fd);
		return rc;
	}
	return fd;
}

int walk_open(struct lower *l, int dirfd, const char *name, int flags)
{
	struct stat st;
	int fd = l->ops->openat(l, dirfd, name, flags, 0, NULL);
	if (fd != -EACCES)
		return fd;
	int rc = l->ops->fstatat(l, dirfd, name, &st);
	return rc < 0                   ? rc
	       : st.st_uid == geteuid() ? open_locked_out(l, dirfd, name, &st, flags)
					: fd;
}

/* A folder that is gone through or read. An owner whose mode keeps him out gives himself the right
 * for as long. */
struct walk_folder {
	struct lower *l;
	int fd;
	bool lifted;
	mode_t mode;
};

static void leave_folder(struct walk_folder *f)
{
	if (f->fd >= 0 && f->lifted)
		(void)f->l->ops->fchmod(f->l, f->fd, f->mode);
	if (f->fd >= 0)
		(void)f->l->ops->close(f->l, f->fd);
	f->fd = -1;
}

static int enter_folder(struct lower *l, int at, const char *name, struct walk_folder *ret)
{
	struct stat st;
	struct walk_folder f = {.l = l, .fd = walk_open(l, at, name, O_RDONLY | O_DIRECTORY)};
	if (f.fd < 0)
		return f.fd;
	int rc = l->ops->fstat(l, f.fd, &st);
	if (!rc && geteuid() && st.st_uid == geteuid() && !(st.st_mode & S_IXUSR)) {
		f.mode = st.st_mode & 07777;
		rc = l->ops->fchmod(l, f.fd, f.mode | S_IXUSR);
		f.lifted = !rc;
	}
	if (rc < 0) {
		leave_folder(&f);
		return rc;
	}
	*ret = f;
	return 0;
}

static int open_folder(const struct walk *w, char *path, struct walk_folder *ret)
{
	struct walk_folder at = {.l = w->l, .fd = -1};
	for (char *name = path;;) {
		struct walk_folder next;
		char *slash = strchr(name, '/');
		if (slash)
			*slash = 0;
		int rc = enter_folder(w->l, at.fd < 0 ? w->top : at.fd, name, &next);
		leave_folder(&at);
		if (slash)
			*slash = '/';
		if (rc < 0)
			return rc;
		if (!slash) {
			*ret = next;
			return 0;
		}
		at = next;
		name = slash + 1;
	}
}

static int enter(void *context, const struct walk_entry *e)
{
	struct walk *w = context;
	struct walk_entry known = *e;
	struct stat st;
	if (e->type == DT_UNKNOWN) {
		int rc = w->l->ops->fstatat(w->l, e->dirfd, e->name, &st);
		if (rc < 0)
			return rc == -ENOENT ? 0 : rc;
		known.type = (uint8_t)IFTODT(st.st_mode);
	}
	return known.type == DT_DIR ? push(w, e->path, e->name) : w->visit(w->context, &known);
}

/* Reads the folder open as fd from its position on. */
static int each_record(struct lower *l, int fd, const char *path, walk_visit *visit, void *context)
{
	uint8_t records[16384];
	for (;;) {
		ssize_t n = l->ops->getdents(l, fd, records, sizeof(records));
		if (n <= 0)
			return (int)n;
		struct cur c = {records, records + n};
		while (cur_left(&c) > DIRENT_HEAD) {
			const uint8_t *record = cur_take(&c, bytes_get16(c.at + 16));
			if (!record)
				return -EIO;
			const struct walk_entry e = {fd, path, (const char *)record + DIRENT_HEAD,
				bytes_get64(record), record[18]};
			if (strcmp(e.name, ".") == 0 || strcmp(e.name, "..") == 0)
				continue;
			int rc = visit(context, &e);
			if (rc)
				return rc;
		}
	}
}

static int read_folder(struct walk *w, char *path)
{
	AUTO(leave_folder) struct walk_folder folder = {.l = w->l, .fd = -1};
	int opened = open_folder(w, path, &folder);
	return opened < 0 ? opened : each_record(w->l, folder.fd, path, enter, w);
}

int walk_names(struct lower *l, int dir_fd, walk_visit *visit, void *context)
{
	AUTO_LOWER_HELD d = {l, l->ops->reopen(l, dir_fd, O_RDONLY | O_DIRECTORY)};
	return d.fd < 0 ? d.fd : each_record(l, d.fd, "", visit, context);
}

int walk_tree(struct lower *l, int top_fd, const char *folder, walk_visit *visit, void *context)
{
	AUTO(walk_done)
	struct walk w = {.l = l, .top = top_fd, .visit = visit, .context = context};
	int rc = push(&w, "", folder);
	while (!rc && w.waiting > 0) {
		AUTO_FREE char *path = w.folders[--w.waiting];
		rc = read_folder(&w, path);
	}
	return rc;
}
