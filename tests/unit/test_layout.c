/* fs/store/layout, layout_create: names, damage, newer formats, the lock, key directories, crashes
 * while a tenant is made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/layout_create.h"
#include "keymgmt/base/buf.h"
#include "keymgmt/base/io.h"
#include "tests/unit/fail_lower.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

struct place {
	char path[64], store[80];
};

static int make_place(void **state)
{
	const char *base = getenv("TENANTFS_TEST_DIR");
	struct place *p = calloc(1, sizeof(*p));
	if (!p || crypto_init() < 0 || lower_posix_prepare() < 0)
		return -1;
	snprintf(p->path, sizeof(p->path), "%.40s/layout.XXXXXX", base ? base : "/var/tmp");
	if (!mkdtemp(p->path))
		return -1;
	snprintf(p->store, sizeof(p->store), "%s/store", p->path);
	*state = p;
	return layout_create_store(p->store, NULL);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static int remove_place(void **state)
{
	struct place *p = *state;
	nftw(p->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	free(p);
	return 0;
}

static void put_file(const char *folder, const char *name, const char *text)
{
	AUTO_CLOSE fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(io_write_file(fd, name, 0600, text, strlen(text), false), 0);
}

static struct keyring *keys_for(const struct layout *l)
{
	struct keyring *k = NULL;
	assert_int_equal(keyring_create(&l->owner, l->suite, &k), 0);
	return k;
}

static int make_tenant_steps(struct layout *l, const char *tenant)
{
	const struct layout_create wanted = {.journal_bytes = JOURNAL_BYTES_MIN};
	int r = layout_create_lock(l, NULL);
	if (r == 0)
		r = layout_create_begin(l, tenant, CRYPTO_AES256_GCM, NULL);
	if (r < 0)
		return r;
	AUTO(keyring_auto) struct keyring *k = keys_for(l);
	r = layout_create_fill(l, k, &wanted, NULL);
	return r < 0 ? r : layout_create_commit(l, NULL);
}

static void make_tenant(struct place *p, const char *tenant)
{
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "", &l, NULL), 0);
	assert_int_equal(make_tenant_steps(&l, tenant), 0);
}

static void splits_at_the_last_hash(void **state)
{
	static const struct {
		const char *argument;
		bool needed;
		int want;
		const char *store, *tenant;
	} rows[] = {
		{"/s#acme", true, 0, "/s", "acme"},
		{"/s#1#acme", true, 0, "/s#1", "acme"},
		{"store", false, 0, "store", ""},
		{"store", true, -EINVAL, NULL, NULL},
		{"#acme", true, -EINVAL, NULL, NULL},
		{"/s#", true, -EINVAL, NULL, NULL},
		{"/s#", false, -EINVAL, NULL, NULL},
		{"", false, -EINVAL, NULL, NULL},
		{"/s#../acme", true, -EINVAL, NULL, NULL},
		{"/s#Acme", true, -EINVAL, NULL, NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char store[PATH_MAX], tenant[64];
		struct err e = {0};
		assert_int_equal(layout_split(rows[i].argument, rows[i].needed, store, tenant, &e),
			rows[i].want);
		assert_int_equal(e.code, rows[i].want);
		if (rows[i].want == 0) {
			assert_string_equal(store, rows[i].store);
			assert_string_equal(tenant, rows[i].tenant);
		}
	}
}

static void judges_tenant_names(void **state)
{
	static const struct {
		const char *name;
		bool ok;
	} rows[] = {
		{"a", true},
		{"0", true},
		{"a.b-c_d", true},
		{"", false},
		{".a", false},
		{"-a", false},
		{"_a", false},
		{"a/b", false},
		{"A", false},
		{"a#b", false},
		{"a b", false},
		{"a23456789012345678901234567890123456789012345678901234567890123", true},
		{"a234567890123456789012345678901234567890123456789012345678901234", false},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(layout_tenant_name_ok(rows[i].name), rows[i].ok);
}

static void uuids_are_canonical_text(void **state)
{
	static const char text[] = "00112233-4455-6677-8899-aabbccddeeff";
	static const char *const bad[] = {"", "00112233-4455-6677-8899-aabbccddeef",
		"00112233-4455-6677-8899-aabbccddeeff0", "00112233-4455-6677-8899-AABBCCDDEEFF",
		"00112233x4455-6677-8899-aabbccddeeff", "0011223344556677-8899-aabbccddeeff--",
		"00112233-4455-6677-8899-aabbccddee\377f"};
	uint8_t uuid[16], untouched[16] = {7};
	char back[LAYOUT_UUID_TEXT];
	(void)state;
	assert_int_equal(layout_uuid_parse(text, uuid), 0);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(uuid[i], i * 0x11);
	layout_uuid_text(uuid, back);
	assert_string_equal(back, text);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(layout_uuid_parse(bad[i], untouched), -EBADMSG);
		assert_int_equal(untouched[0], 7);
	}
}

static void a_made_tenant_opens(void **state)
{
	struct place *p = *state;
	struct stat st;
	char path[160];
	make_tenant(p, "acme");
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "acme", &l, NULL), 0);
	assert_string_equal(l.owner.tenant, "acme");
	assert_int_equal(l.suite, CRYPTO_AES256_GCM);
	assert_int_equal(l.owner.tenant_uuid[6] >> 4, 4);
	static const struct {
		const char *name;
		mode_t mode;
		off_t size; /* -1: any */
	} rows[] = {
		{"store.json", S_IFREG | 0600, -1},
		{"t", S_IFDIR | 0700, -1},
		{"t/acme", S_IFDIR | 0700, -1},
		{"t/acme/tenant.json", S_IFREG | 0600, -1},
		{"t/acme/journal", S_IFREG | 0600, JOURNAL_BYTES_MIN},
		{"t/acme/trash", S_IFDIR | 0700, -1},
		{"t/acme/root", S_IFDIR | 0755, -1},
		{"t/acme/root/.dir", S_IFLNK | 0777, 47},
		{"t/acme/lock", S_IFREG | 0600, -1},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", p->store, rows[i].name);
		assert_int_equal(lstat(path, &st), 0);
		assert_int_equal(st.st_mode, rows[i].mode);
		if (rows[i].size >= 0)
			assert_int_equal(st.st_size, rows[i].size);
	}
	AUTO(layout_auto) struct layout again = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "", &again, NULL), 0);
	assert_int_equal(make_tenant_steps(&again, "acme"), -EEXIST);
	assert_int_equal(layout_create_store(p->store, NULL), -EEXIST);
}

