#include "fs/store/recover.h"

#include "fs/lower/walk.h"
#include "fs/store/file.h"
#include "fs/store/format.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/*
 * Entries name files by inode number and file id, since names change. One walk looks for the
 * numbers; a second one, by file ids, only in a store that was copied, where the numbers are
 * others.
 */

struct recovery {
	const struct store *s;
	struct journal_erase *entries;
	uint64_t *tokens;
	bool *settled;
	size_t count, open; /* of entries; of those not settled */
	bool by_id;
	int unread; /* a file could not be read: what was not found may be that one */
	struct recover_result result;
};

static void recovery_done(struct recovery *r)
{
	free(r->entries);
	free(r->tokens);
	free(r->settled);
}

int recover_claimed_id(
	struct lower *l, const struct walk_entry *e, uint8_t ret[static CRYPTO_ID_LEN])
{
	uint8_t slots[2][FORMAT_SLOT_LEN];
	struct format_header h;
	AUTO_LOWER_HELD f = {l, walk_open(l, e->dirfd, e->name, O_RDONLY | O_NONBLOCK)};
	/* Not ours to open: nobody could have erased anything in it either. */
	if (f.fd == -ENOENT || f.fd == -EACCES || f.fd == -EPERM || f.fd == -ELOOP)
		return 0;
	ssize_t n = f.fd < 0 ? f.fd : lower_pread(l, f.fd, slots, sizeof(slots), 0);
	if (n < (ssize_t)sizeof(slots))
		return n < 0 ? (int)n : 0;
	if (format_header_parse(slots[0], &h) < 0 && format_header_parse(slots[1], &h) < 0)
		return 0;
	memcpy(ret, h.file_id, CRYPTO_ID_LEN);
	return 1;
}

static void settle(struct recovery *r, size_t i)
{
	r->settled[i] = true;
	r->open--;
	journal_done(r->s->journal, r->tokens[i]);
}

static void failed(struct recovery *r, int rc)
{
	r->result.failed++;
	if (!r->result.error)
		r->result.error = rc;
}

/* id: what the file claims to be, NULL when it says nothing. */
static void finish(struct recovery *r, size_t i, const struct walk_entry *e, const uint8_t *id)
{
	int rc = file_sweep(r->s, e->dirfd, e->name, &r->entries[i], &r->result.bytes);
	if (rc == 1 || rc == -ENOENT || (rc == -EBADMSG && !id))
		return; /* not this file, or nobody can tell */
	if (!rc || rc == -EBADMSG) {
		settle(r, i);
		r->result.done++;
		return;
	}
	r->settled[i] = true;
	r->open--;
	failed(r, rc);
}

static bool is_meant(const struct recovery *r, size_t i, uint64_t ino, const uint8_t *id)
{
	const uint8_t *wanted = r->entries[i].file_id;
	if (r->settled[i] || (id && memcmp(id, wanted, CRYPTO_ID_LEN) != 0))
		return false;
	return r->by_id ? id != NULL : ino == r->entries[i].ino;
}

static int visit(void *context, const struct walk_entry *e)
{
	struct recovery *r = context;
	uint8_t bytes[CRYPTO_ID_LEN];
	bool near = r->by_id;
	if (e->type != DT_REG)
		return 0;
	for (size_t i = 0; !near && i < r->count; i++)
		near = is_meant(r, i, e->ino, NULL);
	int rc = near ? recover_claimed_id(r->s->lower, e, bytes) : 0;
	if (rc == -ENOMEM)
		return rc;
	if (rc < 0)
		r->unread = rc;
	for (size_t i = 0; near && rc >= 0 && i < r->count; i++)
		if (is_meant(r, i, e->ino, rc ? bytes : NULL))
			finish(r, i, e, rc ? bytes : NULL);
	return r->open ? 0 : 1;
}

static int load(struct recovery *r)
{
	r->count = r->open = journal_pending(r->s->journal, NULL, NULL, 0);
	r->entries = calloc(r->count + 1, sizeof(*r->entries));
	r->tokens = calloc(r->count + 1, sizeof(*r->tokens));
	r->settled = calloc(r->count + 1, sizeof(*r->settled));
	if (!r->entries || !r->tokens || !r->settled)
		return -ENOMEM;
	(void)journal_pending(r->s->journal, r->entries, r->tokens, r->count);
	r->result.entries = (unsigned)r->count;
	return 0;
}

