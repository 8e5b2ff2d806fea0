/* Entries of the tree: their stat, and what makes or removes one of them. */
#include "fs/store/tree_internal.h"

#include "fs/store/block_map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TRASH_WAIT_MS 10000

void tree_lock(struct tree_locks *l)
{
	const size_t n = sizeof(l->dirs) / sizeof(l->dirs[0]);
	for (size_t i = 1; i < n; i++) {
		for (size_t j = i; j > 0 && l->dirs[j - 1] > l->dirs[j]; j--) {
			struct dir *d = l->dirs[j];
			l->dirs[j] = l->dirs[j - 1];
			l->dirs[j - 1] = d;
		}
	}
	for (size_t i = 1; i < n; i++)
		if (l->dirs[i] == l->dirs[i - 1])
			l->dirs[i - 1] = NULL;
	for (size_t i = 0; i < n; i++)
		if (l->dirs[i])
			lock_take(&l->dirs[i]->lock);
}

void tree_unlock(struct tree_locks *l)
{
	for (size_t i = 0; i < sizeof(l->dirs) / sizeof(l->dirs[0]); i++)
		if (l->dirs[i])
			lock_drop(&l->dirs[i]->lock);
}

struct lock_mutex *tree_rename_lock(const struct store *s)
{
	/* The store is read-only for everybody but for this lock in it. */
	return &((struct store *)(uintptr_t)s)->rename_lock;
}

/* An open file that is empty now may be written to until its last handle is closed. */
bool tree_frees_content(const struct stat *st, const struct file *f)
{
	return S_ISREG(st->st_mode) && st->st_nlink == 1 && (st->st_size > 0 || f);
}

bool tree_trash_may_help(const struct store *s, int r)
{
	return (r == -ENOSPC || r == -EDQUOT) && s->trash &&
	       trash_drain(s->trash, TRASH_WAIT_MS) == 0;
}

int tree_alarm(const struct dir *d, const char *what, const char *detail, int r)
{
	if (r != -EBADMSG)
		return r;
	return store_alarm(d->store,
		&(struct store_alarm){
			.what = what, .detail = detail, .file_id = d->id, .block = UINT64_MAX});
}

int tree_view(struct dir *d, const char *lower, const struct stat *st, struct stat *ret)
{
	struct stat view = *st;
	uint64_t size;
	if (S_ISLNK(st->st_mode)) {
		view.st_size = (off_t)tree_target_length(d, lower, st);
	} else if (S_ISREG(st->st_mode)) {
		if (block_map_size((uint64_t)st->st_size, &size) < 0) {
			/* The length is a hint, and a kill can leave one that no size has: ask the
			 * header. */
			AUTO(file_auto) struct file *f = NULL;
			int r = file_open(d, lower, &f);
			return r < 0 ? r : file_stat(f, ret);
		}
		view.st_size = (off_t)size;
	}
	*ret = view;
	return 0;
}

int tree_stat(struct dir *d, const char *lower, struct stat *ret)
{
	struct lower *l = d->store->lower;
	struct stat st;
	int r = l->ops->fstatat(l, d->fd, lower, &st);
	return r < 0 ? r : tree_view(d, lower, &st, ret);
}

/* With what it holds, so that the caller only has to remove the entry itself. */
static int make_dir(struct dir *d, const char *lower, mode_t mode, struct stat *ret)
{
	struct lower *l = d->store->lower;
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, d->fd, lower, O_PATH | O_DIRECTORY, 0, NULL)};
	if (at.fd < 0)
		return at.fd;
	int r = dir_init(d->store, at.fd, d, lower);
	if (r < 0)
		return r;
	struct stat st;
	r = l->ops->fstat(l, at.fd, &st);
	if (r == 0 && (mode & 0700) != 0700) {
		r = l->ops->fchmod(l, at.fd, (st.st_mode & 07077) | (mode & 0700));
		/* That moved its ctime on. */
		if (r == 0)
			r = l->ops->fstat(l, at.fd, &st);
	}
	if (r < 0)
		(void)l->ops->unlinkat(l, at.fd, ".dir", 0);
	else
		*ret = st;
	return r;
}

int tree_mkdir(struct dir *d, const struct name *n, mode_t mode, const struct lower_cred *cred,
	struct stat *ret)
{
	struct lower *l = d->store->lower;
	lock_take(&d->lock);
	int r = name_prepare(d, n);
	/* The owner's bits from the start, to write the record in it; group and others as default
	 * ACLs make them. */
	if (r == 0)
		r = l->ops->mkdirat(l, d->fd, n->lower, (mode & 07777) | 0700, cred);
	if (r == 0) {
		r = make_dir(d, n->lower, mode, ret);
		if (r < 0)
			(void)l->ops->unlinkat(l, d->fd, n->lower, AT_REMOVEDIR);
	}
	if (r < 0)
		name_forget(d, n->lower);
	lock_drop(&d->lock);
	return r;
}