static void damage_has_its_errno_and_a_sentence(void **state)
{
	static const struct {
		const char *file, *text;
		int want;
		const char *word;
	} rows[] = {
		{"store.json", "", -EBADMSG, "damaged"},
		{"store.json", "[]", -EBADMSG, "damaged"},
		{"store.json", "{\"format\": 1}", -EBADMSG, "damaged"},
		{"store.json", "{\"format\": 0, \"store_uuid\": \"\"}", -EBADMSG, "damaged"},
		{"store.json",
			"{\"format\": 1, \"store_uuid\": \"00112233-4455-6677-8899-aabbccddeeff\", "
			"\"store_uuid\": \"00112233-4455-6677-8899-aabbccddeeff\"}",
			-EBADMSG, "damaged"},
		{"store.json", "{\"format\": \"1\"}", -EBADMSG, "damaged"},
		{"store.json", "{\"format\": 2}", -EPROTONOSUPPORT, "newer"},
		{"t/acme/tenant.json", "{\"format\": 99}", -EPROTONOSUPPORT, "newer"},
		{"t/acme/tenant.json", "{\"format\": 1, \"tenant\": \"beta\"}", -EBADMSG,
			"another tenant"},
		{"t/acme/tenant.json", "{\"format\": 1, \"tenant\": \"acme\"}", -EBADMSG,
			"damaged"},
		{"t/acme/tenant.json",
			"{\"format\": 1, \"tenant\": \"acme\", \"suite\": \"rot13\", "
			"\"tenant_uuid\": \"00112233-4455-6677-8899-aabbccddeeff\"}",
			-EPROTONOSUPPORT, "newer"},
	};
	struct place *p = *state;
	make_tenant(p, "acme");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO_BUF before = {0};
		AUTO(layout_auto) struct layout l = LAYOUT_NONE;
		struct err e = {0};
		AUTO_CLOSE fd = open(p->store, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		assert_int_equal(io_read_file(fd, rows[i].file, 4096, &before), 0);
		put_file(p->store, rows[i].file, rows[i].text);
		assert_int_equal(layout_open(p->store, "acme", &l, &e), rows[i].want);
		assert_non_null(strstr(e.text, rows[i].word));
		assert_int_equal(l.store_fd, -1);
		assert_int_equal(l.tenant_fd, -1);
		put_file(p->store, rows[i].file, (const char *)before.data);
	}
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "acme", &l, NULL), 0);
	layout_done(&l);
	assert_int_equal(layout_open(p->store, "nobody", &l, NULL), -ENOENT);
	assert_int_equal(layout_open(p->path, "acme", &l, NULL), -ENOENT);
	assert_int_equal(layout_open("/nonexistent", "", &l, NULL), -ENOENT);
}

