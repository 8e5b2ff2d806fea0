/*
 * Names on the disk: any entry with any sidecar, and sealed names of any plaintext.
 * Input: kind, part 1, part 2. Kind 0: lower name, sidecar's target. Kind 1: plaintext.
 */
#include "fs/store/name.h"
#include "tests/fuzz/fuzz.h"

/* What opens is exactly what would be sealed. */
static void check_opened(const struct dir *d, const char *lower, const char *plain)
{
	struct name again;
	FUZZ_CHECK(strlen(plain) >= 1 && strlen(plain) <= NAME_PLAIN_MAX && !strchr(plain, '/'));
	FUZZ_CHECK(name_seal(d, plain, &again) == 0);
	FUZZ_CHECK(strcmp(again.lower, lower) == 0);
	FUZZ_CHECK(!name_is_internal(lower));
}

static void sidecar_of(const char *lower, char ret[static 300])
{
	snprintf(ret, 300, "%s.n", lower);
}

static void open_any(struct dir *d, struct cur *c)
{
	size_t lower_len, target_len;
	char plain[NAME_PLAIN_MAX + 1], sidecar[300];
	AUTO_FREE char *lower = fuzz_part(c, 255, &lower_len);
	AUTO_FREE char *target = fuzz_rest(c, &target_len);
	if (strchr(lower, '/') || !lower[0])
		return; /* no directory entry has such a name */
	(void)name_is_internal(lower);
	sidecar_of(lower, sidecar);
	bool linked = lower[0] == '~' && strlen(sidecar) < 256 &&
		      fuzz_link(d->fd, sidecar, target, target_len);
	memset(plain, 0, sizeof(plain));
	int r = name_open(d, lower, plain);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || (r == -ENOENT && !linked));
	if (r == 0)
		check_opened(d, lower, plain);
	else
		FUZZ_CHECK(plain[0] == 0);
	if (linked)
		fuzz_unlink(d->fd, sidecar);
}

/* Sealed under the right key, but perhaps never by name_seal. */
static void open_sealed(struct dir *d, struct cur *c)
{
	size_t len;
	uint8_t sealed[300 + CRYPTO_SIV_LEN];
	char text[512], lower[256], sidecar[300], plain[NAME_PLAIN_MAX + 1];
	AUTO_FREE char *bytes = fuzz_part(c, 300, &len);
	if (len == 0)
		return;
	FUZZ_CHECK(crypto_siv_seal(d->name_key, d->id, DIR_ID_LEN, bytes, len, sealed) == 0);
	len += CRYPTO_SIV_LEN;
	crypto_b64(sealed, len, text);
	bool long_form = fuzz_u8(c) & 1 || strlen(text) > 255;
	if (long_form) {
		uint8_t hash[32];
		crypto_digest(sealed, len, hash, sizeof(hash));
		lower[0] = '~';
		crypto_b64(hash, sizeof(hash), lower + 1);
		sidecar_of(lower, sidecar);
		FUZZ_CHECK(fuzz_link(d->fd, sidecar, text, strlen(text)));
	} else {
		memcpy(lower, text, strlen(text) + 1);
	}
	int r = name_open(d, lower, plain);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r == 0)
		check_opened(d, lower, plain);
	if (long_form)
		fuzz_unlink(d->fd, sidecar);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	struct dir *d = fuzz_tree()->root;
	if (fuzz_u8(&c) & 1)
		open_sealed(d, &c);
	else
		open_any(d, &c);
	return 0;
}

static void seed(const char *label, uint8_t kind, const void *a, size_t a_len, const char *b)
{
	AUTO_BUF out = {0};
	buf_put8(&out, kind);
	fuzz_put_part(&out, a, a_len);
	buf_str(&out, b);
	fuzz_seed(label, out.data, out.len);
}

void fuzz_seeds(void)
{
	char text[256];
	struct name n;
	struct dir *d = fuzz_tree()->root;
	FUZZ_CHECK(name_seal(d, "letter.txt", &n) == 0);
	seed("short", 0, n.lower, strlen(n.lower), "");
	memset(text, 'x', 255);
	text[255] = 0;
	FUZZ_CHECK(name_seal(d, text, &n) == 0);
	seed("long", 0, n.lower, strlen(n.lower), n.sidecar);
	struct name other;
	text[0] = 'y';
	FUZZ_CHECK(name_seal(d, text, &other) == 0);
	seed("foreign-sidecar", 0, n.lower, strlen(n.lower), other.sidecar);
	seed("long-alone", 0, n.lower, strlen(n.lower), "");
	seed("record", 0, ".dir", 4, "");
	seed("sidecar", 0, "~abc.n", 6, "");
	seed("plain", 1, "letter.txt", 10, "");
	seed("plain-long-form", 1, "letter.txt", 10, "\1");
	seed("plain-longest", 1, text, 255, "");
	seed("plain-dot", 1, ".", 1, "");
	seed("plain-dots", 1, "..", 2, "");
	seed("plain-slash", 1, "a/b", 3, "");
	seed("plain-zero", 1, "a\0b", 3, "");
}
