#include "fs/gate/audit_read.h"

#include "fs/gate/audit_file.h"
#include "fs/gate/audit_next.h"
#include "fs/gate/audit_segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* One reading. */
struct walk {
	const struct audit_reader *reader;
	audit_read_each *each;
	void *context;
	struct audit_verdict *verdict;
	int dir_fd;
	uint32_t newest; /* number of the last segment */
	bool live;       /* ... which is being written */
	bool signer_known;
	uint8_t signer[KEY_LEN]; /* public key of the segment to come */
	bool sequence_known;
	uint64_t sequence; /* its first one */
	bool pred_known;   /* false for the first, and behind a missing one */
	bool pred_clean;   /* by an end record that verified */
	uint64_t pred_records;
	struct audit_end pred;
};

/* One segment being read. */
struct part {
	uint32_t number;
	uint8_t *bytes;
	size_t len;
	struct audit_header header;
	bool clean;
	uint64_t records, last_time_ns;
};

static void part_done(struct part *p)
{
	free(p->bytes);
	p->bytes = NULL;
}

/* The first bad place is what a person must look at. */
static void broken(struct walk *w, uint32_t segment, uint64_t record, const char *text)
{
	if (w->verdict->state == AUDIT_BROKEN)
		return;
	w->verdict->state = AUDIT_BROKEN;
	w->verdict->segment = segment;
	w->verdict->record = record;
	snprintf(w->verdict->text, sizeof(w->verdict->text), "%s", text);
}

static bool is_broken(const struct walk *w)
{
	return w->verdict->state == AUDIT_BROKEN;
}

/* The smallest number of a segment above `above` and the largest of all; 0 when there is none. */
static int find_segments(
	struct lower *l, int dir_fd, uint32_t above, uint32_t *ret_first, uint32_t *ret_newest)
{
	_Alignas(struct dirent64) uint8_t bytes[8192];
	uint32_t newest = 0, first = 0;
	int r = l->ops->seekdir(l, dir_fd, 0);
	if (r < 0)
		return r;
	ssize_t n;
	while ((n = l->ops->getdents(l, dir_fd, bytes, sizeof(bytes))) > 0)
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *entry =
				(const struct dirent64 *)(const void *)(bytes + at);
			uint32_t number = audit_segment_number(entry->d_name);
			newest = number > newest ? number : newest;
			if (number > above && (!first || number < first))
				first = number;
			at += entry->d_reclen;
		}
	if (n < 0)
		return (int)n;
	*ret_first = first;
	*ret_newest = newest;
	return 0;
}

/* True when the writer of a segment holds its lock. Where we may not ask, nobody writes. */
static bool is_written(struct lower *l, int dir_fd, uint32_t number)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	audit_segment_name(number, name);
	int fd = l->ops->openat(l, dir_fd, name, O_RDWR | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return false;
	bool written = l->ops->lock(l, fd) == -EAGAIN;
	l->ops->close(l, fd);
	return written;
}

/* What the header of a segment says about the one before it. */
static void check_predecessor(struct walk *w, const struct audit_header *h)
{
	uint32_t before = h->number - 1;
	if (h->number == 1 || !w->pred_known)
		return;
	if (h->flags & AUDIT_PRED_MISSING)
		broken(w, before, 0,
			"was missing when the next segment began, and is not what was there then");
	else if (h->flags & AUDIT_PRED_ALTERED)
		broken(w, before, w->pred_records + 1,
			"was changed or cut after it had been closed");
	else if (h->pred_len != w->pred.length ||
		 memcmp(h->pred_head, w->pred.head, AUDIT_HEAD_LEN) != 0)
		broken(w, before, w->pred_records + 1,
			"is not what the next segment's signature says: cut or changed");
	else if (((h->flags & AUDIT_PRED_CLEAN) != 0) != w->pred_clean)
		broken(w, before, w->pred_records + 1,
			"has another end than the next segment's signature says");
}

