#include "tests/sim/sim_look.h"

#include "fs/store/xattr.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void tree_cursor_auto(struct tree_cursor **c)
{
	tree_cursor_close(*c);
}

struct looking {
	struct sim_store *s;
	struct look *ret;
	char *why;
};

const char *sim_look_name(unsigned index)
{
	static char names[MODEL_NAMES][256];
	if (!names[index][0] && index < MODEL_NAMES - 2)
		snprintf(names[index], sizeof(names[index]), "name %u", index);
	else if (!names[index][0])
		memset(names[index], 'a' + (int)index, index % 2 ? 255 : 190);
	return names[index];
}

static int say(struct looking *k, const char *what, int r)
{
	snprintf(k->why, 256, "%.50s: %.50s (alarms %u: %.30s, %.80s)", what, strerror(-r),
		k->s->alarms, k->s->what, k->s->detail);
	return -1;
}

static int say_size(struct looking *k, const struct look_inode *i, const struct stat *opened,
	const struct stat *listed, int r)
{
	snprintf(k->why, 256,
		"inode %u has %llu bytes, %lld when it is open, %lld when it is listed (%s)",
		i->ino, (unsigned long long)i->len, (long long)opened->st_size,
		(long long)listed->st_size, strerror(-r));
	return -1;
}

static int say_file(struct looking *k, const struct look_inode *i)
{
	char what[40];
	snprintf(what, sizeof(what), "inode %u does not read", i->ino);
	return say(k, what, i->status ? i->status : i->xattr_status);
}

/* Longer ones do not fit beside the inode. */
static size_t xattr_len(uint32_t value)
{
	return 4 + value % 90;
}

int sim_look_set_xattr(struct file *f, struct dir *d, uint32_t value)
{
	uint8_t bytes[96];
	memset(bytes, (int)value, sizeof(bytes));
	memcpy(bytes, &value, sizeof(value));
	return value ? xattr_set(f, d, SIM_XATTR, bytes, xattr_len(value), 0)
		     : xattr_remove(f, d, SIM_XATTR);
}

static void look_xattr(struct file *f, struct dir *d, struct look_inode *i)
{
	uint8_t bytes[96];
	ssize_t n = xattr_get(f, d, SIM_XATTR, bytes, sizeof(bytes));
	i->xattr = 0;
	i->xattr_status = n < 0 && n != -ENODATA ? (int)n : 0;
	if (n >= 4) {
		memcpy(&i->xattr, bytes, 4);
		if ((size_t)n != xattr_len(i->xattr))
			i->xattr_status = -EBADMSG;
	}
}

#define CHUNK (64u * SIM_BYTES_PAGE)
#define READ_WHOLE (4u * CHUNK) /* longer ones may be mostly holes */

/* Bytes [at, end). */
static int read_part(
	struct file *f, uint64_t at, uint64_t end, uint64_t *digest, struct sim_bytes *keep)
{
	static uint8_t bytes[CHUNK];
	while (at < end) {
		size_t len = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = file_read(f, bytes, len, at);
		if (n < (ssize_t)len)
			return n < 0 ? (int)n : -EIO;
		if (len % SIM_BYTES_PAGE)
			memset(bytes + len, 0, SIM_BYTES_PAGE - len % SIM_BYTES_PAGE);
		for (size_t page = 0; page < len; page += SIM_BYTES_PAGE) {
			uint64_t hash = sim_bytes_hash((at + page) / SIM_BYTES_PAGE, bytes + page);
			*digest ^= hash;
			if (hash && keep)
				sim_bytes_write(keep, bytes + page,
					len - page < SIM_BYTES_PAGE ? len - page : SIM_BYTES_PAGE,
					at + page);
		}
		at += len;
	}
	return 0;
}

int sim_look_content(
	struct file *f, uint64_t *ret_len, uint64_t *ret_digest, struct sim_bytes *keep)
{
	struct stat st;
	uint64_t digest = 0;
	int r = file_stat(f, &st);
	if (r < 0)
		return r;
	uint64_t size = (uint64_t)st.st_size, at = 0;
	if (size <= READ_WHOLE)
		r = read_part(f, 0, size, &digest, keep);
	while (r == 0 && size > READ_WHOLE && at < size) {
		int64_t from = file_range_seek(f, at, true);
		int64_t to = from < 0 ? from : file_range_seek(f, (uint64_t)from, false);
		if (from == -ENXIO)
			break;
		r = to < 0 ? (int)to : read_part(f, (uint64_t)from, (uint64_t)to, &digest, keep);
		at = (uint64_t)to;
	}
	/* Behind the end there is nothing. */
	uint8_t behind;
	ssize_t n = r == 0 ? file_read(f, &behind, 1, size) : 0;
	if (r < 0 || n)
		return r < 0 ? r : n < 0 ? (int)n : -EIO;
	if (keep)
		sim_bytes_resize(keep, size);
	*ret_len = size;
	*ret_digest = digest;
	return 0;
}

