/* base64url, uuids and STORE#TENANT: text from the command line and from names on the disk. */
#include "fs/store/layout.h"
#include "tests/fuzz/fuzz.h"

static void check_b64(const char *text, size_t len)
{
	AUTO_FREE uint8_t *bytes = malloc(len + 1);
	AUTO_FREE char *again = malloc(len + 8);
	FUZZ_CHECK(bytes && again);
	ssize_t n = crypto_unb64(text, len, bytes, len);
	if (n < 0) {
		FUZZ_CHECK(n == -EBADMSG);
		return;
	}
	/* Only the canonical text is taken. */
	FUZZ_CHECK(crypto_b64_len((size_t)n) == len);
	crypto_b64(bytes, (size_t)n, again);
	FUZZ_CHECK(memcmp(again, text, len) == 0 && again[len] == 0);
	if (n > 0)
		FUZZ_CHECK(crypto_unb64(text, len, bytes, (size_t)n - 1) == -EBADMSG);
}

/* Any bytes survive. */
static void check_bytes(const void *bytes, size_t len)
{
	AUTO_FREE char *text = malloc(crypto_b64_len(len) + 1);
	AUTO_FREE uint8_t *again = malloc(len + 1);
	FUZZ_CHECK(text && again);
	crypto_b64(bytes, len, text);
	FUZZ_CHECK(strlen(text) == crypto_b64_len(len));
	FUZZ_CHECK(crypto_unb64(text, strlen(text), again, len) == (ssize_t)len);
	FUZZ_CHECK(memcmp(again, bytes, len) == 0);
}

static void check_words(const char *text)
{
	uint8_t uuid[16];
	char uuid_text[LAYOUT_UUID_TEXT], store[PATH_MAX], tenant[64];
	struct err e = {0};
	if (layout_uuid_parse(text, uuid) == 0) {
		layout_uuid_text(uuid, uuid_text);
		FUZZ_CHECK(strcmp(uuid_text, text) == 0);
	}
	int r = layout_split(text, true, store, tenant, &e);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0));
	if (r == 0) {
		FUZZ_CHECK(layout_tenant_name_ok(tenant) && !strchr(tenant, '/'));
		FUZZ_CHECK(strlen(store) + 1 + strlen(tenant) == strlen(text));
	}
	int suite = layout_suite(text);
	if (suite)
		FUZZ_CHECK(strcmp(layout_suite_name((enum crypto_suite)suite), text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	size_t text_len;
	fuzz_begin();
	AUTO_FREE char *text = fuzz_rest(&c, &text_len);
	check_b64(text, text_len);
	check_bytes(text, text_len);
	check_words(text);
	return 0;
}

void fuzz_seeds(void)
{
	static const char *const texts[] = {"", "A", "AA", "AAA", "AAAA", "_-8", "AB",
		"dGVuYW50ZnM", "dGVuYW50ZnM=", "01234567-89ab-cdef-0123-456789abcdef",
		"/srv/store#acme", "#", "store#", "a#b#c", "aes-256-gcm", "xchacha20-poly1305"};
	char name[16];
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		snprintf(name, sizeof(name), "seed-%02zu", i);
		fuzz_seed(name, texts[i], strlen(texts[i]));
	}
}