static void a_link_in_place_of_a_file_is_refused(void **state)
{
	struct place *p = *state;
	char path[160], aside[160];
	make_tenant(p, "acme");
	snprintf(path, sizeof(path), "%s/t/acme/tenant.json", p->store);
	snprintf(aside, sizeof(aside), "%s/aside", p->path);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink(aside, path), 0);
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "acme", &l, NULL), -EBADMSG);
}

static void the_lock_names_who_has_it(void **state)
{
	struct place *p = *state;
	AUTO(layout_auto) struct layout first = LAYOUT_NONE;
	AUTO(layout_auto) struct layout second = LAYOUT_NONE;
	struct err e = {0};
	char clause[512], pid[32];
	make_tenant(p, "acme");
	assert_int_equal(layout_open(p->store, "acme", &first, NULL), 0);
	assert_int_equal(layout_open(p->store, "acme", &second, NULL), 0);
	assert_int_equal(layout_holder(&first, clause), 0);
	assert_int_equal(layout_lock(&first, "mount", "/srv/\033acme", NULL), 0);
	assert_int_equal(layout_lock(&second, "tenantkey rotate", NULL, &e), -EBUSY);
	snprintf(pid, sizeof(pid), "process %d ", (int)getpid());
	assert_non_null(strstr(e.text, "is mounted at /srv/?acme"));
	assert_non_null(strstr(e.text, pid));
	assert_int_equal(second.lock_fd, -1);
	assert_int_equal(layout_holder(&second, clause), 1);
	assert_non_null(strstr(clause, "/srv/?acme"));
	layout_done(&first);
	assert_int_equal(layout_lock(&second, "tenantkey rotate", NULL, &e), 0);
	assert_int_equal(layout_open(p->store, "acme", &first, NULL), 0);
	assert_int_equal(layout_lock(&first, "mount", "/m", &e), -EBUSY);
	assert_non_null(strstr(e.text, "is in use by tenantkey rotate"));
	AUTO_BUF text = {0};
	assert_int_equal(io_read_file(second.tenant_fd, "lock", 4096, &text), 0);
	assert_non_null(strstr((const char *)text.data, "\"generation\": 2}"));
}

static void a_damaged_lock_file_does_not_hinder(void **state)
{
	struct place *p = *state;
	char folder[160];
	make_tenant(p, "acme");
	snprintf(folder, sizeof(folder), "%s/t/acme", p->store);
	put_file(folder, "lock", "\377\376 rubbish");
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "acme", &l, NULL), 0);
	assert_int_equal(layout_lock(&l, "mount", "/m", NULL), 0);
}

static void a_generation_that_cannot_grow_begins_anew(void **state)
{
	struct place *p = *state;
	char folder[160], clause[512];
	make_tenant(p, "acme");
	snprintf(folder, sizeof(folder), "%s/t/acme", p->store);
	put_file(folder, "lock", "{\"generation\": 9223372036854775807}");
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	AUTO(layout_auto) struct layout other = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "acme", &l, NULL), 0);
	assert_int_equal(layout_open(p->store, "acme", &other, NULL), 0);
	assert_int_equal(layout_lock(&l, "mount", "/m", NULL), 0);
	assert_int_equal(layout_holder(&other, clause), 1);
	assert_non_null(strstr(clause, "is mounted at /m"));
}