static void check_header(struct walk *w, const struct part *p)
{
	const struct audit_header *h = &p->header;
	const struct keyring_owner *owner = keyring_owner(w->reader->keyring);
	if (w->signer_known && !audit_segment_header_signed(p->bytes, w->signer))
		broken(w, p->number, 0,
			"its header is not signed by the key that the segment before it named");
	if (h->number != p->number)
		broken(w, p->number, 0, "its header has another number");
	if (memcmp(h->tenant_uuid, owner->tenant_uuid, CRYPTO_ID_LEN) != 0 ||
		memcmp(h->store_uuid, owner->store_uuid, CRYPTO_ID_LEN) != 0)
		broken(w, p->number, 0, "it is of another tenant");
	if (h->number == p->number)
		check_predecessor(w, h);
	if (w->sequence_known && h->first_sequence != w->sequence)
		broken(w, p->number, 0,
			"its first sequence number does not follow the segment before it");
}

/* Reads and checks the header. 1; 0 when there is nothing to read on; -errno. */
static int load(struct walk *w, struct part *p)
{
	char name[AUDIT_SEGMENT_NAME_LEN];
	audit_segment_name(p->number, name);
	int r = audit_file_read(w->reader->lower, w->dir_fd, name, &p->bytes, &p->len);
	if (r == -ENOENT)
		broken(w, p->number, 0, "it is missing");
	else if (r == -EFBIG || r == -ELOOP)
		broken(w, p->number, 0, "it is no segment of this program");
	else if (r < 0)
		return r;
	else if (p->len < AUDIT_HEADER_LEN || audit_segment_header_parse(p->bytes, &p->header) < 0)
		broken(w, p->number, 0, "its header is damaged");
	else
		return 1;
	w->signer_known = w->sequence_known = w->pred_known = false;
	return 0;
}

/* The secret of one of the auditors that a header lists. NULL when we do not have it. */
static const struct secret *auditor_secret(
	const struct audit_reader *reader, const uint8_t public_key[static KEY_LEN])
{
	if (reader->auditor && memcmp(public_key, reader->auditor_public, KEY_LEN) == 0)
		return reader->auditor;
	return keyring_auditor_secret(reader->keyring, public_key);
}

/* The segment key, if it was sealed to a key that we have. 1, 0, -errno. */
static int open_box(struct walk *w, const struct part *p, struct secret **ret)
{
	for (unsigned i = 0; i < p->header.auditors; i++) {
		const uint8_t *public_key = p->header.auditor[i];
		const struct secret *auditor = auditor_secret(w->reader, public_key);
		if (!auditor)
			continue;
		int r = crypto_box_open_with(
			public_key, auditor, p->header.box[i], AUDIT_BOX_LEN, ret);
		if (r == 0 && secret_len(*ret) == KEY_LEN)
			return 1;
		if (r < 0 && r != -EBADMSG)
			return r;
		broken(w, p->number, 0, "its sealed key cannot be opened");
		return 0;
	}
	w->verdict->unreadable++;
	return 0;
}

/* What a record that opened says about its place. */
static const char *misplaced(const struct audit_chain *c, const struct audit_entry *entry, bool end)
{
	if (entry->sequence != c->sequence)
		return "it has another sequence number";
	if (entry->end != end)
		return "it is an end that does not say so";
	if (entry->has_head && memcmp(entry->head, c->head, AUDIT_HEAD_LEN) != 0)
		return "what it says of the records before it is not what they are";
	return end && !entry->has_head ? "it is an end without the chain's head" : NULL;
}

