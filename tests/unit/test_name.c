/* fs/store/name: sealed names are one to one with plaintext ones, in one directory only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/store/name.h"
#include "tests/unit/store_place.h"

#include <errno.h>
#include <time.h>

static void fill(char *name, size_t len, char with)
{
	memset(name, with, len);
	name[len] = '\0';
}

/* The longest that fits into 255 characters is 175 bytes: (175 + 16) * 4 / 3. */
static void every_length_seals_and_opens(void **state)
{
	struct store_place *p = *state;
	for (size_t len = 1; len <= 255; len++) {
		char plain[256], again[256];
		struct name n;
		fill(plain, len, 'n');
		assert_int_equal(name_seal(p->root, plain, &n), 0);
		assert_int_equal(n.is_long, len > 175);
		assert_int_equal(strlen(n.lower),
			len > 175 ? 44 : (len + 16) * 4 / 3 + ((len + 16) % 3 != 0));
		assert_int_equal(n.lower[0] == '~', n.is_long);
		assert_null(strpbrk(n.lower, "./"));
		if (n.is_long)
			assert_int_equal(name_open(p->root, n.lower, again), -ENOENT);
		assert_int_equal(name_prepare(p->root, &n), 0);
		assert_int_equal(name_open(p->root, n.lower, again), 0);
		assert_string_equal(again, plain);
		name_forget(p->root, n.lower);
		if (n.is_long)
			assert_int_equal(name_open(p->root, n.lower, again), -ENOENT);
	}
}

