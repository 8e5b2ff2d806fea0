#include "fs/store/check_internal.h"

#include "fs/store/tree_check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Beside a mount everything changes underneath, and what is half done looks like damage: a block
 * that is newer than its tag, a name whose sidecar is gone already, a directory between two
 * bindings. So what is found is held back until the object was looked at again and nothing had
 * touched it in between: each step of a change gives an inode another ctime, or puts another inode
 * in its place. What never holds still is said to be in use, and is neither good nor bad.
 */

#define LOOKS 8 /* in all; with the pauses of settle about two seconds */
/*
 * So many looks between which nothing moved. Two: the clock that stamps inodes ticks less often
 * than things happen, and the pause between the last two is longer than its tick.
 */
#define QUIET_DAMAGE 2
/* What is only unfinished may be so for as long as a flush takes, in the middle of a rename. */
#define QUIET_UNFINISHED (LOOKS - 1)

struct check_held {
	struct check_finding told;
	char *detail, *lower, *path; /* owned */
	uint8_t id[16];
};

static void drop(struct check *c)
{
	for (size_t i = 0; i < c->held_count; i++) {
		struct check_held *h = &c->held[i];
		if (h->path)
			crypto_wipe(h->path, strlen(h->path));
		free(h->path);
		free(h->lower);
		free(h->detail);
	}
	c->held_count = 0;
}

void check_live_done(struct check *c)
{
	drop(c);
	free(c->held);
	c->held = NULL;
}

void check_live_hold(struct check *c, const struct check_finding *f)
{
	struct check_held *more = reallocarray(c->held, c->held_count + 1, sizeof(*more));
	if (!more) {
		c->held_failed = true;
		return;
	}
	c->held = more;
	struct check_held *h = &more[c->held_count++];
	*h = (struct check_held){.told = *f,
		.detail = strdup(f->detail),
		.lower = strdup(f->lower),
		.path = f->path ? strdup(f->path) : NULL};
	c->held_failed |= !h->detail || !h->lower || (f->path && !h->path);
	if (f->file_id)
		memcpy(h->id, f->file_id, sizeof(h->id));
}

static void tell(struct check *c)
{
	for (size_t i = 0; i < c->held_count; i++) {
		struct check_held *h = &c->held[i];
		h->told.detail = h->detail;
		h->told.lower = h->lower;
		h->told.path = h->path;
		h->told.file_id = h->told.file_id ? h->id : NULL;
		check_found(c, &h->told);
	}
	drop(c);
}

/* For how many looks what is held must have been still; 0: it is told at once. */
static unsigned needed(const struct check *c)
{
	unsigned most = 0;
	for (size_t i = 0; i < c->held_count; i++) {
		if (c->held[i].told.damage)
			return QUIET_DAMAGE;
		if (strcmp(c->held[i].told.kind, "unread") != 0)
			most = QUIET_UNFINISHED;
	}
	return c->held_count ? most : QUIET_DAMAGE; /* without a finding it is an error */
}

/* What looking again makes no better. */
static bool is_final(int r)
{
	return r == -ENOMEM || r == -ECANCELED || r == -EMFILE || r == -ENFILE;
}

bool check_live_stamp(struct check_stamps *s, struct lower *l, int dirfd, const char *name)
{
	struct stat st;
	struct check_stamp *one = &s->list[s->count++];
	int r = l->ops->fstatat(l, dirfd, name, &st);
	*one = (struct check_stamp){.error = (uint64_t)-r};
	if (r < 0)
		return r != -ENOENT;
	*one = (struct check_stamp){0, st.st_ino, st.st_nlink, (uint64_t)st.st_size,
		(uint64_t)st.st_ctim.tv_sec, (uint64_t)st.st_ctim.tv_nsec};
	return st.st_nlink > 0;
}

static bool same(const struct check_stamps *a, const struct check_stamps *b)
{
	return a->count == b->count &&
	       !memcmp(a->list, b->list, a->count * sizeof(struct check_stamp));
}

/*
 * One look between two stamps. 1: there is nothing to be said, it is good or gone; -errno: the
 * check ends. 0: what was found is held, or *ret_error; *ret_still: nothing moved since *last,
 * which becomes the second stamp.
 */
