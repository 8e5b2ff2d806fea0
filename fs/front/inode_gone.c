/* inode.h: what somebody may still be at whose name is gone. */
#include "fs/front/inode.h"

#include "fs/store/xattr.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

/* So long after an answer of ESTALE the kernel may still be on its second and last try. */
#define MISSED_MS 10000

static uint64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static bool is_keyless(mode_t type)
{
	return !S_ISREG(type) && !S_ISDIR(type) && !S_ISLNK(type);
}

/* 0: none. */
static ssize_t peek_acl(struct dir *d, const char *lower, char *ret, size_t size)
{
	struct lower *l = d->store->lower;
	AUTO_LOWER_HELD at = {l, l->ops->openat(l, d->fd, lower, O_PATH, 0, NULL)};
	if (at.fd < 0)
		return at.fd;
	ssize_t n = xattr_get_keyless(l, at.fd, "system.posix_acl_access", ret, size);
	return n == -ENODATA || n == -EOPNOTSUPP ? 0 : n;
}

struct inode_gone *inode_gone_new(struct dir *d, const char *lower, const struct stat *st)
{
	char text[PATH_MAX];
	ssize_t len = 0;
	if (S_ISLNK(st->st_mode))
		len = tree_peek_link(d, lower, text, sizeof(text));
	else if (is_keyless(st->st_mode))
		len = peek_acl(d, lower, text, sizeof(text));
	if (len < 0)
		return NULL;
	struct inode_gone *g = malloc(sizeof(*g) + (size_t)len);
	if (g) {
		g->st = *st;
		g->st.st_nlink -= g->st.st_nlink > 0;
		g->len = (size_t)len;
		memcpy(g->text, text, (size_t)len);
	}
	crypto_wipe(text, (size_t)len);
	return g;
}

void inode_gone_free(struct inode_gone *g)
{
	if (g)
		crypto_wipe(g->text, g->len);
	free(g);
}

void inode_gone_set(struct inode_table *t, struct inode *i, struct inode_gone *g)
{
	lock_take(&t->lock);
	struct inode_gone *old = i->gone;
	i->gone = g;
	lock_drop(&t->lock);
	inode_gone_free(old);
}

/* Table locked. NULL while it has a name. */
static struct inode_gone *what_it_was(const struct inode *i)
{
	return i->names && !i->names->gone ? NULL : i->gone;
}

int inode_gone_stat(struct inode_table *t, struct inode *i, struct stat *ret)
{
	lock_take(&t->lock);
	const struct inode_gone *g = what_it_was(i);
	if (g)
		*ret = g->st;
	lock_drop(&t->lock);
	return g ? 0 : -ESTALE;
}

int inode_gone_change(struct inode_table *t, struct inode *i, const struct stat *st)
{
	lock_take(&t->lock);
	struct inode_gone *g = what_it_was(i);
	/* With a name elsewhere it is no business of its past alone. */
	if (g && g->st.st_nlink > 0)
		g = NULL;
	if (g)
		g->st = *st;
	lock_drop(&t->lock);
	return g ? 0 : -ESTALE;
}

ssize_t inode_gone_target(struct inode_table *t, struct inode *i, char *ret, size_t size)
{
	ssize_t len = -ESTALE;
	lock_take(&t->lock);
	const struct inode_gone *g = what_it_was(i);
	if (g && S_ISLNK(i->type)) {
		len = (ssize_t)(g->len < size ? g->len : size);
		memcpy(ret, g->text, (size_t)len);
	}
	lock_drop(&t->lock);
	return len;
}

ssize_t inode_gone_acl(struct inode_table *t, struct inode *i, char *ret, size_t size)
{
	ssize_t len = -ESTALE;
	lock_take(&t->lock);
	const struct inode_gone *g = what_it_was(i);
	if (g && is_keyless(i->type))
		len = g->len ? (ssize_t)g->len : -ENODATA;
	if (len > 0 && size && size < (size_t)len)
		len = -ERANGE;
	if (len > 0 && size)
		memcpy(ret, g->text, (size_t)len);
	lock_drop(&t->lock);
	return len;
}

void inode_gone_missed(struct inode_table *t)
{
	__atomic_store_n(&t->missed, now_ms(), __ATOMIC_SEQ_CST);
}

bool inode_gone_wanted(struct inode_table *t)
{
	uint64_t missed = __atomic_load_n(&t->missed, __ATOMIC_SEQ_CST);
	return missed && now_ms() - missed < MISSED_MS;
}

void inode_gone_keep(struct inode_table *t, struct inode *i, struct file *f)
{
	lock_take(&t->lock);
	bool keep = !i->kept && i->lookups > 0;
	i->kept |= keep;
	i->refs += keep;
	lock_drop(&t->lock);
	if (keep) {
		file_get(f);
		i->file_users++;
	}
}

void inode_gone_forgotten(struct inode_table *t, struct inode *i)
{
	lock_take(&t->lock);
	bool let_go = i->kept && i->lookups == 0;
	if (let_go)
		i->kept = false;
	lock_drop(&t->lock);
	if (!let_go)
		return;
	struct lock_mutex *stripe = inode_lock(t, i->ino);
	inode_file_done_locked(t, i, i->file);
	lock_drop(stripe);
	inode_put(t, i);
}
