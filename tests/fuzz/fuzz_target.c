/*
 * Link targets, their continuations and bindings. Input: kind 0: the entry's text, then of each
 * sidecar, then of the binding's record (none: a right one); kind 1: plaintext that the store seals
 * itself; kind 2: plaintext sealed by the harness under any epoch.
 */
#include "fs/store/tree_internal.h"
#include "tests/fuzz/fuzz.h"

#define LOWER "l"
#define SIDECARS 6
#define CHUNK 1000
#define HEAD 18 /* epoch, salt */
#define BINDING 16
#define OTHER "m" /* a name to which nothing is bound */

/* docs/format.md, "Links": name of the record, and the binding in it. */
static void record_name(char ret[static 32])
{
	uint8_t hash[16];
	crypto_digest(LOWER, strlen(LOWER), hash, sizeof(hash));
	ret[0] = '~';
	crypto_b64(hash, sizeof(hash), ret + 1);
	memcpy(ret + strlen(ret), ".b", 3);
}

static bool binding(const struct dir *d, const uint8_t *head, uint8_t ret[static BINDING])
{
	uint8_t in[HEAD + DIR_ID_LEN + sizeof(LOWER) - 1];
	const struct secret *nmk = keyring_nmk(d->store->keys, bytes_get16(head));
	if (!nmk)
		return false;
	AUTO_SECRET *key = crypto_derive(nmk, "link binding", "", 0, 32);
	FUZZ_CHECK(key);
	memcpy(in, head, HEAD);
	memcpy(in + HEAD, d->id, DIR_ID_LEN);
	memcpy(in + HEAD + DIR_ID_LEN, LOWER, sizeof(LOWER) - 1);
	crypto_mac(key, in, sizeof(in), ret, BINDING);
	return true;
}

static int read_target(struct dir *d, char *target)
{
	struct stat st;
	struct tree_tail tail;
	memset(target, 0, TREE_TARGET_MAX);
	FUZZ_CHECK(fstatat(d->fd, LOWER, &st, AT_SYMLINK_NOFOLLOW) == 0);
	FUZZ_CHECK(tree_target_tail(d, LOWER, &st, &tail) == 0);
	uint64_t expected = tree_target_length(d, LOWER, &st);
	ssize_t n = tree_target_read(d, LOWER, target);
	FUZZ_CHECK(n == -EBADMSG || (n > 0 && n <= TREE_TARGET_MAX));
	if (n > 0)
		FUZZ_CHECK((uint64_t)n == expected);
	return (int)n;
}

static void remove_all(struct dir *d)
{
	struct stat st;
	struct tree_tail tail = {""};
	if (fstatat(d->fd, LOWER, &st, AT_SYMLINK_NOFOLLOW) == 0)
		FUZZ_CHECK(tree_target_tail(d, LOWER, &st, &tail) == 0);
	tree_target_forget(d, &tail);
	fuzz_unlink(d->fd, LOWER);
	tree_bind_forget(d, LOWER);
}

/* The sidecars' names follow from the salt in the entry's text. record NULL: a right one, where
 * there can be one. */
static void lay_out(struct dir *d, const char *const texts[SIDECARS + 1], const size_t *lens,
	const char *record, size_t record_len)
{
	uint8_t head[24], bound[BINDING];
	char base[24] = "~", name[40], right[32];
	record_name(name);
	if (record)
		(void)fuzz_link(d->fd, name, record, record_len);
	if (!fuzz_link(d->fd, LOWER, texts[0], lens[0]))
		return;
	if (lens[0] < 32 || crypto_unb64(texts[0], 32, head, sizeof(head)) != 24)
		return;
	if (!record && binding(d, head, bound)) {
		crypto_b64(bound, BINDING, right);
		(void)fuzz_link(d->fd, name, right, strlen(right));
	}
	crypto_b64(head + 2, 16, base + 1);
	for (int i = 0; i < SIDECARS; i++) {
		snprintf(name, sizeof(name), "%s.%d", base, i);
		(void)fuzz_link(d->fd, name, texts[i + 1], lens[i + 1]);
	}
}

static void any_texts(struct dir *d, struct cur *c, char *target)
{
	char *texts[SIDECARS + 1];
	size_t lens[SIDECARS + 1];
	for (int i = 0; i <= SIDECARS; i++)
		texts[i] = fuzz_part(c, 1100, &lens[i]);
	size_t record_len;
	AUTO_FREE char *record = fuzz_part(c, 100, &record_len);
	lay_out(d, (const char *const *)texts, lens, record_len ? record : NULL, record_len);
	if (lens[0] > 0 && !memchr(texts[0], 0, lens[0]))
		(void)read_target(d, target);
	for (int i = 0; i <= SIDECARS; i++)
		free(texts[i]);
}

/* What was made comes back under its own name, and under no other. */
static void made(struct dir *d, struct cur *c, char *target)
{
	size_t len;
	uint8_t times = fuzz_u8(c);
	AUTO_FREE char *plain = fuzz_rest(c, &len);
	AUTO_BUF b = {0};
	for (unsigned i = 0; i <= times % 64 && plain[0]; i++)
		buf_str(&b, plain);
	if (!b.len)
		return;
	const char *text = (const char *)b.data;
	int r = tree_target_make(d, LOWER, text, NULL);
	FUZZ_CHECK(r == (b.len > TREE_TARGET_MAX ? -ENAMETOOLONG : 0));
	if (r < 0)
		return;
	FUZZ_CHECK(read_target(d, target) == (int)b.len);
	FUZZ_CHECK(memcmp(target, text, b.len) == 0);
	FUZZ_CHECK(renameat(d->fd, LOWER, d->fd, OTHER) == 0);
	FUZZ_CHECK(tree_target_read(d, OTHER, target) == -EBADMSG);
	FUZZ_CHECK(renameat(d->fd, OTHER, d->fd, LOWER) == 0);
}

