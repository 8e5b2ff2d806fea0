/*
 * The journal. Input: kind, then for 0: the bytes of a superblock slot; 1: a superblock's fields,
 * which are sealed; 2: the sectors of a ring, which get marks and checks that fit; 3: the texts of
 * records, which are sealed one behind the other; 4: the same, each with what was durable when it
 * was written, and one of them damaged.
 */
#include "fs/store/journal.h"
#include "tests/fuzz/fuzz.h"

#include <xxhash.h>

#define SECTOR JOURNAL_FORMAT_SECTOR
#define FILE_LEN (4 * JOURNAL_FORMAT_RING)
#define RING ((FILE_LEN - JOURNAL_FORMAT_RING) / SECTOR)
#define NONCE_AT 16 /* of a record */
#define NAME "journal"

static uint8_t file[FILE_LEN];

static struct secret *subkey(void)
{
	struct secret *key = keyring_mdk_subkey(fuzz_keyring(), NAME, false);
	FUZZ_CHECK(key);
	return key;
}

/* Both slots say s; the key of its period, or NULL when the journal is not to be opened. */
static struct secret *seal_super(struct journal_super *s)
{
	AUTO_SECRET *sub = subkey();
	struct secret *key = secret_random(KEY_LEN);
	FUZZ_CHECK(key);
	for (unsigned i = 0; i < 2; i++)
		FUZZ_CHECK(journal_format_super_seal(s, &fuzz_owner, sub, key,
				   file + i * JOURNAL_FORMAT_SUPER_STEP) == 0);
	return key;
}

/* What journal_open makes of the file. */
static int open_file(bool past_damage, size_t *ret_pending)
{
	struct lower *l = lower_posix();
	struct journal *j = NULL;
	struct err e = {0};
	struct journal_status status;
	fuzz_write(fuzz_place(), NAME, file, sizeof(file));
	int r = journal_open(l, fuzz_place(), fuzz_keyring(), past_damage, &j, &e);
	FUZZ_CHECK(r == 0 || r == past_damage || r == -EBADMSG || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	if (r < 0)
		return r;
	*ret_pending = journal_pending(j, NULL, NULL, 0);
	journal_status(j, &status);
	FUZZ_CHECK(status.used <= status.bytes && status.pending == *ret_pending);
	FUZZ_CHECK(*ret_pending <= JOURNAL_PENDING_MAX);
	journal_close(j);
	return r;
}

static void check_slot(struct cur *c)
{
	uint8_t slot[SECTOR];
	struct journal_super s;
	AUTO_SECRET *sub = subkey();
	AUTO_SECRET *key = NULL;
	fuzz_bytes(c, slot, sizeof(slot));
	int r = journal_format_super_open(slot, &fuzz_owner, sub, &s, &key);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EKEYREJECTED || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r == 0) == (key != NULL));
}

static void check_super(struct cur *c)
{
	size_t pending = 0;
	struct journal_super s = {.generation = fuzz_u64(c),
		.epoch = fuzz_u64(c),
		.size = fuzz_u64(c),
		.tail = fuzz_u64(c),
		.sequence = fuzz_u64(c),
		.suite = fuzz_u8(c) & 1 ? CRYPTO_AES256_GCM : CRYPTO_XCHACHA20_POLY1305,
		.ino = fuzz_u64(c),
		.fsid = fuzz_u64(c),
		.since_ns = fuzz_u64(c),
		.clean = fuzz_u8(c) & 1};
	fuzz_bytes(c, file + JOURNAL_FORMAT_RING, RING * SECTOR);
	AUTO_SECRET *key = seal_super(&s);
	struct journal_super t;
	AUTO_SECRET *sub = subkey();
	AUTO_SECRET *found = NULL;
	FUZZ_CHECK(journal_format_super_open(file, &fuzz_owner, sub, &t, &found) == 0);
	FUZZ_CHECK(s.generation == t.generation && s.epoch == t.epoch && s.size == t.size &&
		   s.tail == t.tail && s.sequence == t.sequence && s.suite == t.suite &&
		   s.ino == t.ino && s.fsid == t.fsid && s.since_ns == t.since_ns &&
		   s.clean == t.clean);
	FUZZ_CHECK(secret_equal(key, found));
	int r = open_file(false, &pending);
	uint64_t ring = s.size < 2 * JOURNAL_FORMAT_RING || s.size > FILE_LEN
				? 0
				: (s.size - JOURNAL_FORMAT_RING) / SECTOR;
	/* Marks that fit can be made up; what they are on does not open. */
	FUZZ_CHECK((r == 0 && s.tail < ring) || r == -EBADMSG);
	FUZZ_CHECK(pending == 0);
}

