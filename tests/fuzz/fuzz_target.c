/*
 * Link targets and their continuations. Input: kind 0: the entry's text, then of each sidecar;
 * kind 1: plaintext that the store seals itself, and a bit to flip; kind 2: plaintext sealed by the
 * harness under any epoch.
 */
#include "fs/store/tree_internal.h"
#include "tests/fuzz/fuzz.h"

#define LOWER "l"
#define SIDECARS 6
#define CHUNK 1000
#define HEAD 18 /* epoch, salt */

static int read_target(struct dir *d, char *target)
{
	struct stat st;
	struct tree_tail tail;
	memset(target, 0, TREE_TARGET_MAX);
	FUZZ_CHECK(fstatat(d->fd, LOWER, &st, AT_SYMLINK_NOFOLLOW) == 0);
	tree_target_tail(d, LOWER, &st, &tail);
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
		tree_target_tail(d, LOWER, &st, &tail);
	tree_target_forget(d, &tail);
	fuzz_unlink(d->fd, LOWER);
}

/* The sidecars' names follow from the salt in the entry's text. */
static void lay_out(struct dir *d, const char *const texts[SIDECARS + 1], const size_t *lens)
{
	uint8_t head[24];
	char base[24] = "~", name[40];
	if (!fuzz_link(d->fd, LOWER, texts[0], lens[0]))
		return;
	if (lens[0] < 32 || crypto_unb64(texts[0], 32, head, sizeof(head)) != 24)
		return;
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
	lay_out(d, (const char *const *)texts, lens);
	if (lens[0] > 0 && !memchr(texts[0], 0, lens[0]))
		(void)read_target(d, target);
	for (int i = 0; i <= SIDECARS; i++)
		free(texts[i]);
}

/* What was made comes back, under a second directory's name for its sidecars, too. */
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
	lay_out(d, texts, lens);
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
	if (n > 0)
		fuzz_put_part(b, text, (size_t)n);
}

/* The texts of a link that the store made. */
static void seed_made(const char *label, size_t len)
{
	struct dir *d = fuzz_tree()->root;
	struct stat st;
	struct tree_tail tail;
	AUTO_BUF b = {0};
	char plain[TREE_TARGET_MAX + 1], name[40];
	memset(plain, 'a', len);
	plain[len] = 0;
	FUZZ_CHECK(tree_target_make(d, LOWER, plain, NULL) == 0);
	FUZZ_CHECK(fstatat(d->fd, LOWER, &st, AT_SYMLINK_NOFOLLOW) == 0);
	tree_target_tail(d, LOWER, &st, &tail);
	buf_put8(&b, 0);
	put_link(&b, d->fd, LOWER);
	for (int i = 0; i < SIDECARS; i++) {
		snprintf(name, sizeof(name), "%s.%d", tail.base, i);
		put_link(&b, d->fd, name);
	}
	fuzz_seed(label, b.data, b.len);
	remove_all(d);
}

void fuzz_seeds(void)
{
	seed_made("short", 10);
	seed_made("one-sidecar", 1000);
	seed_made("longest", TREE_TARGET_MAX);
	fuzz_seed("made", "\1\0/etc/passwd", 13);
	fuzz_seed("made-long",
		"\1\77abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz", 64);
	fuzz_seed("sealed", "\2\0../x", 6);
	fuzz_seed("sealed-epoch", "\2\1\2\0../x", 8);
	fuzz_seed("sealed-longest", "\2\2\377\17x", 5);
	fuzz_seed("sealed-too-long", "\2\2\0\20x", 5);
}