static void names_that_cannot_be_are_refused(void **state)
{
	struct store_place *p = *state;
	char long_name[257];
	struct name n;
	fill(long_name, 256, 'x');
	const struct {
		const char *plain;
		int code;
	} rows[] = {{"", -EINVAL}, {".", -EINVAL}, {"..", -EINVAL}, {"a/b", -EINVAL},
		{"/", -EINVAL}, {long_name, -ENAMETOOLONG}, {"...", 0}, {"\xff\n", 0}, {".dir", 0},
		{"~x.n", 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(name_seal(p->root, rows[i].plain, &n), rows[i].code);
}

static void a_foreign_or_altered_name_does_not_open(void **state)
{
	struct store_place *p = *state;
	struct name n, m;
	char plain[256];
	assert_int_equal(name_seal(p->root, "salaries", &n), 0);
	assert_int_equal(name_seal(p->root, "salaries", &m), 0);
	assert_string_equal(n.lower, m.lower);
	for (size_t i = 0; n.lower[i]; i++) {
		char altered[256];
		memcpy(altered, n.lower, sizeof(altered));
		altered[i] = altered[i] == 'A' ? 'B' : 'A';
		assert_int_equal(name_open(p->root, altered, plain), -EBADMSG);
		altered[i] = '\0';
		assert_int_equal(name_open(p->root, altered, plain), -EBADMSG);
	}
	static const char *const rows[] = {"", "a", "plain.txt", "~", "~abc",
		"AAAAAAAAAAAAAAAAAAAAAA", "~aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(name_open(p->root, rows[i], plain), -EBADMSG);
	/* The same name in another directory is another name. */
	assert_int_equal(mkdirat(p->root->fd, "d", 0700), 0);
	struct dir *d;
	assert_int_equal(dir_open(p->root, "d", &d), 0);
	assert_int_equal(name_open(d, n.lower, plain), -EBADMSG);
	assert_int_equal(name_seal(d, "salaries", &m), 0);
	assert_string_not_equal(n.lower, m.lower);
	dir_put(d);
	assert_int_equal(p->alarms, 0);
}

static void a_sidecar_counts_only_when_it_is_the_right_one(void **state)
{
	struct store_place *p = *state;
	struct name n, s;
	char plain[256], sidecar[300];
	fill(plain, 200, 'l');
	assert_int_equal(name_seal(p->root, plain, &n), 0);
	snprintf(sidecar, sizeof(sidecar), "%s.n", n.lower);
	/* damaged by a crash: written anew */
	assert_int_equal(symlinkat("rubbish", p->root->fd, sidecar), 0);
	assert_int_equal(name_open(p->root, n.lower, plain), -EBADMSG);
	assert_int_equal(name_prepare(p->root, &n), 0);
	assert_int_equal(name_prepare(p->root, &n), 0);
	assert_int_equal(name_open(p->root, n.lower, plain), 0);
	/* stays as long as the entry does */
	assert_int_equal(mkdirat(p->root->fd, n.lower, 0700), 0);
	name_forget(p->root, n.lower);
	assert_int_equal(name_open(p->root, n.lower, plain), 0);
	assert_int_equal(unlinkat(p->root->fd, n.lower, AT_REMOVEDIR), 0);
	name_forget(p->root, n.lower);
	assert_int_equal(name_open(p->root, n.lower, plain), -ENOENT);
	/* a short name by the long door, hash and all, would stand twice */
	assert_int_equal(name_seal(p->root, "short", &s), 0);
	uint8_t sealed[64], hash[32];
	ssize_t len = crypto_unb64(s.lower, strlen(s.lower), sealed, sizeof(sealed));
	assert_int_equal(len, 21);
	crypto_digest(sealed, (size_t)len, hash, sizeof(hash));
	char door[64] = "~";
	crypto_b64(hash, sizeof(hash), door + 1);
	snprintf(sidecar, sizeof(sidecar), "%s.n", door);
	assert_int_equal(symlinkat(s.lower, p->root->fd, sidecar), 0);
	assert_int_equal(name_open(p->root, door, plain), -EBADMSG);
	/* a directory instead of the link */
	assert_int_equal(unlinkat(p->root->fd, sidecar, 0), 0);
	assert_int_equal(mkdirat(p->root->fd, sidecar, 0700), 0);
	assert_int_equal(name_open(p->root, door, plain), -EBADMSG);
}

/* Whoever had the keys, and was careless: what no directory entry can be called is none of its
 * names. */
static void what_no_entry_can_be_called_does_not_open(void **state)
{
	struct store_place *p = *state;
	static const struct {
		const char *plain;
		size_t len;
		int result;
	} rows[] = {{".", 1, -EBADMSG}, {"..", 2, -EBADMSG}, {"a/b", 3, -EBADMSG},
		{"a\0b", 3, -EBADMSG}, {"...", 3, 0}, {".a", 2, 0}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		uint8_t sealed[32];
		char lower[64], plain[256];
		assert_int_equal(crypto_siv_seal(p->root->name_key, p->root->id, DIR_ID_LEN,
					 rows[i].plain, rows[i].len, sealed),
			0);
		crypto_b64(sealed, rows[i].len + CRYPTO_SIV_LEN, lower);
		assert_int_equal(name_open(p->root, lower, plain), rows[i].result);
	}
}

static void a_failing_disk_leaves_no_half_name(void **state)
{
	struct store_place *p = *state;
	struct name n;
	char plain[256];
	fill(plain, 255, 'f');
	assert_int_equal(name_seal(p->root, plain, &n), 0);
	for (unsigned i = 1;; i++) {
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, i, -EIO, true);
		int r = name_prepare(p->root, &n);
		bool hit = fail_lower_hit(&p->fail);
		fail_lower_arm(&p->fail, FAIL_LOWER_ANY, 0, 0, false);
		assert_int_equal(r, hit ? -EIO : 0);
		if (!hit)
			break;
	}
	assert_int_equal(name_open(p->root, n.lower, plain), 0);
}

static void what_is_internal(void **state)
{
	(void)state;
	static const struct {
		const char *lower;
		bool internal;
	} rows[] = {{".dir", true}, {".dir.new", true}, {"~abc.n", true}, {"~abc.0", true},
		{"~abc.b", true}, {"~abc.c", true}, {"~abc.", false}, {"~abc.bb", false},
		{"~abc.5", true}, {"abc", false}, {"~abc", false}, {".", false}, {"..", false},
		{"abc.n", false}, {"~abc.txt", false}, {"~abc.10", false}, {".dirx", false},
		{"~abc.", false}, {"", false}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(name_is_internal(rows[i].lower), rows[i].internal);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, store_place_make, store_place_remove)
	const struct CMUnitTest tests[] = {
		CASE(every_length_seals_and_opens),
		CASE(names_that_cannot_be_are_refused),
		CASE(a_foreign_or_altered_name_does_not_open),
		CASE(a_sidecar_counts_only_when_it_is_the_right_one),
		CASE(what_no_entry_can_be_called_does_not_open),
		CASE(a_failing_disk_leaves_no_half_name),
		cmocka_unit_test(what_is_internal),
	};
	return cmocka_run_group_tests_name("name", tests, NULL, NULL);
}
