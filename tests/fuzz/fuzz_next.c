/*
 * audit/next. Input: kind 0: the file's bytes; kind 1: the fields of two slots, which the store
 * seals.
 */
#include "fs/gate/audit_next.h"
#include "tests/fuzz/fuzz.h"

#define FILE_LEN (4096 + 512)

static void check_found(const struct audit_next *n)
{
	FUZZ_CHECK(n->signing && secret_len(n->signing) == 64 && n->slot <= 1);
	FUZZ_CHECK(n->stale == -1 || n->stale == !n->slot);
	FUZZ_CHECK(!n->retiring);
}

static void any_bytes(int dir, struct cur *c)
{
	static uint8_t bytes[FILE_LEN + 1000];
	AUTO(audit_next_auto) struct audit_next n = {0};
	struct err e = {0};
	size_t len = cur_left(c) < sizeof(bytes) ? cur_left(c) : sizeof(bytes);
	fuzz_bytes(c, bytes, len);
	fuzz_write(dir, "next", bytes, len);
	int r = audit_next_load(lower_posix(), dir, fuzz_keyring(), &n, &e);
	FUZZ_CHECK(r == 0 || (r == -EBADMSG && len >= FILE_LEN) || (r == -EIO && len < FILE_LEN));
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	if (r == 0)
		check_found(&n);
	else
		FUZZ_CHECK(!n.signing);
}

static struct audit_next fields(struct cur *c)
{
	struct audit_next n = {.stale = -1};
	n.number = (uint32_t)fuzz_u64(c);
	n.ended = fuzz_u8(c) & 1;
	n.pred_len = fuzz_u64(c);
	fuzz_bytes(c, n.pred_head, sizeof(n.pred_head));
	n.signing = secret_new(64);
	FUZZ_CHECK(n.signing);
	fuzz_bytes(c, secret_bytes(n.signing), 64);
	return n;
}

/* What was stored last comes back, unless the segment of the other does not exist yet. */
static void sealed(int dir, struct cur *c)
{
	struct lower *l = lower_posix();
	const struct keyring *k = fuzz_keyring();
	struct err e = {0};
	fuzz_unlink(dir, "next");
	AUTO(audit_next_auto) struct audit_next first = fields(c);
	AUTO(audit_next_auto) struct audit_next second = fields(c);
	AUTO(audit_next_auto) struct audit_next n = {0};
	AUTO(audit_next_auto) struct audit_next m = {0};
	FUZZ_CHECK(audit_next_create(l, dir, k, &first) == 0);
	FUZZ_CHECK(audit_next_load(l, dir, k, &n, &e) == 0);
	FUZZ_CHECK(
		n.number == first.number && n.ended == first.ended && n.pred_len == first.pred_len);
	FUZZ_CHECK(n.slot == 0 && n.stale == -1 && n.version == 1 &&
		   secret_equal(n.signing, first.signing));
	second.slot = first.slot;
	second.version = first.version;
	FUZZ_CHECK(audit_next_store(l, dir, k, &second) == 0 && second.slot == 1);
	FUZZ_CHECK(audit_next_load(l, dir, k, &m, &e) == 0);
	check_found(&m);
	FUZZ_CHECK(m.stale >= 0);
	const struct audit_next *expected = first.number == second.number ? &second : &first;
	FUZZ_CHECK(m.number == expected->number && secret_equal(m.signing, expected->signing));
	FUZZ_CHECK(memcmp(m.pred_head, expected->pred_head, AUDIT_HEAD_LEN) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	int dir = fuzz_place();
	if (fuzz_u8(&c) & 1)
		sealed(dir, &c);
	else
		any_bytes(dir, &c);
	return 0;
}

void fuzz_seeds(void)
{
	uint8_t bytes[1 + FILE_LEN] = {1, 2, 3};
	fuzz_seed("fields", bytes, 250);
	int dir = fuzz_place();
	struct cur c = {bytes, bytes + 200};
	AUTO(audit_next_auto) struct audit_next n = fields(&c);
	FUZZ_CHECK(audit_next_create(lower_posix(), dir, fuzz_keyring(), &n) == 0);
	for (int i = 0; i < 2; i++) {
		AUTO_CLOSE fd = openat(dir, "next", O_RDONLY | O_CLOEXEC);
		bytes[0] = 0;
		FUZZ_CHECK(read(fd, bytes + 1, FILE_LEN) == FILE_LEN);
		/* What lies between the slots does not count. */
		memset(bytes + 1 + 512, 0, 4096 - 512);
		fuzz_seed(i ? "two" : "one", bytes, sizeof(bytes));
		FUZZ_CHECK(audit_next_store(lower_posix(), dir, fuzz_keyring(), &n) == 0);
	}
}