/* Opens, checks and hands on one whole frame. */
static int take(struct walk *w, struct part *p, const struct audit_chain *c, const uint8_t *frame,
	size_t frame_len, bool end)
{
	struct audit_verdict *v = w->verdict;
	struct audit_entry entry;
	size_t len = frame_len - AUDIT_FRAME_EXTRA;
	AUTO_FREE uint8_t *json = malloc(len);
	if (!json)
		return -ENOMEM;
	int r = audit_segment_open(c, frame, frame_len, json);
	if (r == 0)
		r = audit_record_parse((const char *)json, len, &entry);
	crypto_wipe(json, len);
	if (r == -EBADMSG) {
		broken(w, p->number, c->records + 1, "it is not authentic");
		return 0;
	}
	if (r < 0)
		return r;
	const char *why = misplaced(c, &entry, end);
	if (why)
		broken(w, p->number, c->records + 1, why);
	entry.segment = p->number;
	entry.record = c->records + 1;
	entry.suspect = is_broken(w);
	p->last_time_ns = entry.time_ns;
	if (!entry.suspect) {
		v->records++;
		v->last_sequence = entry.sequence;
		v->last_time_ns = entry.time_ns;
	}
	r = w->each ? w->each(w->context, &entry) : 0;
	audit_record_done(&entry);
	return r;
}

/* All records of a segment. */
static int read_records(struct walk *w, struct part *p, struct audit_chain *c)
{
	size_t at = AUDIT_HEADER_LEN, frame_len = 0;
	bool end = false;
	enum audit_frame kind;
	while (!end && (kind = audit_segment_frame(c, p->bytes + at, p->len - at, &frame_len,
				&end)) == AUDIT_FRAME_WHOLE) {
		int r = take(w, p, c, p->bytes + at, frame_len, end);
		if (r != 0)
			return r;
		audit_segment_advance(c, p->bytes + at, frame_len);
		at += frame_len;
	}
	p->records = c->records;
	if (end && at < p->len)
		broken(w, p->number, c->records + 1, "there is something behind the end record");
	else if (!end && kind == AUDIT_FRAME_BAD)
		broken(w, p->number, c->records + 1, "it is not authentic");
	p->clean = end && at == p->len;
	return 0;
}

static void note_end(struct walk *w, const struct part *p)
{
	struct audit_verdict *v = w->verdict;
	if (p->clean)
		return;
	if (p->number == w->newest && w->live) {
		v->live = true;
		return;
	}
	v->unclean_ends++;
	v->unclean_segment = p->number;
	v->unclean_time_ns = p->last_time_ns;
}

/* What the segment behind this one must agree with. */
static void expect_next(struct walk *w, const struct part *p, const struct audit_end *end)
{
	memcpy(w->signer, p->header.next_public, KEY_LEN);
	w->sequence = p->header.first_sequence + end->records;
	w->pred = *end;
	w->pred_clean = p->clean;
	w->pred_records = p->records;
	w->signer_known = w->sequence_known = w->pred_known = true;
}

/* Takes the segment key. */
static int read_with(struct walk *w, struct part *p, struct secret *key)
{
	struct audit_chain chain;
	int r = audit_segment_chain_init(&chain, &p->header, p->bytes, key);
	if (r < 0)
		return r;
	r = read_records(w, p, &chain);
	audit_segment_chain_done(&chain);
	return r;
}

static int read_segment(struct walk *w, uint32_t number)
{
	AUTO(part_done) struct part p = {.number = number};
	struct secret *key = NULL;
	struct audit_end end;
	w->live = number == w->newest && is_written(w->reader->lower, w->dir_fd, number);
	int r = load(w, &p);
	if (r <= 0)
		return r;
	w->verdict->segments++;
	check_header(w, &p);
	audit_segment_scan(p.bytes, p.len, &end);
	r = open_box(w, &p, &key);
	if (r < 0)
		return r;
	if (r == 0) {
		p.clean = end.clean;
		p.records = end.records;
	} else if ((r = read_with(w, &p, key)) != 0) {
		return r;
	}
	note_end(w, &p);
	expect_next(w, &p, &end);
	return 0;
}

/*
 * audit/next names the segment to come, so that newest ones cannot be taken away; and how the last
 * was closed. It is read before the folder is listed again: where no segment has come meanwhile,
 * the two must agree.
 */