/* Marks that fit; nobody can seal what is in them, so that there is never an entry. */
static void check_sectors(struct cur *c)
{
	size_t pending = 0;
	struct journal_super s = {.generation = 1,
		.epoch = 5,
		.size = FILE_LEN,
		.tail = fuzz_u8(c) % RING,
		.sequence = 7,
		.suite = CRYPTO_AES256_GCM};
	AUTO_SECRET *key = seal_super(&s);
	const uint8_t *first = file + JOURNAL_FORMAT_RING + s.tail * SECTOR;
	FUZZ_CHECK(key);
	for (unsigned i = 0; i < RING; i++) {
		uint64_t at = (s.tail + i) % RING;
		uint8_t *sector = file + JOURNAL_FORMAT_RING + at * SECTOR;
		fuzz_bytes(c, sector, JOURNAL_FORMAT_PAYLOAD);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD, s.sequence);
		bytes_put64(sector + JOURNAL_FORMAT_PAYLOAD + 8, s.epoch);
		uint64_t seed = i ? at ^ bytes_get64(first + NONCE_AT) : at;
		bytes_put64(sector + SECTOR - 8, XXH3_64bits_withSeed(sector, SECTOR - 8, seed));
	}
	FUZZ_CHECK(open_file(false, &pending) == -EBADMSG);
}

/* A put of what was read. */
static void put_again(struct buf *text, const struct journal_entry *e)
{
	struct cur fresh = e->fresh, ranges = e->ranges;
	struct journal_fresh runs[256];
	size_t count = 0, begun;
	const uint8_t *bytes;
	uint64_t offset;
	uint32_t len;
	switch (e->kind) {
	case JOURNAL_ERASE:
		journal_format_put_erase(text, &e->erase);
		break;
	case JOURNAL_TIMES:
		journal_format_put_times(text, e->file_id, e->ino, &e->modified);
		break;
	case JOURNAL_MARK:
		journal_format_put_mark(text, e->file_id, e->ino, e->upto, e->decision);
		break;
	case JOURNAL_COMMIT:
		while (count < 256 && journal_format_next_fresh(&fresh, &runs[count]))
			count++;
		begun = journal_format_begin_commit(
			text, e->file_id, e->ino, &e->commit, &e->modified, runs, count);
		while (journal_format_next_range(&ranges, &offset, &bytes, &len))
			journal_format_put_range(text, offset, bytes, len);
		journal_format_end_commit(text, begun);
		FUZZ_CHECK(cur_left(&ranges) == 0);
	}
}

/* What a reader of the records must come to. */
struct want {
	size_t erasures;
	bool ended; /* by a decision */
	int rc;
};

/* Entries of a text, and whether it is all entries; a put of what was read gives the same bytes. */
static void parse(const uint8_t *text, size_t len, struct want *w)
{
	struct cur c = {text, text + len};
	struct journal_entry e;
	const size_t before = w->erasures;
	while (w->rc == 0) {
		const uint8_t *at = c.at;
		AUTO_BUF again = {0};
		w->rc = journal_format_next(&c, &e);
		FUZZ_CHECK(
			w->rc == 0 || w->rc == 1 || w->rc == -EBADMSG || w->rc == -EPROTONOSUPPORT);
		if (w->rc < 0)
			w->erasures = before; /* none of it counts */
		if (w->rc <= 0)
			return;
		w->rc = 0;
		w->erasures += e.kind == JOURNAL_ERASE;
		w->ended = w->ended || (e.kind == JOURNAL_MARK && e.decision);
		put_again(&again, &e);
		FUZZ_CHECK(buf_ok(&again) && (size_t)(c.at - at) == again.len &&
			   memcmp(again.data, at, again.len) == 0);
	}
}

/* A record into the ring, if it has room; its sectors. */
static uint64_t put_record(const struct journal_super *s, const struct secret *key,
	struct journal_place *at, uint64_t used, uint64_t durable, const char *text, size_t len)
{
	static uint8_t sectors[RING * SECTOR];
	uint64_t n = journal_format_sectors(len);
	if (used + n > RING)
		return 0;
	FUZZ_CHECK(journal_format_seal(s->suite, key, at, durable, text, len, sectors) == 0);
	for (uint64_t i = 0; i < n; i++)
		memcpy(file + JOURNAL_FORMAT_RING + (at->sector + i) % RING * SECTOR,
			sectors + i * SECTOR, SECTOR);
	at->sequence++;
	at->sector = (at->sector + n) % RING;
	return n;
}