static int same_inode(
	struct lower *l, const struct dir *d, const char *lower, const struct dir *known)
{
	struct stat a, b;
	int r = l->ops->fstatat(l, d->fd, lower, &a);
	if (r == 0)
		r = l->ops->fstat(l, known->fd, &b);
	if (r == 0 && (a.st_ino != b.st_ino || a.st_dev != b.st_dev))
		r = -ESTALE; /* the lower tree was changed behind us */
	return r;
}

static int rmdir_once(struct dir *d, const char *lower, struct dir *victim, bool keep)
{
	struct lower *l = d->store->lower;
	struct tree_locks locks = {{d, victim}};
	char record[DIR_RECORD_MAX];
	tree_lock(&locks);
	int r = same_inode(l, d, lower, victim);
	if (r == 0)
		r = dir_clear(victim, keep, record);
	if (r == 0) {
		r = l->ops->unlinkat(l, d->fd, lower, AT_REMOVEDIR);
		/* Failing that too, dir_open gives the empty directory a new record. */
		if (r < 0 && dir_restore(victim, record) < 0)
			r = -EIO;
	}
	if (r == 0)
		name_forget(d, lower);
	tree_unlock(&locks);
	return r;
}

int tree_rmdir(struct dir *d, const char *lower, struct dir *victim)
{
	int r = rmdir_once(d, lower, victim, true);
	if (tree_trash_may_help(d->store, r))
		r = rmdir_once(d, lower, victim, true);
	/* A full disk must still be emptied: now a crash may leave it without its attributes. */
	if (r == -ENOSPC || r == -EDQUOT)
		r = rmdir_once(d, lower, victim, false);
	return tree_alarm(victim, "directory", "its record is none", r);
}

static int make_other(struct dir *d, const struct name *n, mode_t mode, dev_t dev,
	const char *target, const struct lower_cred *cred, struct stat *ret)
{
	struct lower *l = d->store->lower;
	struct stat st;
	lock_take(&d->lock);
	int r = name_prepare(d, n);
	if (r == 0)
		r = target ? tree_target_make(d, n->lower, target, cred)
			   : l->ops->mknodat(l, d->fd, n->lower, mode, dev, cred);
	if (r == 0) {
		r = l->ops->fstatat(l, d->fd, n->lower, &st);
		if (r == 0)
			r = tree_view(d, n->lower, &st, ret);
		if (r < 0) /* what is told to have failed is not there */
			(void)l->ops->unlinkat(l, d->fd, n->lower, 0);
		if (r < 0 && target)
			tree_bind_forget(d, n->lower);
	}
	if (r < 0)
		name_forget(d, n->lower);
	lock_drop(&d->lock);
	return r;
}

int tree_symlink(struct dir *d, const struct name *n, const char *target,
	const struct lower_cred *cred, struct stat *ret)
{
	return make_other(d, n, 0, 0, target, cred, ret);
}

int tree_mknod(struct dir *d, const struct name *n, mode_t mode, dev_t dev,
	const struct lower_cred *cred, struct stat *ret)
{
	return make_other(d, n, mode, dev, NULL, cred, ret);
}

ssize_t tree_peek_link(struct dir *d, const char *lower, char *ret, size_t size)
{
	char target[TREE_TARGET_MAX];
	ssize_t len = tree_target_read(d, lower, target);
	if (len < 0)
		return len;
	if ((size_t)len < size)
		size = (size_t)len;
	memcpy(ret, target, size);
	return (ssize_t)size;
}

ssize_t tree_readlink(struct dir *d, const char *lower, char *ret, size_t size)
{
	ssize_t len = tree_peek_link(d, lower, ret, size);
	return len < 0 ? tree_alarm(d, "link target", "it does not open", (int)len) : len;
}

/* Locks held. What a second name needs besides the lower link: a home, or a binding and a tail, or
 * a name's sidecar. */
static int link_locked(struct dir *from, const char *lower, const struct stat *st, struct file *f,
	struct dir *to, const struct name *n)
{
	struct lower *l = from->store->lower;
	struct tree_tail tail = {""};
	struct tree_head head;
	int copied = 0;
	bool homed = false, bound = false;
	int r = name_prepare(to, n);
	if (r < 0)
		return r;
	if (f) {
		/* Homes are counted in the header: an empty file gets one now, or its second name
		 * would be foreign later. */
		const struct secret *key;
		r = file_xattr_key(f, &key);
		if (r == 0)
			r = file_home_add(f, to->id);
		homed = r == 0;
	} else if (S_ISLNK(st->st_mode)) {
		r = tree_bind_of(from, lower, &head);
		if (r == 0)
			r = tree_bind_claim(to, n->lower, &head);
		bound = r == 0;
		if (bound && from != to)
			r = tree_target_tail(from, lower, st, &tail);
		if (r == 0)
			r = copied = tree_target_copy(from, to, &tail);
	}
	if (r >= 0) {
		r = l->ops->linkat(l, from->fd, lower, to->fd, n->lower);
		/* A home too many does no harm; the next change of the file's names corrects it. */
		if (r < 0 && homed && file_home_remove(f, to->id) < 0)
			r = -EIO;
		if (r < 0 && copied > 0)
			tree_target_forget(to, &tail);
	}
	if (r < 0 && bound)
		tree_bind_forget(to, n->lower);
	if (r < 0)
		name_forget(to, n->lower);
	return r;
}

