#include "fs/store/tree_check.h"

#include "fs/lower/walk.h"
#include "fs/store/tree_internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ENTRY_SHORT 1000 /* characters: a longer link is continued in sidecars */

int tree_check_link(struct dir *d, const char *lower)
{
	struct tree_head head;
	char target[TREE_TARGET_MAX];
	int r = tree_bind_of(d, lower, &head);
	int two = r < 0 ? r : tree_bind_holds(d, lower, &head);
	ssize_t n = two < 0 ? two : tree_target_read(d, lower, target);
	crypto_wipe(target, sizeof(target));
	return n < 0 ? (int)n : two;
}

struct sidecar {
	char *name; /* owned */
	bool used;
};

struct sidecars {
	const struct dir *dir;
	struct sidecar *list;
	size_t count, room;
	bool unsure; /* some link may need any of the continuations */
};

static void sidecars_done(struct sidecars *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->list[i].name);
	free(s->list);
}

static int collect(void *context, const struct walk_entry *e)
{
	struct sidecars *s = context;
	if (!name_is_internal(e->name) || !strcmp(e->name, ".dir"))
		return 0;
	if (s->count == s->room) {
		size_t room = s->room ? s->room * 2 : 64;
		struct sidecar *more = reallocarray(s->list, room, sizeof(*more));
		if (!more)
			return -ENOMEM;
		s->list = more;
		s->room = room;
	}
	char *name = strdup(e->name);
	if (!name)
		return -ENOMEM;
	s->list[s->count++] = (struct sidecar){name, false};
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sidecar *)a)->name, ((const struct sidecar *)b)->name);
}

static void use(struct sidecars *s, const char *base, const char *suffix)
{
	char name[320];
	struct sidecar key = {name, false};
	snprintf(name, sizeof(name), "%s%s", base, suffix);
	struct sidecar *found = bsearch(&key, s->list, s->count, sizeof(*s->list), by_name);
	if (found)
		found->used = true;
}

void tree_check_binding(const char *lower, char ret[static TREE_CHECK_BINDING_LEN])
{
	_Static_assert(TREE_CHECK_BINDING_LEN == TREE_RECORD_LEN, "it is the record's name");
	tree_bind_record(lower, ret);
}

static int mark(void *context, const struct walk_entry *e)
{
	struct sidecars *s = context;
	struct lower *l = s->dir->store->lower;
	const char *lower = e->name;
	char binding[TREE_RECORD_LEN];
	struct tree_tail tail;
	struct stat st;
	if (name_is_internal(lower))
		return 0;
	if (lower[0] == '~')
		use(s, lower, ".n");
	if (e->type != DT_LNK && e->type != DT_UNKNOWN)
		return 0;
	int r = l->ops->fstatat(l, s->dir->fd, lower, &st);
	if (r < 0 || !S_ISLNK(st.st_mode))
		return r == -ENOENT ? 0 : r;
	tree_bind_record(lower, binding);
	use(s, binding, "");
	if (st.st_size <= ENTRY_SHORT)
		return 0;
	r = tree_target_tail(s->dir, lower, &st, &tail);
	if (r < 0)
		return r == -ENOENT || r == -EINVAL ? 0 : r; /* gone, or another one meanwhile */
	s->unsure |= !tail.base[0];
	for (char digit[3] = ".0"; digit[1] <= '9'; digit[1]++)
		use(s, tail.base, digit);
	return 0;
}

bool tree_check_is_continuation(const char *name)
{
	const char *dot = strchr(name, '.');
	return dot && isdigit((unsigned char)dot[1]);
}

int tree_check_sidecars(
	struct dir *d, int (*orphan)(void *context, const char *lower), void *context)
{
	AUTO(sidecars_done) struct sidecars s = {.dir = d};
	struct lower *l = d->store->lower;
	int r = walk_names(l, d->fd, collect, &s);
	if (r < 0 || s.count == 0)
		return r;
	qsort(s.list, s.count, sizeof(*s.list), by_name);
	r = walk_names(l, d->fd, mark, &s);
	/* From the last one on: see tree_target_forget. */
	for (size_t i = s.count; i-- > 0 && r == 0;)
		if (!s.list[i].used && !(s.unsure && tree_check_is_continuation(s.list[i].name)))
			r = orphan(context, s.list[i].name);
	return r;
}