static void key_directories_are_private(void **state)
{
	struct place *p = *state;
	static const uint8_t uuid[16] = {1};
	char keys[120], sub[200];
	struct stat st;
	snprintf(keys, sizeof(keys), "%s/a/keys", p->path);
	snprintf(sub, sizeof(sub), "%s/01000000-0000-0000-0000-000000000000", keys);
	struct err e = {0};
	assert_int_equal(layout_open_keys(keys, uuid, false, &e), -ENOENT);
	assert_non_null(strstr(e.text, "--keys"));
	int fd = layout_open_keys(keys, uuid, true, &e);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
	assert_int_equal(stat(sub, &st), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0700);
	static const mode_t open_modes[] = {0701, 0710, 0720, 0740, 0755, 0777};
	for (size_t i = 0; i < sizeof(open_modes) / sizeof(open_modes[0]); i++) {
		assert_int_equal(chmod(sub, open_modes[i]), 0);
		assert_int_equal(layout_open_keys(keys, uuid, false, &e), -EPERM);
		assert_int_equal(chmod(sub, 0700), 0);
		assert_int_equal(chmod(keys, open_modes[i]), 0);
		assert_int_equal(layout_open_keys(keys, uuid, false, &e), -EPERM);
		assert_int_equal(chmod(keys, 0700), 0);
	}
	static const uint8_t other[16] = {2};
	assert_int_equal(layout_open_keys(keys, other, false, &e), -ENOENT);
	assert_non_null(strstr(e.text, "02000000-0000"));
}

/* Whose backups would hold the keys. */
static void key_directories_lie_in_no_store(void **state)
{
	struct place *p = *state;
	static const uint8_t uuid[16] = {1};
	static const char *const places[] = {"store", "store/keys", "store/t/keys/deeper",
		"store/t/../keys", "link", "link/keys", "sub/../store/keys"};
	char path[160], link[240];
	struct stat st;
	make_tenant(p, "acme");
	snprintf(link, sizeof(link), "%s/link", p->path);
	assert_int_equal(symlink(p->store, link), 0);
	snprintf(path, sizeof(path), "%s/sub", p->path);
	assert_int_equal(mkdir(path, 0700), 0);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct err e = {0};
		snprintf(path, sizeof(path), "%s/%s", p->path, places[i]);
		assert_int_equal(layout_open_keys(path, uuid, true, &e), -EPERM);
		assert_non_null(strstr(e.text, "lies in the store"));
		snprintf(path, sizeof(path), "%s/keys", p->store);
		assert_int_equal(stat(path, &st), -1);
	}
	/* a folder of the right place that leads there */
	snprintf(path, sizeof(path), "%s/keys", p->path);
	snprintf(link, sizeof(link), "%s/01000000-0000-0000-0000-000000000000", path);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/t", p->store);
	assert_int_equal(symlink(path, link), 0);
	snprintf(path, sizeof(path), "%s/keys", p->path);
	assert_int_equal(layout_open_keys(path, uuid, false, NULL), -EPERM);
}

static void init_takes_an_empty_folder_only(void **state)
{
	struct place *p = *state;
	char path[120];
	struct err e = {0};
	snprintf(path, sizeof(path), "%s/full", p->path);
	assert_int_equal(mkdir(path, 0755), 0);
	put_file(path, "somebody's file", "x");
	assert_int_equal(layout_create_store(path, &e), -ENOTEMPTY);
	snprintf(path, sizeof(path), "%s/empty", p->path);
	assert_int_equal(mkdir(path, 0755), 0);
	put_file(path, "store.json.tmp", "{\"form"); /* cut short */
	assert_int_equal(layout_create_store(path, &e), 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(path, "", &l, NULL), 0);
	snprintf(path, sizeof(path), "%s/missing/deep", p->path);
	assert_int_equal(layout_create_store(path, &e), -ENOENT);
}

/* Whether t/NAME is there. */
static bool there(const struct place *p, const char *name)
{
	char path[160];
	struct stat st;
	snprintf(path, sizeof(path), "%s/t/%s", p->store, name);
	return lstat(path, &st) == 0;
}

static void after_any_failed_call_nothing_is_left(void **state)
{
	struct place *p = *state;
	static const int errors[] = {-EIO, -ENOSPC};
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		for (unsigned n = 1;; n++) {
			struct fail_lower f;
			AUTO(layout_auto) struct layout l = LAYOUT_NONE;
			assert_true(n < 200);
			assert_int_equal(layout_open(p->store, "", &l, NULL), 0);
			fail_lower_init(&f, lower_posix());
			l.lower = &f.base;
			fail_lower_arm(&f, FAIL_LOWER_ANY, n, errors[i], true);
			int r = make_tenant_steps(&l, "acme");
			bool hit = fail_lower_hit(&f);
			fail_lower_arm(&f, FAIL_LOWER_ANY, 0, 0, true);
			if (r < 0) {
				assert_true(hit);
				assert_false(there(p, "acme"));
				assert_int_equal(layout_create_abort(&l), 0);
				assert_false(there(p, ".new.acme"));
				continue;
			}
			assert_true(there(p, "acme"));
			assert_false(there(p, ".new.acme"));
			char path[160];
			snprintf(path, sizeof(path), "%s/t/acme", p->store);
			assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
			if (!hit)
				break;
		}
	}
}