static int look_file(struct looking *k, struct dir *d, const char *lower, struct look_inode *i)
{
	AUTO(file_auto) struct file *f = NULL;
	struct stat listed, opened;
	unsigned alarms = k->s->alarms;
	int r = tree_stat(d, lower, &listed);
	i->time = listed.st_mtim;
	i->status = file_open(d, lower, &f);
	if (i->status == 0)
		i->status = sim_look_content(f, &i->len, &i->hash, NULL);
	if (i->status == 0)
		look_xattr(f, NULL, i);
	if (k->s->alarms > alarms || i->status || i->xattr_status)
		return say_file(k, i);
	if (r == 0)
		r = file_stat(f, &opened);
	/* The length is a hint: an end may leave it too long until somebody opens the file. */
	if (r < 0 || opened.st_size != (off_t)i->len || listed.st_size < opened.st_size)
		return say_size(k, i, &opened, &listed, r);
	r = file_settle_length(f);
	if (r >= 0)
		r = tree_stat(d, lower, &listed);
	if (r < 0 || listed.st_size != opened.st_size)
		return say_size(k, i, &opened, &listed, r);
	return 0;
}

static int look_link(struct looking *k, struct dir *d, const char *lower, struct look_inode *i)
{
	char target[MODEL_TARGET + 1];
	ssize_t n = tree_readlink(d, lower, target, sizeof(target));
	if (n < 0)
		return say(k, "a link does not read", (int)n);
	i->len = (uint64_t)n;
	i->hash = model_hash(target, (size_t)n);
	return 0;
}

static struct look_inode *inode_for(struct looking *k, uint64_t ino, uint8_t type, bool *ret_new)
{
	for (unsigned n = 0; n < k->ret->inodes; n++)
		if (k->ret->inode[n].ino == ino) {
			*ret_new = false;
			return &k->ret->inode[n];
		}
	*ret_new = true;
	struct look_inode *i = &k->ret->inode[k->ret->inodes++];
	*i = (struct look_inode){.ino = (uint32_t)ino, .type = type};
	return i;
}

static int look_dir(struct looking *k, struct dir *d, uint32_t ino);

static int look_entry(struct looking *k, struct dir *d, uint32_t parent, const struct tree_entry *e)
{
	unsigned name = 0;
	bool new;
	while (name < MODEL_NAMES && strcmp(e->plain, sim_look_name(name)) != 0)
		name++;
	if (name == MODEL_NAMES || k->ret->count == MODEL_ENTRIES)
		return say(k, "a name that nobody made", 0);
	k->ret->entries[k->ret->count++] =
		(struct look_entry){parent, (uint32_t)e->ino, (uint8_t)name};
	struct look_inode *i = inode_for(k, e->ino, e->type, &new);
	if (e->type == DT_DIR) {
		AUTO(dir_auto) struct dir *child = NULL;
		int r = new ? dir_open(d, e->lower, &child) : -ELOOP;
		return r < 0 ? say(k, "a directory does not open", r)
			     : look_dir(k, child, (uint32_t)e->ino);
	}
	if (!new)
		return 0;
	return e->type == DT_REG ? look_file(k, d, e->lower, i) : look_link(k, d, e->lower, i);
}

static int look_dir(struct looking *k, struct dir *d, uint32_t ino)
{
	AUTO(tree_cursor_auto) struct tree_cursor *c = NULL;
	struct tree_entry e;
	bool new;
	struct look_inode *self = inode_for(k, ino, DT_DIR, &new);
	self->hash = model_hash(d->id, DIR_ID_LEN);
	look_xattr(NULL, d, self);
	if (self->xattr_status)
		return say(k, "a directory's attribute", self->xattr_status);
	int64_t at = 0;
	int r = tree_cursor_open(d, &c);
	while (r == 0 && (r = tree_cursor_next(c, at, &e)) > 0) {
		at = e.next;
		r = 0;
		if (strcmp(e.plain, ".") == 0 || strcmp(e.plain, "..") == 0)
			continue;
		if (look_entry(k, d, ino, &e) < 0)
			return -1;
	}
	return r < 0 ? say(k, "a directory does not list", r) : 0;
}

int sim_look(struct sim_store *s, struct look *ret, char why[static 256])
{
	struct looking k = {.s = s, .ret = ret, .why = why};
	unsigned alarms = s->alarms;
	struct stat st;
	ret->count = ret->inodes = 0;
	int r = s->lower->ops->fstat(s->lower, s->root->fd, &st);
	r = r < 0 ? say(&k, "the root", r) : look_dir(&k, s->root, (uint32_t)st.st_ino);
	return r == 0 && s->alarms != alarms ? say(&k, "an alarm", 0) : r;
}
