/*
 * Sidecars that nothing refers to: a name or a link was removed, and the process ended before what
 * stood beside it was. A listing that comes across sidecars has the directory tidied once.
 */
#include "fs/store/tree_internal.h"

#include "fs/lower/walk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SIDECAR_MAX 64   /* "~", 43 characters, ".n", a zero byte */
#define ENTRY_SHORT 1000 /* characters: a longer link is continued in sidecars */

struct sidecar {
	char name[SIDECAR_MAX];
	bool used;
};

struct tidying {
	const struct dir *dir;
	struct sidecar *sidecars;
	size_t count, room;
};

bool tree_tidy_concerns(const char *lower)
{
	return lower[0] == '~' && name_is_internal(lower) && strlen(lower) < SIDECAR_MAX;
}

static int collect(void *context, const struct walk_entry *e)
{
	struct tidying *t = context;
	const char *lower = e->name;
	if (!tree_tidy_concerns(lower))
		return 0;
	if (t->count == t->room) {
		size_t room = t->room ? t->room * 2 : 64;
		struct sidecar *more = reallocarray(t->sidecars, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		t->sidecars = more;
		t->room = room;
	}
	struct sidecar *s = &t->sidecars[t->count++];
	snprintf(s->name, sizeof(s->name), "%s", lower);
	s->used = false;
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sidecar *)a)->name, ((const struct sidecar *)b)->name);
}

static void use(struct tidying *t, const char *base, const char *suffix)
{
	struct sidecar key = {0};
	if (snprintf(key.name, sizeof(key.name), "%.48s%s", base, suffix) >= (int)sizeof(key.name))
		return;
	struct sidecar *s = bsearch(&key, t->sidecars, t->count, sizeof(*s), by_name);
	if (s)
		s->used = true;
}

/* What cannot be read might use any of them. */
static int mark(void *context, const struct walk_entry *e)
{
	struct tidying *t = context;
	const char *lower = e->name;
	struct lower *l = t->dir->store->lower;
	struct tree_tail tail;
	struct stat st;
	char record[TREE_RECORD_LEN];
	if (lower[0] == '.' || name_is_internal(lower))
		return 0;
	if (lower[0] == '~')
		use(t, lower, ".n");
	int r = l->ops->fstatat(l, t->dir->fd, lower, &st);
	if (r < 0 || !S_ISLNK(st.st_mode))
		return r;
	tree_bind_record(lower, record);
	use(t, record, "");
	if (st.st_size <= ENTRY_SHORT)
		return 0;
	r = tree_target_tail(t->dir, lower, &st, &tail);
	if (r == 0 && !tail.base[0])
		r = -EBADMSG;
	if (r < 0)
		return r;
	for (char digit[3] = ".0"; digit[1] <= '9'; digit[1]++)
		use(t, tail.base, digit);
	return 0;
}

/* Whether each sidecar is known to be needed or is gone. */
static bool tidy(struct tidying *t)
{
	struct lower *l = t->dir->store->lower;
	if (walk_names(l, t->dir->fd, collect, t) < 0)
		return false;
	if (t->count == 0)
		return true;
	qsort(t->sidecars, t->count, sizeof(*t->sidecars), by_name);
	if (walk_names(l, t->dir->fd, mark, t) < 0)
		return false;
	int r = 0;
	/* From the last one on: see tree_target_forget. */
	for (size_t i = t->count; i-- > 0 && r == 0;)
		if (!t->sidecars[i].used)
			r = l->ops->unlinkat(l, t->dir->fd, t->sidecars[i].name, 0);
	return r == 0;
}

void tree_tidy(struct dir *d)
{
	struct tidying t = {.dir = d};
	if (!d->store->trash) /* an offline tool */
		return;
	lock_take(&d->lock);
	/* Once, whatever comes of it: what fails now fails again. */
	if (!d->tidied)
		(void)tidy(&t);
	d->tidied = true;
	lock_drop(&d->lock);
	free(t.sidecars);
}