static void end_process(void)
{
	_exit(9);
}

/* In a child that ends at its n-th call; whether it came to an end by itself. */
static bool crash_at(struct place *p, unsigned n)
{
	pid_t child = fork();
	int status;
	assert_true(child >= 0);
	if (child == 0) {
		struct fail_lower f;
		struct layout l = LAYOUT_NONE;
		if (layout_open(p->store, "", &l, NULL) < 0)
			_exit(1);
		fail_lower_init(&f, lower_posix());
		f.instead = end_process;
		l.lower = &f.base;
		fail_lower_arm(&f, FAIL_LOWER_ANY, n, -EIO, true);
		_exit(make_tenant_steps(&l, "acme") == 0 ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 9);
	return WEXITSTATUS(status) == 0;
}

static void a_crash_leaves_nothing_or_a_whole_tenant(void **state)
{
	struct place *p = *state;
	bool ended = false, saw_uuid = false;
	for (unsigned n = 1; !ended; n++) {
		AUTO(layout_auto) struct layout l = LAYOUT_NONE;
		uint8_t uuid[16];
		char path[160];
		assert_true(n < 200);
		ended = crash_at(p, n);
		assert_int_equal(layout_open(p->store, "", &l, NULL), 0);
		int leftover = layout_create_leftover(&l, "acme", uuid);
		assert_int_equal(leftover, there(p, ".new.acme"));
		saw_uuid |= leftover == 1 && uuid[6] >> 4 == 4;
		if (!there(p, "acme")) {
			assert_int_equal(make_tenant_steps(&l, "acme"), 0);
			assert_false(there(p, ".new.acme"));
		}
		AUTO(layout_auto) struct layout whole = LAYOUT_NONE;
		assert_int_equal(layout_open(p->store, "acme", &whole, NULL), 0);
		snprintf(path, sizeof(path), "%s/t/acme", p->store);
		assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
	}
	assert_true(saw_uuid);
}

static void one_creation_at_a_time(void **state)
{
	struct place *p = *state;
	AUTO(layout_auto) struct layout first = LAYOUT_NONE;
	AUTO(layout_auto) struct layout second = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "", &first, NULL), 0);
	assert_int_equal(layout_open(p->store, "", &second, NULL), 0);
	assert_int_equal(layout_create_lock(&first, NULL), 0);
	assert_int_equal(layout_create_lock(&second, NULL), -EBUSY);
	assert_int_equal(layout_create_abort(&first), 0);
}

static void journals_have_their_limits(void **state)
{
	static const uint64_t bad[] = {
		0, 4096, JOURNAL_BYTES_MIN + 1, (uint64_t)JOURNAL_BYTES_MAX + 4096};
	struct place *p = *state;
	AUTO(layout_auto) struct layout l = LAYOUT_NONE;
	assert_int_equal(layout_open(p->store, "", &l, NULL), 0);
	assert_int_equal(layout_create_lock(&l, NULL), 0);
	assert_int_equal(layout_create_begin(&l, "acme", CRYPTO_AES256_GCM, NULL), 0);
	AUTO(keyring_auto) struct keyring *k = keys_for(&l);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct layout_create wanted = {.journal_bytes = bad[i]};
		assert_int_equal(layout_create_fill(&l, k, &wanted, NULL), -EINVAL);
	}
	assert_int_equal(layout_create_abort(&l), 0);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_at_the_last_hash),
		cmocka_unit_test(judges_tenant_names),
		cmocka_unit_test(uuids_are_canonical_text),
		TEST(a_made_tenant_opens),
		TEST(damage_has_its_errno_and_a_sentence),
		TEST(a_link_in_place_of_a_file_is_refused),
		TEST(the_lock_names_who_has_it),
		TEST(a_damaged_lock_file_does_not_hinder),
		TEST(a_generation_that_cannot_grow_begins_anew),
		TEST(key_directories_are_private),
		TEST(key_directories_lie_in_no_store),
		TEST(init_takes_an_empty_folder_only),
		TEST(after_any_failed_call_nothing_is_left),
		TEST(a_crash_leaves_nothing_or_a_whole_tenant),
		TEST(one_creation_at_a_time),
		TEST(journals_have_their_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
