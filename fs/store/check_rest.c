#include "fs/store/check_internal.h"

#include "fs/lower/walk.h"
#include "fs/store/journal.h"
#include "fs/store/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void path_is(struct check *c, const char *lower)
{
	buf_reset(&c->plain);
	buf_reset(&c->lower);
	buf_str(&c->lower, lower);
}

/* A new journal in the place of one that cannot be read, which is kept. */
static bool replace_journal(struct check *c, int tenant_fd, char ret_moved[static CHECK_LOST_NAME])
{
	struct lower *l = c->s->lower;
	struct stat st;
	int r = l->ops->fstatat(l, tenant_fd, "journal", &st);
	uint64_t bytes = r == 0 && S_ISREG(st.st_mode) && st.st_size % 4096 == 0 &&
					 st.st_size >= JOURNAL_BYTES_MIN &&
					 st.st_size <= JOURNAL_BYTES_MAX
				 ? (uint64_t)st.st_size
				 : JOURNAL_BYTES_DEFAULT;
	ret_moved[0] = 0;
	if (r == 0 &&
		!check_move(c, tenant_fd, "journal", "journal", "it cannot be read", ret_moved))
		return false;
	return journal_create(l, tenant_fd, c->s->keys, bytes) == 0 &&
	       l->ops->fsync(l, tenant_fd, false) >= 0;
}

/* Which files a mount would look at, until the check ends. Passes on r. */
static int keep_waiting(struct check *c, struct journal *j, int r)
{
	const struct journal_entry *entries;
	size_t count = journal_entries(j, &entries);
	if (!journal_was_unclean(j, &c->unclean_since_ns))
		c->unclean_since_ns = UINT64_MAX;
	c->waiting = calloc(count + 1, sizeof(*c->waiting));
	if (!c->waiting)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		c->waiting[i].ino = entries[i].ino;
		memcpy(c->waiting[i].file_id, entries[i].file_id, CRYPTO_ID_LEN);
	}
	c->waiting_count = count;
	c->waiting_copy = journal_is_copy(j);
	return r;
}

/* Clocks of change times lag behind by less (recover.c). */
#define LAG_NS 2000000000u

/* New, and perhaps never written as a whole. */
static bool is_traced(const struct check *c, const struct timespec *changed)
{
	uint64_t ns = (uint64_t)changed->tv_sec * 1000000000u + (uint64_t)changed->tv_nsec;
	return ns + LAG_NS >= c->unclean_since_ns;
}

bool check_waits(const struct check *c, const struct file_check *state, uint64_t ino,
	const struct timespec *changed)
{
	for (size_t i = 0; i < c->waiting_count; i++)
		/* A header that does not open does not tell its id. */
		if (state->has_header ? !memcmp(c->waiting[i].file_id, state->id, CRYPTO_ID_LEN)
				      : !c->waiting_copy && c->waiting[i].ino == ino)
			return true;
	return !state->has_header && is_traced(c, changed);
}

static int finish_journal(struct check *c, struct journal *j)
{
	struct recover_result result = {0};
	const struct journal_entry *entries;
	char detail[RECOVER_TEXT];
	uint64_t since;
	size_t pending = journal_entries(j, &entries);
	bool done = false, unclean = journal_was_unclean(j, &since);
	int r = 0;
	if ((pending || unclean) && c->o->repair) {
		c->s->journal = j;
		r = recover_store(c->s, false, &result);
		c->s->journal = NULL;
		done = r == 0 && result.failed == 0;
	}
	if (!done)
		r = keep_waiting(c, j, r);
	if (done)
		recover_describe(&result, detail);
	else if (pending)
		snprintf(detail, sizeof(detail), "%s%zu entr%s for the next mount",
			unclean ? "it was not unmounted orderly: " : "", pending,
			pending == 1 ? "y waits" : "ies wait");
	else
		snprintf(detail, sizeof(detail), "it was not unmounted orderly");
	/* An older one in its place is somebody's work, and nothing that could be undone. */
	if (pending || unclean)
		check_found(c, &(struct check_finding){.kind = "journal",
				       .detail = detail,
				       .block = UINT64_MAX,
				       .damage = result.stale > 0,
				       .corrected = done});
	return r == -ENOMEM ? r : 0;
}

/* What stands beside the tree. */
struct beside {
	struct check *c;
	int tenant_fd;
	const char *name;
};

/* What is missing is a finding. */
static bool stamp_beside(void *context, struct check_stamps *ret)
{
	struct beside *b = context;
	(void)check_live_stamp(ret, b->c->s->lower, b->tenant_fd, b->name);
	return true;
}

/* 1 when one of the superblocks is good; 0; -errno. */
static int has_superblock(struct check *c, int fd)
{
	struct lower *l = c->s->lower;
	AUTO_SECRET *subkey = keyring_mdk_subkey(c->s->keys, "journal", false);
	int good = 0;
	for (unsigned i = 0; subkey && !good && i < 2; i++) {
		uint8_t slot[JOURNAL_FORMAT_SECTOR];
		struct journal_super super;
		AUTO_SECRET *key = NULL;
		int r = lower_read_all(
			l, fd, slot, sizeof(slot), i * (uint64_t)JOURNAL_FORMAT_SUPER_STEP);
		if (r == 0)
			r = journal_format_super_open(
				slot, keyring_owner(c->s->keys), subkey, &super, &key);
		if (r == -ENOMEM)
			return r;
		good = r == 0;
	}
	return subkey ? good : -ENOMEM;
}

