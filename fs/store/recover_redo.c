#include "fs/store/recover.h"

#include "fs/lower/walk.h"
#include "fs/store/file.h"
#include "keymgmt/base/buf.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

/*
 * Commits that the journal has, brought to their place. First everything that is about to be
 * trusted is made durable: after a mere kill it may be in the page cache alone. Then it is decided
 * for each file up to where its records count; the decision is durable before it is carried out,
 * since that may change what the check would see. Files are found by inode number, those of a store
 * that was copied by their ids.
 */

#define FILTER_WORDS 1024u

/* One file's entries, in their order. */
struct one {
	const struct journal_entry **entries; /* borrowed from the whole */
	size_t count;
	uint64_t hard, upto;
	uint64_t last; /* commit */
	bool soft;     /* some are behind the last hard one */
	bool decided;  /* upto is what counts */
	bool settled;  /* it was found */
	bool lost;     /* nothing of it is touched */
};

struct redoing {
	const struct store *s;
	const struct journal_entry **entries; /* by file id, then in their order */
	struct one *files;
	size_t count, open; /* of files; of them not settled */
	bool by_id, applies, past_damage;
	int unknown; /* why a file's id could not be read, in a store that was copied */
	ino_t unknown_ino;
	uint64_t inodes[FILTER_WORDS]; /* a bit for each that is looked for, by its last bits */
	struct recover_result *result;
};

static uint64_t *filter_word(struct redoing *r, uint64_t ino)
{
	return &r->inodes[ino / 64 % FILTER_WORDS];
}

static void redoing_done(struct redoing *r)
{
	free(r->entries);
	free(r->files);
}

static int by_file(const void *a, const void *b)
{
	const struct journal_entry *x = *(const struct journal_entry *const *)a;
	const struct journal_entry *y = *(const struct journal_entry *const *)b;
	int order = memcmp(x->file_id, y->file_id, CRYPTO_ID_LEN);
	/* They are all in one array, in the order of the journal. */
	return order ? order : x < y ? -1 : x > y;
}

static void add_entry(struct one *f, const struct journal_entry *e)
{
	f->count++;
	if (e->kind == JOURNAL_MARK && e->decision) {
		f->decided = true;
		f->upto = e->upto;
	} else if (e->kind == JOURNAL_MARK && e->upto > f->hard) {
		f->hard = e->upto;
	} else if (e->kind == JOURNAL_COMMIT) {
		f->last = e->sequence;
		if (e->commit.hard)
			f->hard = e->sequence;
	}
}

static int load(struct redoing *r)
{
	const struct journal_entry *all;
	size_t count = journal_entries(r->s->journal, &all);
	r->entries = calloc(count + 1, sizeof(*r->entries));
	r->files = calloc(count + 1, sizeof(*r->files));
	if (!r->entries || !r->files)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		r->entries[i] = &all[i];
	qsort(r->entries, count, sizeof(*r->entries), by_file);
	for (size_t i = 0; i < count; i++) {
		if (!i || memcmp(r->entries[i]->file_id, r->entries[i - 1]->file_id,
				  CRYPTO_ID_LEN) != 0)
			r->files[r->count++].entries = r->entries + i;
		add_entry(&r->files[r->count - 1], r->entries[i]);
	}
	/* Erasures alone are recover.c's. */
	size_t kept = 0;
	for (size_t i = 0; i < r->count; i++) {
		struct one f = r->files[i];
		if (!f.last)
			continue;
		for (size_t k = 0; k < f.count; k++)
			f.soft = f.soft || (f.entries[k]->sequence > f.hard &&
						   f.entries[k]->kind != JOURNAL_MARK);
		uint64_t ino = f.entries[0]->ino;
		*filter_word(r, ino) |= (uint64_t)1 << (ino % 64);
		r->files[kept++] = f;
	}
	r->count = kept;
	return 0;
}

/* What the journal has of it is given up if anybody wanted that. */
static int unread(struct redoing *r, struct one *f, int rc)
{
	if (rc == -EIO && !r->result->unread_ino)
		r->result->unread_ino = f->entries[0]->ino;
	if (!r->past_damage || rc != -EIO)
		return rc;
	if (!f->settled)
		r->open--;
	f->settled = f->lost = true;
	f->upto = 0;
	r->result->unread++;
	return 0;
}