static void check_texts(struct cur *c)
{
	size_t pending = 0;
	struct want want = {.rc = 0};
	struct journal_super s = {.generation = 2,
		.epoch = fuzz_u64(c),
		.size = FILE_LEN,
		.tail = fuzz_u8(c) % RING,
		.sequence = fuzz_u64(c),
		.suite = fuzz_u8(c) & 1 ? CRYPTO_AES256_GCM : CRYPTO_XCHACHA20_POLY1305};
	memset(file, 0, sizeof(file));
	AUTO_SECRET *key = seal_super(&s);
	struct journal_place at = {s.epoch, s.sequence, s.tail, RING};
	uint64_t used = 0, n;
	do {
		size_t len;
		AUTO_FREE char *text = fuzz_part(c, 16384, &len);
		n = put_record(&s, key, &at, used, at.sequence, text, len);
		if (n && !want.rc && !want.ended)
			parse((const uint8_t *)text, len, &want);
		used += n;
	} while (n && cur_left(c));
	int r = open_file(false, &pending);
	FUZZ_CHECK(r == want.rc);
	FUZZ_CHECK(r < 0 || pending == want.erasures);
}

#define RECORDS 8u

/* A record of which one byte is changed is the end, unless a decision was before; damage, if it was
 * durable when a later one was written and the journal was not ended orderly. */
static void check_missing(struct cur *c)
{
	size_t pending = 0;
	uint8_t how = fuzz_u8(c), damaged = fuzz_u8(c) % RECORDS;
	struct journal_super s = {.generation = 2,
		.epoch = fuzz_u64(c),
		.size = FILE_LEN,
		.tail = fuzz_u8(c) % RING,
		.sequence = fuzz_u64(c) >> 1,
		.clean = how & 1,
		.suite = how & 2 ? CRYPTO_AES256_GCM : CRYPTO_XCHACHA20_POLY1305};
	uint16_t flip = fuzz_u16(c);
	struct want want = {.rc = 0};
	uint64_t used = 0, n = 1;
	bool witness = false, missing = false;
	memset(file, 0, sizeof(file));
	AUTO_SECRET *key = seal_super(&s);
	struct journal_place at = {s.epoch, s.sequence, s.tail, RING};
	for (unsigned i = 0; i < RECORDS && n && cur_left(c) && !want.rc; i++) {
		size_t len;
		uint64_t durable = s.sequence + fuzz_u8(c) % (i + 1), first = at.sector;
		AUTO_FREE char *text = fuzz_part(c, 4096, &len);
		n = put_record(&s, key, &at, used, durable, text, len);
		used += n;
		if (n && i == damaged) {
			uint64_t byte = flip % (n * SECTOR);
			file[JOURNAL_FORMAT_RING + (first + byte / SECTOR) % RING * SECTOR +
				byte % SECTOR] ^= (uint8_t)(1 + how / 4);
			missing = !want.ended;
		} else if (n && missing) {
			witness = witness || (!s.clean && durable > s.sequence + damaged);
		} else if (n && !want.ended) {
			parse((const uint8_t *)text, len, &want);
		}
	}
	int r = open_file(false, &pending);
	FUZZ_CHECK(r == (want.rc ? want.rc : witness ? -EBADMSG : 0));
	FUZZ_CHECK(r < 0 || pending == want.erasures);
	/* Past damage of both kinds, not past what is newer. */
	r = open_file(true, &pending);
	FUZZ_CHECK(r == (want.rc == -EBADMSG ? 1 : want.rc ? want.rc : witness));
	FUZZ_CHECK(r < 0 || pending == want.erasures);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	switch (fuzz_u8(&c) % 5) {
	case 0:
		check_slot(&c);
		break;
	case 1:
		check_super(&c);
		break;
	case 2:
		check_sectors(&c);
		break;
	case 3:
		check_texts(&c);
		break;
	default:
		check_missing(&c);
	}
	return 0;
}

static void put_entries(struct buf *b, unsigned count, uint16_t kind)
{
	AUTO_BUF text = {0};
	for (unsigned i = 0; i < count; i++) {
		struct journal_erase e = {.ino = i, .first = 5, .end = 9 + i, .keep_space = i & 1};
		journal_format_put_erase(&text, &e);
	}
	if (kind && text.len)
		bytes_put16(text.data, kind);
	fuzz_put_part(b, text.data, text.len);
}

static void seed_texts(const char *name, unsigned first, unsigned second, uint16_t kind)
{
	AUTO_BUF b = {0};
	buf_put8(&b, 3);
	buf_put64(&b, 4);
	buf_put8(&b, (uint8_t)(RING - 1));
	buf_put64(&b, 9);
	buf_put8(&b, (uint8_t)first);
	put_entries(&b, first, 0);
	put_entries(&b, second, kind);
	fuzz_seed(name, b.data, b.len);
}