int tree_link(struct dir *from, const char *lower, struct file *f, struct dir *to,
	const struct name *n, struct stat *ret)
{
	struct lower *l = from->store->lower;
	AUTO(file_auto) struct file *opened = NULL;
	struct tree_locks locks = {{from, to}};
	struct stat st;
	int r = l->ops->fstatat(l, from->fd, lower, &st);
	if (r < 0)
		return r;
	if (S_ISDIR(st.st_mode))
		return -EPERM;
	if (S_ISREG(st.st_mode) && !f) {
		r = file_open(from, lower, &opened);
		if (r < 0)
			return r;
		f = opened;
	}
	tree_lock(&locks);
	r = link_locked(from, lower, &st, S_ISREG(st.st_mode) ? f : NULL, to, n);
	struct stat now;
	if (r == 0 && l->ops->fstatat(l, to->fd, n->lower, &now) == 0)
		st = now;
	else if (r == 0) /* it is made, whatever can be read of it */
		st.st_nlink++;
	tree_unlock(&locks);
	if (S_ISLNK(st.st_mode))
		r = tree_alarm(from, "link target", "it does not belong to its name", r);
	/* It is open: its length does not tell its size, only nearly when that cannot be read. */
	if (r == 0 && S_ISREG(st.st_mode) && file_stat(f, ret) == 0)
		return 0;
	return r < 0 ? r : tree_view(to, n->lower, &st, ret);
}

/* d->lock held. *ret_trashed is to be erased once it is released, when it is not empty. */
static int unlink_locked(struct dir *d, const char *lower, const struct stat *st, struct file *f,
	char ret_trashed[static TRASH_NAME_LEN])
{
	const struct store *s = d->store;
	struct lower *l = s->lower;
	char trashed[TRASH_NAME_LEN];
	struct tree_tail tail;
	int r;
	/* A tail that is not known now stays behind: the directory's removal takes it along. */
	(void)!tree_target_tail(d, lower, st, &tail);
	if (tree_frees_content(st, f) && (s->trash || st->st_size > 0)) {
		if (!s->trash)
			return -EROFS;
		r = trash_move(s->trash, d->fd, lower, trashed);
		if (r < 0)
			return r;
		if (f)
			file_set_trashed(f, trashed);
		else
			memcpy(ret_trashed, trashed, TRASH_NAME_LEN);
	} else {
		r = l->ops->unlinkat(l, d->fd, lower, 0);
		if (r < 0)
			return r;
		/* The name is gone: a home that stays behind is no reason to say that it is not. */
		if (S_ISREG(st->st_mode) && st->st_nlink > 1 && f)
			(void)!file_home_remove(f, d->id);
		if (st->st_nlink == 1)
			tree_target_forget(d, &tail);
		if (S_ISLNK(st->st_mode))
			tree_bind_forget(d, lower);
	}
	name_forget(d, lower);
	return 0;
}

/* 1 when the file turned out to have another name, and `several` was not asked for: nothing has
 * happened then. */
static int unlink_once(struct dir *d, const char *lower, struct file *f, bool several,
	char ret_trashed[static TRASH_NAME_LEN])
{
	struct lower *l = d->store->lower;
	struct stat st;
	if (several)
		lock_take(tree_rename_lock(d->store));
	lock_take(&d->lock);
	int r = l->ops->fstatat(l, d->fd, lower, &st);
	if (r == 0 && !several && S_ISREG(st.st_mode) && st.st_nlink > 1)
		r = 1;
	if (r == 0)
		r = unlink_locked(d, lower, &st, f, ret_trashed);
	lock_drop(&d->lock);
	if (several)
		lock_drop(tree_rename_lock(d->store));
	return r;
}

/*
 * With two names a file could lose both at once, each removal taking the other name for the one
 * that stays: such removals go one at a time. With one name its directory's lock is enough, since
 * tree_link takes that too.
 */
int tree_unlink(struct dir *d, const char *lower, struct file *f)
{
	AUTO(file_auto) struct file *opened = NULL;
	char trashed[TRASH_NAME_LEN] = "";
	int r = unlink_once(d, lower, f, false, trashed);
	if (tree_trash_may_help(d->store, r))
		r = unlink_once(d, lower, f, false, trashed);
	if (r == 1) {
		/* One that does not open may still be removed: its homes are nobody's concern any
		 * more. */
		if (!f && file_open(d, lower, &opened) == 0)
			f = opened;
		r = unlink_once(d, lower, f, true, trashed);
	}
	if (trashed[0])
		trash_erase(d->store->trash, trashed, d->fd);
	return r;
}
