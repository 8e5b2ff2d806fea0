/* keymgmt/base: buffers, cursors, checked arithmetic, results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/err.h"
#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static void json_strings_are_valid_whatever_the_name(void **state)
{
	(void)state;
	static const struct {
		const char *in, *out;
	} rows[] = {
		{"plain", "\"plain\""},
		{"a\"b\\c", "\"a\\\"b\\\\c\""},
		{"\n\x01", "\"\\u000a\\u0001\""},
		{"\xc3\xa4", "\"\xc3\xa4\""},
		{"\xff", "\"\xef\xbf\xbd\""},
		{"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},
		{"\xf0\x9f\x98\x80", "\"\xf0\x9f\x98\x80\""},
		{"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		AUTO_BUF b = {0};
		buf_json(&b, rows[i].in);
		assert_true(buf_ok(&b));
		assert_string_equal((char *)b.data, rows[i].out);
	}
}

static void a_cursor_never_runs_over_the_end(void **state)
{
	(void)state;
	static const uint8_t bytes[4] = {1, 2, 3, 4};
	struct cur c = {bytes, bytes + sizeof(bytes)};
	assert_non_null(cur_take(&c, 3));
	assert_null(cur_take(&c, 2));
	assert_int_equal(cur_left(&c), 1);
	assert_non_null(cur_take(&c, 1));
	assert_null(cur_take(&c, 1));
	assert_non_null(cur_take(&c, 0));
}

static void integers_are_little_endian(void **state)
{
	(void)state;
	uint8_t p[8];
	bytes_put64(p, 0x0102030405060708);
	assert_int_equal(p[0], 8);
	assert_int_equal(p[7], 1);
	assert_true(bytes_get64(p) == 0x0102030405060708);
	uint64_t sum;
	assert_false(bytes_add64(UINT64_MAX, 1, &sum));
	assert_false(bytes_mul64(UINT64_MAX, 2, &sum));
}

static void a_huge_reservation_fails_softly(void **state)
{
	(void)state;
	AUTO_BUF b = {0};
	buf_str(&b, "x");
	assert_false(buf_reserve(&b, SIZE_MAX));
	assert_false(buf_ok(&b));
	buf_str(&b, "ignored");
	assert_int_equal(b.len, 1);
}

static void exit_statuses_follow_the_table(void **state)
{
	(void)state;
	static const struct {
		int code, status;
	} rows[] = {{0, 0}, {-ENOMEM, 1}, {-EINVAL, 2}, {-EACCES, 3}, {-EPERM, 3}, {-ENOENT, 4},
		{-ENOTDIR, 4}, {-EBUSY, 5}, {-EEXIST, 5}, {-EKEYREJECTED, 6}, {-ENOKEY, 6},
		{-EBADMSG, 7}, {-EIO, 7}, {-EPROTONOSUPPORT, 8}, {-EBADRQC, 9}, {-ENODEV, 10},
		{-ENOSPC, 11}, {-EDQUOT, 11}};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(err_exit_status(rows[i].code), rows[i].status);
	struct err e = {0};
	assert_int_equal(err_set(&e, -EIO, "inner"), -EIO);
	assert_int_equal(err_default(&e, -ENOENT, "outer"), -ENOENT);
	assert_string_equal(e.text, "inner");
}

static void a_file_is_replaced_as_a_whole(void **state)
{
	(void)state;
	char dir[] = "/tmp/tenantfs-unit-XXXXXX";
	assert_non_null(mkdtemp(dir));
	AUTO_CLOSE fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(io_write_file(fd, "f", 0600, "one", 3, true), 0);
	assert_int_equal(io_write_file(fd, "f", 0600, "two", 3, true), -EEXIST);
	assert_int_equal(io_write_file(fd, "f", 0600, "three", 5, false), 0);
	AUTO_BUF b = {0};
	assert_int_equal(io_read_file(fd, "f", 4, &b), -EFBIG);
	assert_int_equal(io_read_file(fd, "f", 5, &b), 0);
	assert_string_equal((char *)b.data, "three");
	assert_int_equal(symlinkat("f", fd, "link"), 0);
	assert_int_equal(io_read_file(fd, "link", 5, &b), -ELOOP);
	assert_int_equal(unlinkat(fd, "link", 0), 0);
	assert_int_equal(unlinkat(fd, "f", 0), 0);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_strings_are_valid_whatever_the_name),
		cmocka_unit_test(a_cursor_never_runs_over_the_end),
		cmocka_unit_test(integers_are_little_endian),
		cmocka_unit_test(a_huge_reservation_fails_softly),
		cmocka_unit_test(exit_statuses_follow_the_table),
		cmocka_unit_test(a_file_is_replaced_as_a_whole),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
