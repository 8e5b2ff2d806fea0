/*
 * Sealed extended attributes of a directory. Input: kind, part (lower name behind "user."), rest
 * (lower value) for kind 0; part (plain name), rest (plain value) for kind 1, which sets, reads and
 * then changes one bit; kind 2: a body sealed by the harness.
 */
#include "fs/store/xattr.h"
#include "tests/fuzz/fuzz.h"

#define VALUE_MAX 2000

/* A lower filesystem with one attribute. */
static struct {
	struct lower base;
	struct lower_ops ops;
	char name[256]; /* "": there is none */
	uint8_t value[70000];
	size_t len;
} disk;

static ssize_t give(const void *bytes, size_t len, void *ret, size_t size)
{
	if (size && size < len)
		return -ERANGE;
	if (size && len)
		memcpy(ret, bytes, len);
	return (ssize_t)len;
}

static ssize_t get(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	(void)l, (void)fd;
	return disk.name[0] && !strcmp(name, disk.name) ? give(disk.value, disk.len, ret, size)
							: -ENODATA;
}

static ssize_t list(struct lower *l, int fd, char *ret, size_t size)
{
	(void)l, (void)fd;
	return disk.name[0] ? give(disk.name, strlen(disk.name) + 1, ret, size) : 0;
}

static int set(struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	(void)l, (void)fd, (void)flags;
	FUZZ_CHECK(strlen(name) < sizeof(disk.name) && size <= sizeof(disk.value));
	snprintf(disk.name, sizeof(disk.name), "%s", name);
	memcpy(disk.value, value, size);
	disk.len = size;
	return 0;
}

static struct dir *place(void)
{
	struct fuzz_tree *t = fuzz_tree();
	disk.ops = *lower_posix()->ops;
	disk.ops.fgetxattr = get;
	disk.ops.flistxattr = list;
	disk.ops.fsetxattr = set;
	disk.base.ops = &disk.ops;
	t->store.lower = &disk.base;
	disk.name[0] = 0;
	return t->root;
}

static void read_all(struct dir *d)
{
	static char names[70000];
	static uint8_t value[70000];
	ssize_t n = xattr_list(NULL, d, names, sizeof(names));
	FUZZ_CHECK(n >= 0 || n == -EBADMSG || n == -EPROTONOSUPPORT);
	FUZZ_CHECK(n < 0 || xattr_list(NULL, d, NULL, 0) == n);
	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(names + at) + 1) {
		FUZZ_CHECK(strncmp(names + at, "user.", 5) == 0 ||
			   strncmp(names + at, "system.", 7) == 0);
		ssize_t len = xattr_get(NULL, d, names + at, value, sizeof(value));
		FUZZ_CHECK(
			len >= 0 || len == -EBADMSG || len == -EPROTONOSUPPORT || len == -ENODATA);
		if (len > 0)
			FUZZ_CHECK(xattr_get(NULL, d, names + at, value, (size_t)len - 1) ==
				   (len > 1 ? -ERANGE : len));
	}
}

static void any_bytes(struct dir *d, struct cur *c)
{
	size_t name_len, len;
	AUTO_FREE char *name = fuzz_part(c, 200, &name_len);
	AUTO_FREE char *value = fuzz_rest(c, &len);
	snprintf(disk.name, sizeof(disk.name), "user.%s", name);
	disk.len = len < sizeof(disk.value) ? len : sizeof(disk.value);
	memcpy(disk.value, value, disk.len);
	read_all(d);
}

static void set_one(struct dir *d, struct cur *c)
{
	size_t name_len, len;
	char full[300];
	uint8_t out[VALUE_MAX + 1];
	uint16_t flip = fuzz_u16(c);
	AUTO_FREE char *name = fuzz_part(c, 260, &name_len);
	AUTO_FREE char *value = fuzz_part(c, VALUE_MAX, &len);
	snprintf(full, sizeof(full), "user.%s", name);
	int r = xattr_set(NULL, d, full, value, len, 0);
	FUZZ_CHECK(r == (strlen(full) > 255 ? -ERANGE : !name[0] ? -EINVAL : 0));
	if (r < 0)
		return;
	FUZZ_CHECK(xattr_get(NULL, d, full, out, sizeof(out)) == (ssize_t)len);
	FUZZ_CHECK(memcmp(out, value, len) == 0);
	char names[300];
	FUZZ_CHECK(xattr_list(NULL, d, names, sizeof(names)) == (ssize_t)strlen(full) + 1);
	FUZZ_CHECK(strcmp(names, full) == 0);
	disk.value[flip / 8 % disk.len] ^= (uint8_t)(1u << flip % 8);
	FUZZ_CHECK(xattr_get(NULL, d, full, out, sizeof(out)) == -EBADMSG);
	read_all(d);
}