static int look_once(struct check *c, const struct check_look *l, struct check_stamps *last,
	bool *ret_still, int *ret_error)
{
	const struct check_counts counts = *c->counts;
	struct check_stamps before = {0}, after = {0};
	if (!l->stamp(l->context, &before))
		return 1;
	c->holding = true;
	int r = l->look(l->context);
	c->holding = false;
	if (c->held_failed)
		r = -ENOMEM;
	if (is_final(r))
		return r;
	if (r == 0 && !c->held_count)
		return 1;
	if (!l->stamp(l->context, &after)) {
		drop(c);
		*c->counts = counts;
		return 1;
	}
	*ret_still = same(&before, &after) && same(&before, last);
	*ret_error = r;
	*last = after;
	return 0;
}

static void tell_in_use(struct check *c)
{
	check_found(c, &(struct check_finding){.kind = "in use",
			       .detail = "it changed each time it was looked at",
			       .block = UINT64_MAX,
			       .in_use = true});
}

int check_live(struct check *c, const struct check_look *l)
{
	struct check_stamps last = {0};
	unsigned quiet = 0;
	if (!c->o->settle)
		return l->look(l->context);
	for (unsigned looks = 0; looks < LOOKS; looks++) {
		const struct check_counts counts = *c->counts;
		bool still = false;
		int error = 0;
		int r = looks ? c->o->settle(c->o->context, looks) : 0;
		c->again = looks > 0;
		if (r == 0)
			r = look_once(c, l, &last, &still, &error);
		if (r != 0)
			return r < 0 ? r : 0;
		quiet = still ? quiet + 1 : 0;
		if (quiet >= needed(c)) {
			tell(c);
			return error;
		}
		drop(c);
		*c->counts = counts;
	}
	tell_in_use(c);
	return 0;
}

/* Sidecars that seem to belong to nothing: beside a mount there are always some for a moment. */
struct orphan {
	char *name; /* owned */
	struct check_stamps stamp;
	bool again; /* in this look, too, and untouched */
};

struct orphans {
	struct dir *dir;
	struct orphan *list;
	size_t count;
	bool listed; /* by a first look, which later ones only confirm */
};

static void orphans_done(struct orphans *o)
{
	for (size_t i = 0; i < o->count; i++)
		free(o->list[i].name);
	free(o->list);
}

static int note_orphan(void *context, const char *lower)
{
	struct orphans *o = context;
	struct check_stamps now = {0};
	if (tree_check_is_continuation(lower) || /* not worth telling */
		!check_live_stamp(&now, o->dir->store->lower, o->dir->fd, lower))
		return 0;
	for (size_t i = 0; o->listed && i < o->count; i++)
		if (!strcmp(o->list[i].name, lower))
			o->list[i].again = same(&o->list[i].stamp, &now);
	if (o->listed)
		return 0;
	struct orphan *more = reallocarray(o->list, o->count + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	o->list = more;
	more[o->count] = (struct orphan){strdup(lower), now, true};
	return more[o->count++].name ? 0 : -ENOMEM;
}

/* whole: the look came to its end; otherwise it proves nothing. */
static void keep_again(struct orphans *o, bool whole)
{
	size_t kept = 0;
	for (size_t i = 0; i < o->count; i++) {
		if (whole ? !o->list[i].again : !o->listed) {
			free(o->list[i].name);
			continue;
		}
		o->list[i].again = false;
		o->list[kept++] = o->list[i];
	}
	o->count = kept;
	o->listed |= whole;
}

int check_live_orphans(struct check *c, struct dir *d,
	int (*orphan)(void *context, const char *lower), void *context)
{
	AUTO(orphans_done) struct orphans o = {.dir = d};
	if (!c->o->settle)
		return tree_check_sidecars(d, orphan, context);
	for (unsigned looks = 0; looks < LOOKS; looks++) {
		int r = looks ? c->o->settle(c->o->context, looks) : 0;
		if (r != 0)
			return r;
		r = tree_check_sidecars(d, note_orphan, &o);
		if (r == -ENOENT) /* the directory is gone */
			return 0;
		if (r < 0 && (is_final(r) || looks + 1 == LOOKS))
			return r;
		keep_again(&o, r == 0);
		if (r == 0 && !o.count)
			return 0;
	}
	int r = 0;
	for (size_t i = 0; i < o.count && r == 0; i++)
		r = orphan(context, o.list[i].name);
	return r;
}