/* One entry of each kind, in the order of their numbers; a decision last. */
static void put_kind(struct buf *text, unsigned kind)
{
	static const uint8_t id[CRYPTO_ID_LEN] = {1};
	const struct timespec when = {1000, 5};
	const struct journal_fresh fresh[] = {{3, 1}, {70, 2}};
	const struct journal_commit commit = {.commits = 3, .length = 5 * 4096, .hard = kind & 1};
	const struct journal_erase erase = {.ino = 9, .first = 1, .end = 2};
	size_t begun;
	switch (kind) {
	case 1:
		journal_format_put_erase(text, &erase);
		break;
	case 2:
	case 3:
		begun = journal_format_begin_commit(text, id, 7, &commit, &when, fresh, 2);
		journal_format_put_range(text, 4096, "bytes", 5);
		journal_format_put_range(text, 0, text->data, 20);
		journal_format_end_commit(text, begun);
		break;
	case 4:
		journal_format_put_times(text, id, 7, &when);
		break;
	default:
		journal_format_put_mark(text, id, 7, 9, kind == 6);
	}
}

/* Of check_texts: all kinds in one record and one more behind it; and each in one of its own. */
static void seed_kinds(const char *name, bool each, unsigned first, unsigned last)
{
	AUTO_BUF b = {0};
	AUTO_BUF text = {0};
	buf_put8(&b, 3);
	buf_put64(&b, 4);
	buf_put8(&b, (uint8_t)(RING - 1));
	buf_put64(&b, 9);
	buf_put8(&b, (uint8_t)each);
	for (unsigned kind = first; kind <= last; kind++) {
		put_kind(&text, kind);
		if (kind == 6 && first < 6) /* not the last one of its record */
			put_kind(&text, 4);
		if (!each && kind < last)
			continue;
		fuzz_put_part(&b, text.data, text.len);
		buf_reset(&text);
	}
	put_kind(&text, 1);
	fuzz_put_part(&b, text.data, text.len);
	fuzz_seed(name, b.data, b.len);
}

/* Of check_missing: four records, each written when `durable` of those before it were; the second
 * is damaged; before: of this kind is the first. */
static void seed_missing(const char *name, uint8_t how, unsigned durable, unsigned first)
{
	AUTO_BUF b = {0};
	buf_put8(&b, 4);
	buf_put8(&b, how);
	buf_put8(&b, 1);
	buf_put64(&b, 4);
	buf_put8(&b, (uint8_t)(RING - 2));
	buf_put64(&b, 9);
	buf_put16(&b, 60);
	for (unsigned i = 0; i < 4; i++) {
		AUTO_BUF text = {0};
		put_kind(&text, i ? 1 + i : first);
		buf_put8(&b, (uint8_t)(i < durable ? i : durable));
		fuzz_put_part(&b, text.data, text.len);
	}
	fuzz_seed(name, b.data, b.len);
}

void fuzz_seeds(void)
{
	uint8_t bytes[1 + 4 * SECTOR] = {0};
	AUTO_SECRET *sub = subkey();
	AUTO_SECRET *key = secret_random(KEY_LEN);
	struct journal_super s = {.generation = 1,
		.epoch = 2,
		.size = FILE_LEN,
		.tail = 3,
		.sequence = 4,
		.ino = 5,
		.since_ns = 6,
		.suite = CRYPTO_AES256_GCM};
	FUZZ_CHECK(key && journal_format_super_seal(&s, &fuzz_owner, sub, key, bytes + 1) == 0);
	fuzz_seed("slot", bytes, 1 + SECTOR);
	bytes[5] = 2;
	fuzz_seed("slot-newer", bytes, 1 + SECTOR);
	AUTO_BUF b = {0};
	buf_put8(&b, 1);
	for (unsigned i = 0; i < 2; i++)
		buf_put64(&b, i);
	buf_put64(&b, FILE_LEN);
	buf_put64(&b, 5);
	buf_put64(&b, 6);
	fuzz_seed("super", b.data, b.len);
	memset(bytes, 0, sizeof(bytes));
	bytes[0] = 2;
	bytes[3] = 4; /* a length of more than one sector */
	fuzz_seed("sectors", bytes, sizeof(bytes));
	seed_texts("one-each", 1, 1, 0);
	seed_texts("many", 40, 20, 0);
	seed_texts("newer-kind", 2, 2, 7);
	seed_texts("none", 0, 0, 0);
	seed_kinds("kinds-together", false, 1, 5);
	seed_kinds("kinds-apart", true, 1, 5);
	seed_kinds("decision", false, 6, 6);
	seed_kinds("decision-among-others", false, 4, 6);
	seed_missing("missing", 0, 3, 2);
	seed_missing("missing-xchacha", 2, 2, 2);
	seed_missing("missing-not-durable", 0, 1, 2);
	seed_missing("missing-clean", 1, 3, 2);
	seed_missing("missing-behind-a-decision", 0, 3, 6);
}
