#include "fs/store/check_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define FAULTS_MAX 64 /* of one file that are told */

/* What file_check found, until it is known what becomes of the file. */
struct faults {
	struct check *c;
	struct {
		struct file_check_fault fault;
		char attribute[256];
	} list[FAULTS_MAX];
	unsigned count;
	bool content; /* one of them is neither about an attribute nor about the disk */
	bool disk;
};

static void keep(void *context, const struct file_check_fault *fault)
{
	struct faults *f = context;
	bool disk = !strcmp(fault->what, "disk");
	f->disk |= disk;
	f->content |= !fault->attribute && !disk;
	if (f->count == FAULTS_MAX)
		return;
	f->list[f->count].fault = *fault;
	snprintf(f->list[f->count].attribute, sizeof(f->list[0].attribute), "%s",
		fault->attribute ? fault->attribute : "");
	f->count++;
}

static int progress(void *context, uint64_t bytes)
{
	struct faults *f = context;
	f->c->counts->bytes += bytes;
	return check_go_on(f->c);
}

static const uint8_t *id_of(const struct file_check *state)
{
	return state->has_header ? state->id : NULL;
}

static void tell_content(struct check *c, const struct faults *f, const struct file_check *state,
	const char *moved, bool waits)
{
	for (unsigned i = 0; i < f->count; i++) {
		const struct file_check_fault *fault = &f->list[i].fault;
		check_found(c, &(struct check_finding){.kind = fault->what,
				       .detail = fault->detail,
				       .file_id = id_of(state),
				       .block = fault->block,
				       .blocks = fault->blocks,
				       .damage = !waits,
				       .waits = waits,
				       .corrected = moved[0] != 0,
				       .moved = moved[0] ? moved : NULL});
	}
}

static int tell_attributes(struct check *c, const struct faults *f, const struct dir *d,
	const char *lower, const struct file_check *state)
{
	struct lower *l = c->s->lower;
	AUTO_LOWER_HELD at = {l, f->count ? l->ops->openat(l, d->fd, lower, O_PATH, 0, NULL) : -1};
	if (f->count && at.fd < 0)
		return at.fd;
	for (unsigned i = 0; i < f->count; i++)
		check_attribute(c, at.fd, f->list[i].attribute, id_of(state));
	return 0;
}

static void count(struct check *c, const struct file_check *state)
{
	c->counts->files++;
	c->counts->blocks += state->blocks;
	c->counts->holes += state->holes;
	c->counts->attributes += state->attributes;
}

/* The content of d/lower, for the first of its names. link: bad, disk and waits are set. */
static int check_content(
	struct check *c, struct dir *d, const char *lower, struct check_link *link, bool *ret_moved)
{
	struct file_check *state = &link->state;
	AUTO_FREE struct faults *f = calloc(1, sizeof(*f));
	char moved[CHECK_LOST_NAME] = "";
	if (!f)
		return -ENOMEM;
	f->c = c;
	const struct file_check_hooks hooks = {keep, progress, f};
	int r = file_check(c->s, d->fd, lower, &hooks, state);
	count(c, state);
	if (r < 0)
		return check_unread(c, r);
	if (r > 0)
		return -ECANCELED;
	if (c->o->settle) /* as whatever is being written to */
		state->longer = false;
	if (!f->content && !f->disk)
		return tell_attributes(c, f, d, lower, state);
	link->bad = true;
	link->disk = !f->content;
	link->waits = f->content && check_waits(c, state, link->ino, &link->changed);
	/* What the disk does not read now it may read the next time: that stays where it is. */
	if (f->content && !link->waits)
		*ret_moved = check_move(
			c, d->fd, lower, f->list[0].fault.what, f->list[0].fault.detail, moved);
	tell_content(c, f, state, moved, link->waits);
	return 0;
}

static const struct format_home *home_of(
	const struct file_check *state, const uint8_t id[static DIR_ID_LEN])
{
	for (size_t i = 0; i < FORMAT_HOMES; i++)
		if (state->homes[i].names && !memcmp(state->homes[i].dir_id, id, DIR_ID_LEN))
			return &state->homes[i];
	return NULL;
}

static uint64_t names_of(const struct file_check *state)
{
	uint64_t names = 0;
	for (size_t i = 0; i < FORMAT_HOMES; i++)
		names += state->homes[i].names;
	return names;
}

/* Of which nothing is lost: homes that were not let go, a length that was not cut. */
static void tell_settled(struct check *c, const struct file_check *state, bool homes, bool done)
{
	if (homes)
		check_found(
			c, &(struct check_finding){.kind = "homes",
				   .detail = "its header counts other names than there are: one "
					     "was removed or added behind our back, or a crash "
					     "came between",
				   .file_id = id_of(state),
				   .block = UINT64_MAX,
				   .corrected = done});
	if (state->longer)
		check_found(c, &(struct check_finding){.kind = "length",
				       .detail = "the lower file is longer than its header says",
				       .file_id = id_of(state),
				       .block = UINT64_MAX,
				       .corrected = done});
	if (!homes && !state->longer && done)
		c->counts->settled++;
}

/* A file with one name, d/lower. */
static void check_only_home(
	struct check *c, struct dir *d, const char *lower, const struct file_check *state)
{
	bool wrong = !state->many_homes && names_of(state) != 1;
	struct format_home home = {.names = 1};
	memcpy(home.dir_id, d->id, DIR_ID_LEN);
	bool done = c->o->repair && (wrong || state->longer || state->many_homes) &&
		    file_check_settle(c->s, d->fd, lower, &home, 1) == 0;
	tell_settled(c, state, wrong, done);
}