/* Text of a target sealed as docs/format.md says, cut into chunks. */
static void sealed(struct dir *d, struct cur *c, char *target)
{
	static char pieces[SIDECARS + 1][CHUNK + 2];
	const char *texts[SIDECARS + 1];
	size_t lens[SIDECARS + 1] = {0}, plain_len;
	uint8_t what = fuzz_u8(c);
	uint16_t epoch = what & 1 ? fuzz_u16(c) : 1, repeat = what & 2 ? fuzz_u16(c) : 1;
	AUTO_FREE char *plain = fuzz_rest(c, &plain_len);
	size_t len = plain_len * repeat;
	if (len == 0 || len > 4400)
		return;
	AUTO_FREE uint8_t *bytes = malloc(HEAD + CRYPTO_SIV_LEN + len);
	AUTO_FREE uint8_t *all = malloc(len);
	FUZZ_CHECK(bytes && all);
	for (size_t i = 0; i < len; i++)
		all[i] = (uint8_t)plain[i % plain_len];
	bytes_put16(bytes, epoch);
	memset(bytes + 2, 9, 16);
	AUTO_SECRET *key = crypto_derive(keyring_nmk(d->store->keys, 1), "link", "", 0, 64);
	FUZZ_CHECK(key && crypto_siv_seal(key, bytes + 2, 16, all, len, bytes + HEAD) == 0);
	AUTO_FREE char *text = malloc(crypto_b64_len(HEAD + CRYPTO_SIV_LEN + len) + 1);
	FUZZ_CHECK(text);
	crypto_b64(bytes, HEAD + CRYPTO_SIV_LEN + len, text);
	size_t left = strlen(text);
	for (int i = 0; i <= SIDECARS; i++) {
		size_t n = left > CHUNK ? CHUNK : left;
		memcpy(pieces[i], text + strlen(text) - left, n);
		left -= n;
		if (left)
			pieces[i][n++] = '.';
		texts[i] = pieces[i];
		lens[i] = n;
	}
	lay_out(d, texts, lens, NULL, 0);
	int r = read_target(d, target);
	FUZZ_CHECK((r == (int)len) == (epoch == 1 && len <= TREE_TARGET_MAX));
	if (r > 0)
		FUZZ_CHECK(memcmp(target, all, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static char target[TREE_TARGET_MAX];
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	struct dir *d = fuzz_tree()->root;
	switch (fuzz_u8(&c) % 3) {
	case 0:
		any_texts(d, &c, target);
		break;
	case 1:
		made(d, &c, target);
		break;
	default:
		sealed(d, &c, target);
	}
	remove_all(d);
	return 0;
}

static void put_link(struct buf *b, int fd, const char *name)
{
	char text[1100];
	ssize_t n = readlinkat(fd, name, text, sizeof(text));
	fuzz_put_part(b, text, n > 0 ? (size_t)n : 0);
}

/* The texts of a link that the store made. other: of a name that is bound to another link, too. */
static void seed_made(const char *label, size_t len, bool other)
{
	struct dir *d = fuzz_tree()->root;
	struct stat st;
	struct tree_tail tail;
	struct tree_head head;
	AUTO_BUF b = {0};
	char plain[TREE_TARGET_MAX + 1], name[40];
	memset(plain, 'a', len);
	plain[len] = 0;
	FUZZ_CHECK(tree_target_make(d, LOWER, plain, NULL) == 0);
	FUZZ_CHECK(fstatat(d->fd, LOWER, &st, AT_SYMLINK_NOFOLLOW) == 0);
	FUZZ_CHECK(tree_target_tail(d, LOWER, &st, &tail) == 0);
	buf_put8(&b, 0);
	put_link(&b, d->fd, LOWER);
	for (int i = 0; i < SIDECARS; i++) {
		snprintf(name, sizeof(name), "%s.%d", tail.base, i);
		put_link(&b, d->fd, name);
	}
	if (other) {
		FUZZ_CHECK(tree_bind_of(d, LOWER, &head) == 0);
		struct tree_head second = head;
		second.bytes[HEAD - 1] ^= 1;
		FUZZ_CHECK(tree_bind_set(d, LOWER, &second, &head) == 0);
	}
	record_name(name);
	put_link(&b, d->fd, name);
	fuzz_seed(label, b.data, b.len);
	remove_all(d);
}

void fuzz_seeds(void)
{
	seed_made("short", 10, false);
	seed_made("one-sidecar", 1000, false);
	seed_made("two-bindings", 20, true);
	seed_made("longest", TREE_TARGET_MAX, false);
	fuzz_seed("made", "\1\0/etc/passwd", 13);
	fuzz_seed("made-long",
		"\1\77abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz", 64);
	fuzz_seed("sealed", "\2\0../x", 6);
	fuzz_seed("sealed-epoch", "\2\1\2\0../x", 8);
	fuzz_seed("sealed-longest", "\2\2\377\17x", 5);
	fuzz_seed("sealed-too-long", "\2\2\0\20x", 5);
}