static int found(struct redoing *r, struct one *f, const struct walk_entry *e)
{
	int rc;
	if (r->applies)
		rc = file_recover_apply(r->s, e->dirfd, e->name, f->entries, f->count, f->upto);
	else
		rc = file_recover_judge(
			r->s, e->dirfd, e->name, f->entries, f->count, f->hard, &f->upto);
	if (rc == -ENOENT)
		return 0;
	f->settled = true;
	r->open--;
	if (rc == -EBADMSG) { /* older than the file: nothing of it is touched */
		f->upto = 0;
		f->lost = true;
		r->result->stale++;
		return 0;
	}
	/* Once something was written it is no question of reading. */
	if (rc)
		return r->applies ? rc : unread(r, f, rc);
	if (r->applies && f->upto)
		r->result->files++;
	return 0;
}

static int by_id(const void *id, const void *file)
{
	return memcmp(id, ((const struct one *)file)->entries[0]->file_id, CRYPTO_ID_LEN);
}

/* A file whose id cannot be read: those that it may be. */
static int unnamed(struct redoing *r, uint64_t ino, int error)
{
	int rc = 0;
	/* Numbers say nothing there: it may be any that is not found elsewhere. */
	if (journal_is_copy(r->s->journal)) {
		r->unknown = error;
		r->unknown_ino = ino;
		return 0;
	}
	for (size_t i = 0; i < r->count && !rc; i++)
		if (!r->files[i].settled && r->files[i].entries[0]->ino == ino)
			rc = unread(r, &r->files[i], error);
	return rc; /* of others, whoever opens it learns that it cannot be read */
}

static int visit(void *context, const struct walk_entry *e)
{
	struct redoing *r = context;
	uint8_t id[CRYPTO_ID_LEN];
	if (e->type != DT_REG || (!r->by_id && !(*filter_word(r, e->ino) >> (e->ino % 64) & 1)))
		return 0;
	int rc = recover_claimed_id(r->s->lower, e, id);
	if (rc < 0)
		rc = unnamed(r, e->ino, rc);
	if (rc <= 0)
		return rc;
	struct one *f = bsearch(id, r->files, r->count, sizeof(*r->files), by_id);
	if (f && !f->settled && (r->by_id || f->entries[0]->ino == e->ino)) {
		rc = found(r, f, e);
		if (rc < 0)
			return rc;
	}
	return r->open ? 0 : 1;
}

static int walk(struct redoing *r, bool applies)
{
	const struct store *s = r->s;
	unsigned passes = journal_is_copy(s->journal) ? 2 : 1;
	int rc = 0;
	r->applies = applies;
	r->open = 0;
	for (size_t i = 0; i < r->count; i++) {
		struct one *f = &r->files[i];
		f->settled = applies ? !f->upto : f->decided;
		r->open += !f->settled;
	}
	for (unsigned pass = 0; rc >= 0 && pass < passes && r->open; pass++) {
		r->by_id = pass;
		rc = walk_tree(s->lower, s->root_fd, ".", visit, r);
	}
	if (rc >= 0 && r->unknown && r->open) {
		r->result->unread_ino = r->unknown_ino;
		if (!r->past_damage || r->unknown != -EIO)
			return r->unknown;
		r->result->unread += applies ? 0 : (unsigned)r->open;
	}
	return rc < 0 ? rc : 0;
}

/* Durable: a recovery that is cut short and begun again does the same. */
static int record_decision(struct redoing *r)
{
	AUTO_BUF text = {0};
	uint64_t sequence;
	bool any = false;
	for (size_t i = 0; i < r->count; i++) {
		const struct one *f = &r->files[i];
		any = any || (f->soft && !f->decided);
		journal_format_put_mark(
			&text, f->entries[0]->file_id, f->entries[0]->ino, f->upto, true);
	}
	if (!any)
		return 0;
	if (!buf_ok(&text))
		return -ENOMEM;
	const struct journal_record record = {.text = &text};
	int rc = journal_append(r->s->journal, &record, &sequence, NULL);
	return rc ? rc : journal_flush(r->s->journal, sequence);
}

int recover_redo(const struct store *s, bool past_damage, struct recover_result *ret)
{
	AUTO(redoing_done) struct redoing r = {.s = s, .past_damage = past_damage, .result = ret};
	int rc = load(&r);
	if (rc || !r.count)
		return rc;
	for (size_t i = 0; i < r.count; i++)
		if (!r.files[i].decided)
			r.files[i].upto = r.files[i].soft ? 0 : r.files[i].hard;
	if (!rc)
		rc = walk(&r, false);
	for (size_t i = 0; i < r.count; i++)
		ret->dropped +=
			r.files[i].settled && !r.files[i].lost && r.files[i].last > r.files[i].upto;
	if (!rc)
		rc = record_decision(&r);
	return rc ? rc : walk(&r, true);
}