static int remember(struct check *c, struct check_link *link, const uint8_t *dir_id)
{
	int r = check_links_seen(link, dir_id);
	if (r == 0 && !link->lower) {
		link->lower = strdup((const char *)c->lower.data);
		link->plain = strdup(c->plain.data ? (const char *)c->plain.data : "");
		r = link->lower && link->plain ? 0 : -ENOMEM;
	}
	return r;
}

static void tell_again(struct check *c, struct dir *d, const char *lower,
	const struct check_link *link, const char *kind, const char *detail, bool *ret_moved)
{
	char moved[CHECK_LOST_NAME] = "";
	*ret_moved = strcmp(kind, "disk") != 0 && !link->waits &&
		     check_move(c, d->fd, lower, kind, detail, moved);
	check_found(c, &(struct check_finding){.kind = kind,
			       .detail = detail,
			       .file_id = id_of(&link->state),
			       .block = UINT64_MAX,
			       .damage = !link->waits,
			       .waits = link->waits,
			       .corrected = *ret_moved,
			       .moved = *ret_moved ? moved : NULL});
}

/* What is right of a file with several names while they come and go. */
static void check_live_homes(struct check *c, const struct check_link *link)
{
	if (!link->state.many_homes && names_of(&link->state) > link->nlink)
		tell_settled(c, &link->state, true, false);
}

static int check_home(
	struct check *c, struct dir *d, const char *lower, struct check_link *link, bool *ret_moved)
{
	if (!link->state.many_homes && !home_of(&link->state, d->id)) {
		link->waits = check_waits(c, &link->state, link->ino, &link->changed);
		tell_again(
			c, d, lower, link, "home", "it was moved here behind our back", ret_moved);
		return 0;
	}
	if (link->nlink > 1 && !c->o->settle)
		return remember(c, link, d->id);
	if (link->nlink > 1)
		check_live_homes(c, link);
	else
		check_only_home(c, d, lower, &link->state);
	return 0;
}

int check_file(
	struct check *c, struct dir *d, const char *lower, const struct stat *st, bool *ret_moved)
{
	struct check_link own = {.ino = st->st_ino}, *link = &own;
	if (st->st_nlink > 1) {
		link = check_links_get(&c->links, st->st_ino);
		if (!link)
			return -ENOMEM;
		if (c->o->settle)
			check_links_renew(link, st, c->again);
	}
	int r = 0;
	if (!link->nlink)
		link->changed = st->st_ctim;
	if (!link->nlink)
		r = check_content(c, d, lower, link, ret_moved);
	else if (link->bad)
		tell_again(c, d, lower, link, link->disk ? "disk" : "block",
			"another name of a file that does not verify", ret_moved);
	if (!link->nlink)
		link->nlink = st->st_nlink;
	if (r != 0 || link->bad || !link->state.has_header)
		return r > 0 ? 0 : r;
	return check_home(c, d, lower, link, ret_moved);
}

static uint64_t names_seen(const struct check_link *link)
{
	uint64_t seen = 0;
	for (size_t i = 0; i < link->seen_count; i++)
		seen += link->seen[i].names;
	return seen;
}

/* Names that its header does not count, or that it counts and the inode does not. */
static bool homes_differ(const struct check_link *link)
{
	for (size_t i = 0; i < link->seen_count; i++) {
		const struct format_home *home = home_of(&link->state, link->seen[i].dir_id);
		if (!home || home->names < link->seen[i].names)
			return true;
	}
	return names_of(&link->state) > link->nlink;
}

/* The folder that a path below the tenant's root leads to; *ret_name: what follows. */
static int open_parent(struct check *c, char *lower, const char **ret_name)
{
	struct lower *l = c->s->lower;
	int fd = l->ops->openat(l, c->s->root_fd, ".", O_PATH | O_DIRECTORY, 0, NULL);
	char *name = strchr(lower, '/');
	name = name ? name + 1 : lower;
	for (char *slash; fd >= 0 && (slash = strchr(name, '/')); name = slash + 1) {
		*slash = 0;
		int next = l->ops->openat(l, fd, name, O_PATH | O_DIRECTORY, 0, NULL);
		*slash = '/';
		(void)l->ops->close(l, fd);
		fd = next;
	}
	*ret_name = name;
	return fd;
}

static int check_link_homes(struct check *c, struct check_link *link)
{
	struct lower *l = c->s->lower;
	const char *name;
	uint64_t seen = names_seen(link);
	bool wrong = !link->state.many_homes && homes_differ(link);
	/* The flag stays as long as there are names elsewhere. */
	bool flagged =
		link->state.many_homes && link->seen_count <= FORMAT_HOMES && seen == link->nlink;
	if (!wrong && !flagged && !link->state.longer)
		return 0;
	bool done = false;
	bool recount = wrong || link->state.many_homes;
	/* A name that was not seen must not become a stranger. */
	if (c->o->repair && (!recount || seen == link->nlink || (wrong && !c->incomplete))) {
		AUTO_LOWER_HELD at = {l, open_parent(c, link->lower, &name)};
		done = at.fd >= 0 && file_check_settle(c->s, at.fd, name,
					     recount ? link->seen : link->state.homes,
					     recount ? link->seen_count : FORMAT_HOMES) == 0;
	}
	buf_reset(&c->lower);
	buf_str(&c->lower, link->lower);
	buf_reset(&c->plain);
	buf_str(&c->plain, link->plain);
	tell_settled(c, &link->state, wrong, done);
	return buf_ok(&c->lower) && buf_ok(&c->plain) ? 0 : -ENOMEM;
}

int check_file_links(struct check *c)
{
	int r = 0;
	for (size_t i = 0; i < c->links.size && r == 0; i++) {
		struct check_link *link = c->links.slots[i];
		if (link && link->lower && !link->bad && link->state.has_header)
			r = check_link_homes(c, link);
	}
	return r;
}
