/* Before our own headers, which keep its names from being used. */
#include <sodium.h>

#include "tests/fuzz/fuzz.h"

#include <ftw.h>

_Noreturn void fuzz_fail(const char *file, int line, const char *condition)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

/* SipHash of a counter: no need to be secret, only to be the same again. */
static uint64_t counter;

static void random_bytes(void *const bytes, const size_t len)
{
	static const unsigned char key[crypto_shorthash_KEYBYTES] = "tenantfs-fuzz";
	unsigned char *at = bytes, out[8];
	for (size_t done = 0; done < len; done += sizeof(out)) {
		counter++;
		crypto_shorthash(out, (const unsigned char *)&counter, sizeof(counter), key);
		memcpy(at + done, out, len - done < sizeof(out) ? len - done : sizeof(out));
	}
}

static uint32_t random_u32(void)
{
	uint32_t v;
	random_bytes(&v, sizeof(v));
	return v;
}

static const char *random_name(void)
{
	return "fuzz";
}

void fuzz_begin(void)
{
	static randombytes_implementation implementation = {
		.implementation_name = random_name, .random = random_u32, .buf = random_bytes};
	static bool begun;
	counter = 0;
	if (begun)
		return;
	begun = true;
	randombytes_set_implementation(&implementation);
	FUZZ_CHECK(crypto_init() == 0);
}

void fuzz_bytes(struct cur *c, void *ret, size_t len)
{
	size_t n = cur_left(c) < len ? cur_left(c) : len;
	memset(ret, 0, len);
	if (n)
		memcpy(ret, cur_take(c, n), n);
}

uint8_t fuzz_u8(struct cur *c)
{
	uint8_t v;
	fuzz_bytes(c, &v, 1);
	return v;
}

uint16_t fuzz_u16(struct cur *c)
{
	uint8_t v[2];
	fuzz_bytes(c, v, sizeof(v));
	return bytes_get16(v);
}

uint64_t fuzz_u64(struct cur *c)
{
	uint8_t v[8];
	fuzz_bytes(c, v, sizeof(v));
	return bytes_get64(v);
}

static char *take(struct cur *c, size_t len)
{
	char *text = malloc(len + 1);
	FUZZ_CHECK(text);
	fuzz_bytes(c, text, len);
	text[len] = 0;
	return text;
}

char *fuzz_rest(struct cur *c, size_t *ret_len)
{
	*ret_len = cur_left(c);
	return take(c, *ret_len);
}

char *fuzz_part(struct cur *c, size_t max, size_t *ret_len)
{
	size_t len = fuzz_u16(c);
	len = len < max ? len : max;
	*ret_len = len < cur_left(c) ? len : cur_left(c);
	return take(c, *ret_len);
}

void fuzz_put_part(struct buf *b, const void *bytes, size_t len)
{
	buf_put16(b, (uint16_t)len);
	buf_put(b, bytes, len);
}

static char place_path[200];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void remove_place(void)
{
	nftw(place_path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int fuzz_place(void)
{
	static int fd = -1;
	if (fd >= 0)
		return fd;
	const char *base = getenv("TMPDIR");
	if (!base)
		base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
	snprintf(place_path, sizeof(place_path), "%.150s/tenantfs-fuzz-XXXXXX", base);
	FUZZ_CHECK(mkdtemp(place_path));
	FUZZ_CHECK(atexit(remove_place) == 0);
	fd = open(place_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	FUZZ_CHECK(fd >= 0);
	return fd;
}

const char *fuzz_place_path(void)
{
	fuzz_place();
	return place_path;
}

void fuzz_write(int dirfd, const char *name, const void *bytes, size_t len)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	FUZZ_CHECK(fd >= 0);
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);
		FUZZ_CHECK(n > 0);
		done += (size_t)n;
	}
	close(fd);
}

void fuzz_unlink(int dirfd, const char *name)
{
	FUZZ_CHECK(unlinkat(dirfd, name, 0) == 0 || errno == ENOENT);
}

bool fuzz_link(int dirfd, const char *name, const char *target, size_t len)
{
	fuzz_unlink(dirfd, name);
	if (len == 0 || len > 4095 || memchr(target, 0, len))
		return false;
	char text[4096];
	memcpy(text, target, len);
	text[len] = 0;
	FUZZ_CHECK(symlinkat(text, dirfd, name) == 0);
	return true;
}

const struct keyring_owner fuzz_owner = {{1, 2, 3}, {4, 5, 6}, "acme"};

struct keyring *fuzz_keyring(void)
{
	static struct keyring *k;
	if (k)
		return k;
	fuzz_begin();
	FUZZ_CHECK(keyring_create(&fuzz_owner, CRYPTO_AES256_GCM, &k) == 0);
	return k;
}

static void count_alarm(void *context, const struct store_alarm *alarm)
{
	struct fuzz_tree *t = context;
	FUZZ_CHECK(alarm->what && alarm->detail);
	t->alarms++;
}

struct fuzz_tree *fuzz_tree(void)
{
	static struct fuzz_tree t;
	if (t.root)
		return &t;
	int place = fuzz_place();
	FUZZ_CHECK(mkdirat(place, "root", 0700) == 0);
	FUZZ_CHECK(lower_posix_prepare() == 0 || geteuid() == 0);
	FUZZ_CHECK(store_init(&t.store, lower_posix(), fuzz_keyring(), place) == 0);
	t.store.alarm = count_alarm;
	t.store.alarm_context = &t;
	FUZZ_CHECK(dir_init(&t.store, t.store.root_fd, NULL, "") == 0);
	FUZZ_CHECK(dir_open_root(&t.store, &t.root) == 0);
	return &t;
}
