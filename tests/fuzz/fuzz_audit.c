/*
 * The audit trail as a reader and verifier finds it. Input: kind 0: changes to a good log of two
 * segments (file, what, where, with what); kind 1: a segment whose header fields and records come
 * from the input and are signed and sealed by the harness; kind 2: a segment's bytes.
 */
#include "fs/gate/audit_next.h"
#include "fs/gate/audit_read.h"
#include "tests/fuzz/fuzz.h"

#define SEGMENTS 2
#define RECORDS 20

static struct {
	int dir;                /* audit/ */
	struct audit_next next; /* that signs segment 1 */
	struct buf first_next;  /* audit/next as it was then */
	struct buf segment[SEGMENTS], last_next;
} good;

static struct buf load(const char *name)
{
	struct buf b = {0};
	char bytes[4096];
	ssize_t n;
	AUTO_CLOSE fd = openat(good.dir, name, O_RDONLY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	while ((n = read(fd, bytes, sizeof(bytes))) > 0)
		buf_put(&b, bytes, (size_t)n);
	FUZZ_CHECK(n == 0 && buf_ok(&b));
	return b;
}

static void write_session(unsigned records)
{
	struct audit *a = NULL;
	struct err e = {0};
	const struct audit_options o = {.segment_bytes = 0};
	FUZZ_CHECK(audit_open(lower_posix(), fuzz_place(), fuzz_keyring(), &o, &a, &e) == 0);
	for (unsigned i = 0; i < records; i++) {
		const struct audit_event event = {.kind = AUDIT_ACCESS,
			.op = OP_OPEN,
			.allowed = true,
			.caller = {1000, 1001, 42},
			.login_uid = 1000,
			.session = 3,
			.exe = "/usr/bin/cat",
			.path = "/payroll/a.txt",
			.rules = "payroll"};
		FUZZ_CHECK(audit_write(a, &event, AUDIT_ORDINARY) == 0);
	}
	audit_close(a);
}

static void make_good(void)
{
	struct err e = {0};
	int place = fuzz_place();
	if (good.dir)
		return;
	FUZZ_CHECK(audit_create(lower_posix(), place, fuzz_keyring(), &e) == 0);
	good.dir = openat(place, "audit", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(good.dir > 0);
	FUZZ_CHECK(audit_next_load(lower_posix(), good.dir, fuzz_keyring(), &good.next, &e) == 0);
	good.first_next = load("next");
	write_session(3);
	write_session(2);
	good.segment[0] = load("00000001.seg");
	good.segment[1] = load("00000002.seg");
	good.last_next = load("next");
}

static int count(void *context, const struct audit_entry *entry)
{
	uint64_t *records = context;
	FUZZ_CHECK(entry->json && entry->segment >= 1 && entry->record >= 1);
	++*records;
	return 0;
}

static void check(struct audit_verdict *ret)
{
	struct err e = {0};
	uint64_t records = 0;
	const struct audit_reader reader = {
		.lower = lower_posix(), .tenant_fd = fuzz_place(), .keyring = fuzz_keyring()};
	FUZZ_CHECK(audit_read(&reader, count, &records, ret, &e) == 0);
	FUZZ_CHECK(records >= ret->records || ret->state == AUDIT_BROKEN);
	FUZZ_CHECK(memchr(ret->text, 0, sizeof(ret->text)));
	FUZZ_CHECK((ret->state == AUDIT_BROKEN) == (ret->text[0] != 0));
	FUZZ_CHECK(ret->state != AUDIT_UNCLEAN || ret->unclean_ends > 0);
	FUZZ_CHECK(!ret->live);
}

static void put(const char *name, const struct buf *b)
{
	fuzz_write(good.dir, name, b->data, b->len);
}

/* One change to the copy; what: flip bits, cut, append, zero from there on. */
static void change(struct cur *c, struct buf *b)
{
	uint8_t what = fuzz_u8(c), with = fuzz_u8(c);
	size_t at = b->len ? fuzz_u16(c) % b->len : 0;
	switch (what % 4) {
	case 0:
		if (b->len)
			b->data[at] ^= with;
		break;
	case 1:
		b->len = at;
		break;
	case 2:
		for (unsigned i = 0; i <= with; i++)
			buf_put8(b, fuzz_u8(c));
		break;
	default:
		if (b->len)
			memset(b->data + at, 0, b->len - at);
	}
}

static bool same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static void changed_log(struct cur *c)
{
	struct audit_verdict v;
	AUTO_BUF one = {0};
	AUTO_BUF two = {0};
	AUTO_BUF next = {0};
	buf_put(&one, good.segment[0].data, good.segment[0].len);
	buf_put(&two, good.segment[1].data, good.segment[1].len);
	buf_put(&next, good.last_next.data, good.last_next.len);
	struct buf *files[] = {&one, &two, &next};
	for (int i = 0; i < 4 && cur_left(c); i++)
		change(c, files[fuzz_u8(c) % 3]);
	put("00000001.seg", &one);
	put("00000002.seg", &two);
	put("next", &next);
	check(&v);
	/* No change to the log goes unseen. */
	bool unchanged = same(&one, &good.segment[0]) && same(&two, &good.segment[1]);
	if (unchanged && same(&next, &good.last_next))
		FUZZ_CHECK(v.state == AUDIT_INTACT && v.segments == 2);
	if (!unchanged)
		FUZZ_CHECK(v.state != AUDIT_INTACT);
}

/* Header fields from the input, signed by the right key, and records sealed under the segment's. */
static void sealed_segment(struct cur *c)
{
	struct audit_header h = {.number = 1, .first_sequence = 1, .auditors = 1};
	uint8_t header[AUDIT_HEADER_LEN], what = fuzz_u8(c);
	struct audit_verdict v;
	struct audit_chain chain;
	AUTO_BUF file = {0};
	memcpy(h.store_uuid, fuzz_owner.store_uuid, CRYPTO_ID_LEN);
	memcpy(h.tenant_uuid, fuzz_owner.tenant_uuid, CRYPTO_ID_LEN);
	struct secret *key = secret_random(KEY_LEN);
	FUZZ_CHECK(key && keyring_auditors(fuzz_keyring(), h.auditor) == 1);
	FUZZ_CHECK(crypto_box_seal_to(h.auditor[0], key, h.box[0]) == 0);
	if (what & 1) {
		h.flags = fuzz_u8(c);
		h.created_ns = fuzz_u64(c);
		h.first_sequence = fuzz_u64(c);
		h.pred_len = fuzz_u64(c);
		h.auditors = fuzz_u8(c) % (AUDIT_AUDITORS_MAX + 1);
	}
	if (what & 2)
		fuzz_bytes(c, h.next_public, KEY_LEN);
	audit_segment_header_pack(&h, good.next.signing, header);
	buf_put(&file, header, sizeof(header));
	FUZZ_CHECK(audit_segment_chain_init(&chain, &h, header, key) == 0);
	for (unsigned i = 0; i < RECORDS && cur_left(c); i++) {
		size_t len;
		bool end = fuzz_u8(c) & 1;
		AUTO_FREE char *json = fuzz_part(c, 4000, &len);
		AUTO_FREE uint8_t *frame = calloc(1, AUDIT_HEAD_LEN + len + AUDIT_FRAME_EXTRA);
		FUZZ_CHECK(frame);
		memcpy(frame + AUDIT_HEAD_LEN + AUDIT_FRAME_LEN, json, len);
		int r = audit_segment_seal(&chain, frame + AUDIT_HEAD_LEN, len, end);
		FUZZ_CHECK(r == (len ? 0 : -EMSGSIZE));
		if (r < 0)
			break;
		audit_segment_advance(&chain, frame + AUDIT_HEAD_LEN, len + AUDIT_FRAME_EXTRA);
		buf_put(&file, frame + AUDIT_HEAD_LEN, len + AUDIT_FRAME_EXTRA);
	}
	audit_segment_chain_done(&chain);
	put("00000001.seg", &file);
	put("next", &good.first_next);
	fuzz_unlink(good.dir, "00000002.seg");
	check(&v);
	FUZZ_CHECK(v.segments == 1);
}

static void any_segment(struct cur *c)
{
	struct audit_verdict v;
	AUTO_BUF file = {0};
	struct audit_header h;
	struct audit_end end;
	size_t len;
	AUTO_FREE char *bytes = fuzz_rest(c, &len);
	buf_put(&file, bytes, len);
	audit_segment_scan((uint8_t *)bytes, len, &end);
	FUZZ_CHECK(
		end.length == len && memcmp(bytes, file.data ? (char *)file.data : "", len) == 0);
	if (len >= AUDIT_HEADER_LEN && audit_segment_header_parse((uint8_t *)bytes, &h) == 0)
		FUZZ_CHECK(h.auditors <= AUDIT_AUDITORS_MAX);
	put("00000001.seg", &file);
	put("next", &good.first_next);
	fuzz_unlink(good.dir, "00000002.seg");
	check(&v);
	FUZZ_CHECK(v.state != AUDIT_INTACT && v.records == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	make_good();
	switch (fuzz_u8(&c) % 3) {
	case 0:
		changed_log(&c);
		break;
	case 1:
		sealed_segment(&c);
		break;
	default:
		any_segment(&c);
	}
	return 0;
}

static void put_record(struct buf *b, bool end, const char *json)
{
	buf_put8(b, end);
	fuzz_put_part(b, json, strlen(json));
}

void fuzz_seeds(void)
{
	AUTO_BUF b = {0};
	make_good();
	fuzz_seed("unchanged", "\0", 1);
	fuzz_seed("flip-header", "\0\0\0\1\20\0", 6);
	fuzz_seed("flip-record", "\0\0\0\1\40\20", 6);
	fuzz_seed("cut", "\0\1\1\0\200\20", 6);
	fuzz_seed("append", "\0\1\2\3\0\0abcd", 10);
	fuzz_seed("zero", "\0\0\3\0\100\20", 6);
	fuzz_seed("next", "\0\2\0\1\60\0", 6);
	buf_put8(&b, 1);
	buf_put8(&b, 0);
	put_record(&b, false,
		"{\"n\":1,\"t\":5,\"kind\":\"mount\",\"allowed\":true,\"uid\":0,\"gid\":0}");
	put_record(&b, false,
		"{\"n\":2,\"t\":6,\"kind\":\"access\",\"op\":\"open\",\"allowed\":false,\"path\":"
		"\"/a\"}");
	put_record(&b, true, "{\"n\":3,\"t\":7,\"kind\":\"end\"}");
	fuzz_seed("sealed", b.data, b.len);
	buf_reset(&b);
	buf_put8(&b, 1);
	buf_put8(&b, 3);
	buf_put8(&b, AUDIT_PRED_ALTERED);
	buf_put64(&b, 7);
	buf_put64(&b, 9);
	buf_put64(&b, 5000);
	buf_put8(&b, 1);
	buf_put(&b, "next public key, thirty-two bytes", KEY_LEN);
	put_record(&b, false, "[]");
	put_record(&b, false, "{\"n\":-1,\"t\":0,\"kind\":\"heartbeat\",\"head\":\"AAAA\"}");
	fuzz_seed("sealed-fields", b.data, b.len);
	buf_reset(&b);
	buf_put8(&b, 2);
	buf_put(&b, good.segment[0].data, good.segment[0].len);
	b.data[10] ^= 1;
	fuzz_seed("segment", b.data, b.len);
}