/* Records come and go in it: its superblocks are all that can be said of it. */
static int look_at_journal(void *context)
{
	struct beside *b = context;
	struct lower *l = b->c->s->lower;
	path_is(b->c, "journal");
	AUTO_LOWER_HELD fd = {l, l->ops->openat(l, b->tenant_fd, "journal", O_RDONLY, 0, NULL)};
	int r = fd.fd < 0 ? fd.fd : has_superblock(b->c, fd.fd);
	if (r < 0 && r != -ENOENT && r != -ELOOP)
		return check_unread(b->c, r) < 0 ? r : 0;
	if (r <= 0)
		check_found(b->c,
			&(struct check_finding){.kind = "journal",
				.detail = r == -ENOENT ? "it is missing" : "it cannot be read",
				.block = UINT64_MAX,
				.damage = true});
	return 0;
}

static int look_at_trash(void *context)
{
	struct beside *b = context;
	struct lower *l = b->c->s->lower;
	path_is(b->c, "trash");
	AUTO_LOWER_HELD fd = {
		l, l->ops->openat(l, b->tenant_fd, "trash", O_PATH | O_DIRECTORY, 0, NULL)};
	if (fd.fd == -ENOENT || fd.fd == -ENOTDIR || fd.fd == -ELOOP)
		check_found(b->c, &(struct check_finding){.kind = "trash",
					  .detail = "the folder is missing",
					  .block = UINT64_MAX,
					  .damage = true});
	else if (fd.fd < 0)
		return check_unread(b->c, fd.fd) < 0 ? fd.fd : 0;
	return 0;
}

int check_beside(struct check *c, int tenant_fd)
{
	struct beside journal = {c, tenant_fd, "journal"}, trash = {c, tenant_fd, "trash"};
	int r = check_live(c, &(const struct check_look){look_at_journal, stamp_beside, &journal});
	return r < 0 ? r
		     : check_live(
			       c, &(const struct check_look){look_at_trash, stamp_beside, &trash});
}

/* What there is too much of a file may be named in a journal that nobody can read. */
static void put_nothing_right(struct check *c)
{
	c->careful = *c->o;
	c->careful.repair = false;
	c->o = &c->careful;
}

int check_journal(struct check *c, int tenant_fd)
{
	struct journal *j = NULL;
	char moved[CHECK_LOST_NAME] = "";
	path_is(c, "journal");
	int r = journal_open(c->s->lower, tenant_fd, c->s->keys, true, &j, NULL);
	/* What stands behind it is given up by nobody but who asks for it. */
	if (r > 0) {
		check_found(c, &(struct check_finding){.kind = "record",
				       .detail = "a record of the journal that was safe on the "
						 "disk is damaged or does not read",
				       .block = UINT64_MAX,
				       .damage = true});
		put_nothing_right(c);
		r = keep_waiting(c, j, 0);
		journal_close(j);
		return r;
	}
	if (r == 0) {
		r = finish_journal(c, j);
		journal_close(j);
		return r;
	}
	if (r == -ENOMEM || r == -EPROTONOSUPPORT)
		return r;
	if (r != -EBADMSG && r != -ENOENT && r != -ELOOP) {
		put_nothing_right(c);
		r = check_unread(c, r);
		return r < 0 ? r : 0;
	}
	bool mended = c->o->repair && replace_journal(c, tenant_fd, moved);
	check_found(c, &(struct check_finding){.kind = "journal",
			       .detail = r == -ENOENT ? "it is missing" : "it cannot be read",
			       .block = UINT64_MAX,
			       .damage = true,
			       .corrected = mended,
			       .moved = moved[0] ? moved : NULL});
	return 0;
}

static int count_file(void *context, const struct walk_entry *e)
{
	*(unsigned long *)context += e->name[0] != '.' && strlen(e->name) < TRASH_NAME_LEN;
	return 0;
}

/* Whether it is empty now. */
static bool empty_trash(struct check *c, int fd)
{
	const struct trash_options options = {.require = TRASH_C,
		.by_hand = true,
		.receipt = c->o->receipt,
		.context = c->o->context};
	struct trash *t = NULL;
	struct trash_status status;
	if (trash_open(c->s->lower, fd, &options, &t, NULL) < 0)
		return false;
	int r = trash_resume(t);
	if (r >= 0)
		r = trash_drain(t, -1);
	trash_status(t, &status);
	trash_close(t, 0);
	return r >= 0 && !status.files && !status.failed_files;
}

int check_trash(struct check *c, int tenant_fd)
{
	struct lower *l = c->s->lower;
	char detail[96];
	path_is(c, "trash");
	AUTO_LOWER_HELD fd = {
		l, l->ops->openat(l, tenant_fd, "trash", O_RDONLY | O_DIRECTORY, 0, NULL)};
	if (fd.fd == -ENOENT || fd.fd == -ENOTDIR || fd.fd == -ELOOP) {
		bool made = c->o->repair && l->ops->mkdirat(l, tenant_fd, "trash", 0700, NULL) == 0;
		check_found(c, &(struct check_finding){.kind = "trash",
				       .detail = "the folder is missing",
				       .block = UINT64_MAX,
				       .damage = true,
				       .corrected = made});
		return 0;
	}
	unsigned long files = 0;
	int r = fd.fd < 0 ? fd.fd : walk_names(l, fd.fd, count_file, &files);
	if (r < 0 || !files)
		return r < 0 && check_unread(c, r) < 0 ? r : 0;
	snprintf(detail, sizeof(detail), "%lu removed file%s still to be erased", files,
		files == 1 ? " is" : "s are");
	bool done = c->o->repair && empty_trash(c, fd.fd);
	check_found(c,
		&(struct check_finding){
			.kind = "trash", .detail = detail, .block = UINT64_MAX, .corrected = done});
	return 0;
}
