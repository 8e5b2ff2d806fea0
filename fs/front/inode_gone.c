/* inode.h: what somebody may still be at whose name is gone. */
#include "fs/front/inode.h"

#include <errno.h>
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

struct inode_gone *inode_gone_new(struct dir *d, const char *lower, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t len = 0;
	if (S_ISLNK(st->st_mode)) {
		len = tree_peek_link(d, lower, target, sizeof(target));
		if (len < 0)
			return NULL;
	}
	struct inode_gone *g = malloc(sizeof(*g) + (size_t)len);
	if (g) {
		g->st = *st;
		g->st.st_nlink -= g->st.st_nlink > 0;
		g->len = (size_t)len;
		memcpy(g->target, target, (size_t)len);
	}
	crypto_wipe(target, (size_t)len);
	return g;
}

void inode_gone_free(struct inode_gone *g)
{
	if (g)
		crypto_wipe(g->target, g->len);
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
		memcpy(ret, g->target, (size_t)len);
	}
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
