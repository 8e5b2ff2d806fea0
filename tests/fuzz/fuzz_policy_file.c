/*
 * The sealed policy. Input: kind 0: the file's bytes, which the keyring names; kind 1: the same, of
 * which the keyring knows nothing; kind 2: header and text, sealed by the harness.
 */
#include "fs/gate/policy_file.h"
#include "tests/fuzz/fuzz.h"

#define HEAD_LEN 40

static int load(int dir, struct buf *text, uint64_t *version)
{
	struct err e = {0};
	int r = policy_file_load(lower_posix(), dir, fuzz_keyring(), text, version, &e);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -ENOENT || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	FUZZ_CHECK(r == 0 || text->len == 0);
	return r;
}

static void name_in_keyring(const void *bytes, size_t len)
{
	uint8_t hash[32];
	crypto_digest(bytes, len, hash, sizeof(hash));
	keyring_set_policy_hash(fuzz_keyring(), hash);
}

static void any_bytes(int dir, struct cur *c, bool named)
{
	AUTO_BUF text = {0};
	uint64_t version = 0;
	size_t len;
	AUTO_FREE char *bytes = fuzz_rest(c, &len);
	fuzz_write(dir, "policy", bytes, len);
	name_in_keyring(bytes, named ? len : len / 2);
	int r = load(dir, &text, &version);
	if (r == 0)
		FUZZ_CHECK(named && text.len + HEAD_LEN + CRYPTO_TAG_LEN == len &&
			   version == bytes_get64((uint8_t *)bytes + 8));
}

static void sealed(int dir, struct cur *c)
{
	AUTO_BUF file = {0};
	AUTO_BUF text = {0};
	uint8_t head[HEAD_LEN] = {'T', 'F', 'S', 'P', 1, 0, 2}, ad[48], tag[CRYPTO_TAG_LEN];
	uint64_t version = 0;
	size_t len;
	if (fuzz_u8(c) & 1)
		fuzz_bytes(c, head, 8);
	fuzz_bytes(c, head + 8, sizeof(head) - 8);
	AUTO_FREE char *plain = fuzz_rest(c, &len);
	AUTO_FREE char *cipher = malloc(len + 1);
	AUTO_SECRET *key = keyring_mdk_subkey(fuzz_keyring(), "policy", false);
	FUZZ_CHECK(cipher && key);
	memcpy(ad, head, 16);
	memcpy(ad + 16, fuzz_owner.store_uuid, 16);
	memcpy(ad + 32, fuzz_owner.tenant_uuid, 16);
	FUZZ_CHECK(crypto_seal(CRYPTO_XCHACHA20_POLY1305, key, head + 16, head + 28, ad, sizeof(ad),
			   plain, len, cipher, tag) == 0);
	buf_put(&file, head, sizeof(head));
	buf_put(&file, cipher, len);
	buf_put(&file, tag, sizeof(tag));
	fuzz_write(dir, "policy", file.data, file.len);
	name_in_keyring(file.data, file.len);
	int r = load(dir, &text, &version);
	if (memcmp(head, "TFSP\1\0\2", 7) == 0)
		FUZZ_CHECK(r == 0 && text.len == len && memcmp(text.data, plain, len) == 0 &&
			   version == bytes_get64(head + 8));
	else
		FUZZ_CHECK(r == -EBADMSG || r == -EPROTONOSUPPORT);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	fuzz_begin();
	int dir = fuzz_place();
	uint8_t kind = fuzz_u8(&c) % 3;
	if (kind == 2)
		sealed(dir, &c);
	else
		any_bytes(dir, &c, kind == 0);
	return 0;
}

void fuzz_seeds(void)
{
	static const uint8_t fields[] =
		"\2\0\1\2\3\4\5\6\7\10nonce nonce nonce nonce permit a: user:m to read on /**\n";
	static const uint8_t changed[] =
		"\2\1TFSP\2\0\2\0\1\2\3\4\5\6\7\10nonce nonce nonce nonce text";
	fuzz_seed("sealed", fields, sizeof(fields) - 1);
	fuzz_seed("sealed-newer", changed, sizeof(changed) - 1);
	int dir = fuzz_place();
	struct cur c = {fields + 1, fields + sizeof(fields) - 1};
	sealed(dir, &c);
	uint8_t bytes[200] = {0};
	AUTO_CLOSE fd = openat(dir, "policy", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, bytes + 1, sizeof(bytes) - 1);
	FUZZ_CHECK(n > 0);
	fuzz_seed("named", bytes, (size_t)n + 1);
	bytes[0] = 1;
	fuzz_seed("not-named", bytes, (size_t)n + 1);
}
