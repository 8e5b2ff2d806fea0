/* store.json, tenant.json and the lock's text. Input: kind, then parts: the three files. */
#include "fs/store/layout.h"
#include "tests/fuzz/fuzz.h"

static const char store_json[] =
	"{\"format\": 1, \"store_uuid\": \"01020300-0000-0000-0000-000000000000\"}\n";
static const char tenant_json[] =
	"{\"format\": 1, \"tenant\": \"acme\", \"tenant_uuid\": "
	"\"04050600-0000-0000-0000-000000000000\", \"suite\": \"aes-256-gcm\", "
	"\"created\": \"2026-11-22T12:00:00Z\"}\n";
static const char lock_json[] =
	"{\"pid\": 7, \"purpose\": \"mount\", \"mountpoint\": \"/srv/acme\", \"host\": \"a\", "
	"\"since\": \"2026-11-22T12:00:00Z\", \"generation\": 4}\n";

static int tenant_folder(void)
{
	static int fd = -1;
	if (fd < 0) {
		int place = fuzz_place();
		FUZZ_CHECK(mkdirat(place, "t", 0700) == 0 && mkdirat(place, "t/acme", 0700) == 0);
		fd = openat(place, "t/acme", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		FUZZ_CHECK(fd >= 0);
	}
	return fd;
}

/* One of the files: from the input, or as it should be. */
static void put(struct cur *c, bool given, int dirfd, const char *name, const char *good)
{
	size_t len;
	AUTO_FREE char *text = fuzz_part(c, LAYOUT_JSON_MAX + 100, &len);
	fuzz_write(dirfd, name, given ? text : good, given ? len : strlen(good));
}

static void check_locks(struct layout *l)
{
	struct layout other = LAYOUT_NONE;
	char clause[512];
	struct err e = {0};
	FUZZ_CHECK(layout_lock(l, "fuzz", NULL, &e) == 0);
	FUZZ_CHECK(layout_open(fuzz_place_path(), "acme", &other, &e) == 0);
	memset(clause, 1, sizeof(clause));
	FUZZ_CHECK(layout_holder(&other, clause) == 1 && memchr(clause, 0, sizeof(clause)));
	FUZZ_CHECK(strncmp(clause, "is in use by fuzz (process ", 27) == 0);
	FUZZ_CHECK(layout_lock(&other, "fuzz", NULL, &e) == -EBUSY && e.text[0]);
	layout_done(&other);
}

/* What stands in a lock that somebody holds goes to a terminal. */
static void check_clause(int dirfd, const struct layout *l)
{
	char clause[512];
	struct lower *lower = lower_posix();
	AUTO_LOWER_HELD held = {lower, lower->ops->openat(lower, dirfd, "lock", O_RDWR, 0, NULL)};
	FUZZ_CHECK(held.fd >= 0 && lower->ops->lock(lower, held.fd) == 0);
	FUZZ_CHECK(layout_holder(l, clause) == 1);
	FUZZ_CHECK(memchr(clause, 0, sizeof(clause)));
	for (const char *p = clause; *p; p++)
		FUZZ_CHECK(*p >= 0x20 && *p < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	struct layout l = LAYOUT_NONE;
	struct err e = {0};
	fuzz_begin();
	int tenant = tenant_folder();
	uint8_t kind = fuzz_u8(&c);
	put(&c, kind & 1, fuzz_place(), "store.json", store_json);
	put(&c, kind & 2, tenant, "tenant.json", tenant_json);
	put(&c, kind & 4, tenant, "lock", lock_json);
	int r = layout_open(fuzz_place_path(), "acme", &l, &e);
	FUZZ_CHECK(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
	FUZZ_CHECK((r < 0) == (e.text[0] != 0) && memchr(e.text, 0, sizeof(e.text)));
	FUZZ_CHECK(r == 0 || (l.store_fd < 0 && l.tenant_fd < 0 && l.lock_fd < 0));
	FUZZ_CHECK(r == 0 || kind & 3);
	if (r == 0) {
		FUZZ_CHECK(layout_suite_name(l.suite) && memchr(l.created, 0, sizeof(l.created)));
		check_clause(tenant, &l);
		check_locks(&l);
	}
	layout_done(&l);
	return 0;
}

static void seed(
	const char *name, uint8_t kind, const char *store, const char *tenant, const char *lock)
{
	AUTO_BUF b = {0};
	buf_put8(&b, kind);
	fuzz_put_part(&b, store, strlen(store));
	fuzz_put_part(&b, tenant, strlen(tenant));
	fuzz_put_part(&b, lock, strlen(lock));
	fuzz_seed(name, b.data, b.len);
}

void fuzz_seeds(void)
{
	seed("good", 7, store_json, tenant_json, lock_json);
	seed("store", 1, store_json, "", "");
	seed("store-newer", 1, "{\"format\": 2}", "", "");
	seed("store-array", 1, "[]", "", "");
	seed("tenant", 2, "", tenant_json, "");
	seed("lock", 4, "", "", lock_json);
	seed("lock-empty", 4, "", "", "");
	seed("lock-escape", 4, "", "",
		"{\"pid\": -1, \"purpose\": \"\\u001b[2J\\u00e4\", \"generation\": "
		"9223372036854775807}");
}