/* Clocks of change times lag behind by less. */
#define LAG_NS 2000000000u

struct traces {
	const struct store *s;
	uint64_t since_ns;
	struct recover_result *result;
};

/* Files that changed in the last mount: what was never committed of them. */
static int visit_recent(void *context, const struct walk_entry *e)
{
	struct traces *t = context;
	struct lower *l = t->s->lower;
	struct stat st;
	if (e->type != DT_REG || l->ops->fstatat(l, e->dirfd, e->name, &st) < 0)
		return 0;
	uint64_t changed = (uint64_t)st.st_ctim.tv_sec * 1000000000u + (uint64_t)st.st_ctim.tv_nsec;
	if (!S_ISREG(st.st_mode) || changed + LAG_NS < t->since_ns)
		return 0;
	int rc = file_recover_length(t->s, e->dirfd, e->name, &t->result->bytes);
	t->result->emptied += rc == 1;
	/* Whoever opens it learns that it cannot be read. */
	return rc < 0 && rc != -EACCES && rc != -EPERM && rc != -ENOENT && rc != -EIO ? rc : 0;
}

static int finish_erasures(struct recovery *r)
{
	const struct store *s = r->s;
	int rc = load(r);
	unsigned passes = journal_is_copy(s->journal) ? 2 : 1;
	for (unsigned pass = 0; rc >= 0 && pass < passes && r->open; pass++) {
		r->by_id = pass;
		rc = walk_tree(s->lower, s->root_fd, ".", visit, r);
	}
	for (size_t i = 0; rc >= 0 && i < r->count; i++)
		if (!r->settled[i] && r->unread) {
			failed(r, r->unread);
		} else if (!r->settled[i]) {
			settle(r, i);
			r->result.gone++;
		}
	return rc;
}

/* What may be in the page cache alone: the tree, and the journal. After a mere kill we would trust
 * it. */
static int flush_all(const struct store *s)
{
	struct lower *l = s->lower;
	AUTO_LOWER_HELD d = {
		l, l->ops->openat(l, s->root_fd, ".", O_RDONLY | O_DIRECTORY, 0, NULL)};
	int rc = d.fd < 0 ? d.fd : l->ops->syncfs(l, d.fd);
	return rc < 0 ? rc : journal_flush(s->journal, journal_sequence(s->journal));
}

void recover_describe(const struct recover_result *r, char ret[static RECOVER_TEXT])
{
	char given_up[96] = "";
	if (r->unread)
		snprintf(given_up, sizeof(given_up),
			", of %u files that cannot be read the last changes given up", r->unread);
	snprintf(ret, RECOVER_TEXT,
		"%s: %u files brought to their last commit, of %u changes since the last flush "
		"lost, %u new ones empty, %u newer than the journal%s; %u unfinished erasures, of "
		"which %u finished, %u of files that are gone, %u failed%s%s; %llu bytes "
		"overwritten",
		r->unclean ? "the last mount did not end orderly" : "the journal was not empty",
		r->files, r->dropped, r->emptied, r->stale, given_up, r->entries, r->done, r->gone,
		r->failed, r->error ? ": " : "", r->error ? strerror(-r->error) : "",
		(unsigned long long)r->bytes);
}

int recover_store(const struct store *s, bool past_damage, struct recover_result *ret)
{
	AUTO(recovery_done) struct recovery r = {.s = s};
	struct traces t = {.s = s, .result = &r.result};
	r.result.unclean = journal_was_unclean(s->journal, &t.since_ns);
	int rc = r.result.unclean ? flush_all(s) : 0;
	if (rc >= 0)
		rc = recover_redo(s, past_damage, &r.result);
	if (rc >= 0)
		rc = finish_erasures(&r);
	if (rc >= 0 && r.result.unclean)
		rc = walk_tree(s->lower, s->root_fd, ".", visit_recent, &t);
	/* After a flush that failed nobody knows what is in its place. */
	if (rc >= 0 && store_is_read_only(s))
		rc = -EIO;
	if (rc >= 0)
		rc = journal_checkpoint(s->journal);
	*ret = r.result;
	return rc < 0 ? rc : 0;
}