static int check_next(struct walk *w)
{
	AUTO(audit_next_auto) struct audit_next next = {.stale = -1};
	struct lower *l = w->reader->lower;
	uint32_t first, newest = w->newest, seen = newest;
	int loaded = audit_next_load(l, w->dir_fd, w->reader->keyring, &next, NULL);
	if (loaded < 0 && loaded != -EBADMSG && loaded != -ENOENT && loaded != -EIO)
		return loaded;
	int r = find_segments(l, w->dir_fd, 0, &first, &seen);
	if (r < 0)
		return r;
	if (loaded == -ENOENT)
		broken(w, newest, 0, "audit/next is missing");
	else if (loaded < 0 && w->verdict->unreadable)
		broken(w, newest, 0,
			"this keyring opens neither audit/next nor all segments: it is a copy from "
			"before the "
			"keys were renewed, or the log was forged");
	else if (loaded < 0)
		broken(w, newest, 0,
			"audit/next is damaged, or this keyring is a copy from before the keys "
			"were renewed");
	else if (seen > newest)
		w->verdict->live = true;
	else if (next.number > newest + 1)
		broken(w, newest + 1, 0, "it is missing, and perhaps more behind it");
	else if (next.number <= newest)
		broken(w, newest, 0, "audit/next is older than this segment");
	else if (w->signer_known &&
		 memcmp(w->signer, secret_peek(next.signing) + KEY_LEN, KEY_LEN) != 0)
		broken(w, newest, 0, "audit/next does not hold the key that this segment names");
	else if (next.ended && w->pred_known && !w->verdict->live &&
		 (next.pred_len != w->pred.length ||
			 memcmp(next.pred_head, w->pred.head, AUDIT_HEAD_LEN) != 0))
		broken(w, newest, w->pred_records + 1,
			"was changed or cut after it had been closed");
	return 0;
}

static int read_all(struct walk *w, struct err *e)
{
	struct lower *l = w->reader->lower;
	uint32_t n = 1, first = 0, newest;
	int r = find_segments(l, w->dir_fd, 0, &first, &w->newest);
	for (; r == 0 && n <= w->newest; n++) {
		r = read_segment(w, n);
		/* A file with a number far ahead must not cost a try for each number before it. */
		if (r == 0 && !w->signer_known &&
			(r = find_segments(l, w->dir_fd, n, &first, &newest)) == 0)
			n = first ? first - 1 : w->newest;
	}
	if (r == 0)
		r = check_next(w);
	if (r != 0)
		return r < 0 ? err_default(
				       e, r, "the audit trail cannot be read (%s)", strerror(-r))
			     : r;
	if (!is_broken(w) && w->verdict->unclean_ends)
		w->verdict->state = AUDIT_UNCLEAN;
	return 0;
}

int audit_read(const struct audit_reader *reader, audit_read_each *each, void *context,
	struct audit_verdict *ret, struct err *e)
{
	struct audit_verdict verdict = {0};
	struct lower *l = reader->lower;
	struct walk w = {.reader = reader, .each = each, .context = context, .verdict = &verdict};
	if (!reader->auditor && !keyring_has_auditor_secret(reader->keyring))
		return err_set(e, -ENOKEY,
			"the audit trail is sealed to auditors who hold their own keys: none "
			"of them is in this keyring");
	keyring_audit_root(reader->keyring, w.signer);
	w.sequence = 1;
	w.signer_known = w.sequence_known = true;
	w.dir_fd = l->ops->openat(l, reader->tenant_fd, "audit", O_RDONLY | O_DIRECTORY, 0, NULL);
	if (w.dir_fd < 0)
		return err_set(e, w.dir_fd, "the tenant's folder audit cannot be opened (%s)",
			strerror(-w.dir_fd));
	int r = read_all(&w, e);
	l->ops->close(l, w.dir_fd);
	*ret = verdict;
	return r;
}