/* docs/format.md, "Extended attributes": any body under the right key and a long name's place. */
static void sealed_body(struct dir *d, struct cur *c)
{
	size_t len;
	uint8_t hash[32], ad[100], salt[16] = {1};
	char suffix[64] = "~";
	fuzz_bytes(c, hash, sizeof(hash));
	AUTO_FREE char *body = fuzz_part(c, VALUE_MAX, &len);
	if (len == 0)
		return;
	AUTO_SECRET *value_key = crypto_derive(d->name_key, "tenantfs xattr value", NULL, 0, 64);
	AUTO_SECRET *name_key = crypto_derive(d->name_key, "tenantfs xattr name", NULL, 0, 64);
	FUZZ_CHECK(value_key && name_key);
	/* The body's own name, sealed in place where there is room for it. */
	size_t name_len = len > 3 ? bytes_get16((uint8_t *)body + 1) : 0;
	if (name_len > CRYPTO_SIV_LEN && name_len + 3 <= len) {
		AUTO_FREE char *plain = malloc(name_len);
		FUZZ_CHECK(plain);
		memcpy(plain, body + 3 + CRYPTO_SIV_LEN, name_len - CRYPTO_SIV_LEN);
		FUZZ_CHECK(crypto_siv_seal(name_key, "xattr", 5, plain, name_len - CRYPTO_SIV_LEN,
				   (uint8_t *)body + 3) == 0);
		crypto_digest(body + 3, name_len, hash, sizeof(hash));
	}
	crypto_b64(hash, sizeof(hash), suffix + 1);
	memcpy(ad, suffix, strlen(suffix));
	memcpy(ad + strlen(suffix), salt, sizeof(salt));
	memcpy(disk.value, salt, sizeof(salt));
	FUZZ_CHECK(crypto_siv_seal(value_key, ad, strlen(suffix) + sizeof(salt), body, len,
			   disk.value + sizeof(salt)) == 0);
	disk.len = sizeof(salt) + CRYPTO_SIV_LEN + len;
	snprintf(disk.name, sizeof(disk.name), "user.tfs.%s", suffix);
	read_all(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	struct dir *d = place();
	switch (fuzz_u8(&c) % 3) {
	case 0:
		any_bytes(d, &c);
		break;
	case 1:
		set_one(d, &c);
		break;
	default:
		sealed_body(d, &c);
	}
	return 0;
}

static void seed_disk(const char *label, struct dir *d, const char *name, const char *value)
{
	AUTO_BUF b = {0};
	FUZZ_CHECK(xattr_set(NULL, d, name, value, strlen(value), 0) == 0);
	buf_put8(&b, 0);
	fuzz_put_part(&b, disk.name + 5, strlen(disk.name) - 5);
	buf_put(&b, disk.value, disk.len);
	fuzz_seed(label, b.data, b.len);
}

void fuzz_seeds(void)
{
	char name[256] = "user.";
	struct dir *d = place();
	AUTO_BUF b = {0};
	seed_disk("short", d, "user.a", "value");
	memset(name + 5, 'n', 250);
	name[255] = 0;
	seed_disk("long", d, name, "value");
	fuzz_seed("set", "\1\0\0\5\0hello\5\0world", 17);
	buf_put8(&b, 1);
	buf_put16(&b, 77);
	fuzz_put_part(&b, name + 5, 250);
	fuzz_put_part(&b, "v", 1);
	fuzz_seed("set-long", b.data, b.len);
	buf_reset(&b);
	buf_put8(&b, 2);
	buf_put(&b, fuzz_owner.store_uuid, 16);
	buf_put(&b, fuzz_owner.store_uuid, 16);
	uint8_t body[300] = {1, 250, 0};
	memset(body + 3, 'p', 297);
	fuzz_put_part(&b, body, sizeof(body));
	fuzz_seed("body", b.data, b.len);
}
