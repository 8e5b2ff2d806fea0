/* Events as JSON: nothing is lost on the way there and back, and any path gives valid JSON. */
#include "tests/unit/audit_fixture.h"

#include <jansson.h>
#include <limits.h>

static const uint8_t head[32] = {9, 8, 7};

static struct secret *path_key(void)
{
	struct secret *key = secret_new(KEY_LEN);
	assert_non_null(key);
	return key;
}

static struct buf format(const struct audit_event *event, int paths, const struct secret *key)
{
	struct buf b = {0};
	struct audit_stamp stamp = {
		.sequence = 41, .time_ns = 1700000000123456789u, .paths = paths, .path_key = key};
	audit_record_format(&b, event, &stamp);
	assert_true(buf_ok(&b));
	return b;
}

static void every_field(void **state)
{
	(void)state;
	static const uint8_t id[16] = {1, 2, 3, 4};
	struct audit_event in = {.kind = AUDIT_CLOSE,
		.op = OP_RENAME,
		.allowed = true,
		.error = -EACCES,
		.caller = {1000, 1001, 77},
		.login_uid = 0,
		.session = 5,
		.exe = "/bin/x",
		.path = "/a/b",
		.path2 = "/c",
		.file_id = id,
		.acts = ACT_READ | ACT_MANAGE,
		.rules = "r1,r2",
		.failed = "time",
		.because = "HR \"812\"",
		.correlation = UINT64_MAX >> 1,
		.bytes_read = 10,
		.bytes_written = 20,
		.count = 3,
		.message = "m"};
	struct audit_entry out;
	AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
	assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
	assert_int_equal(out.sequence, 41);
	assert_int_equal(out.time_ns, 1700000000123456789u);
	assert_false(out.end || out.has_head || out.hidden);
	assert_int_equal(out.event.kind, AUDIT_CLOSE);
	assert_int_equal(out.event.op, OP_RENAME);
	assert_true(out.event.allowed);
	assert_int_equal(out.event.error, -EACCES);
	assert_int_equal(out.event.caller.uid, 1000);
	assert_int_equal(out.event.caller.gid, 1001);
	assert_int_equal(out.event.caller.pid, 77);
	assert_int_equal(out.event.login_uid, 0);
	assert_int_equal(out.event.session, 5);
	assert_string_equal(out.event.exe, in.exe);
	assert_string_equal(out.event.path, in.path);
	assert_string_equal(out.event.path2, in.path2);
	assert_memory_equal(out.event.file_id, id, 16);
	assert_int_equal(out.event.acts, in.acts);
	assert_string_equal(out.event.rules, in.rules);
	assert_string_equal(out.event.failed, in.failed);
	assert_string_equal(out.event.because, in.because);
	assert_int_equal(out.event.correlation, in.correlation);
	assert_int_equal(out.event.bytes_read, 10);
	assert_int_equal(out.event.bytes_written, 20);
	assert_int_equal(out.event.count, 3);
	assert_string_equal(out.event.message, "m");
	audit_record_done(&out);
}

static void unknown_is_left_out(void **state)
{
	(void)state;
	struct audit_event in = {.kind = AUDIT_ACCESS,
		.op = OP_LOOKUP,
		.login_uid = (uid_t)-1,
		.session = (uint32_t)-1};
	struct audit_entry out;
	AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
	assert_string_equal((char *)b.data,
		"{\"n\":41,\"t\":1700000000123456789,\"kind\":\"access\",\"op\":"
		"\"lookup\",\"allowed\":false,\"uid\":0,\"gid\":0}");
	assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
	assert_int_equal(out.event.login_uid, (uid_t)-1);
	assert_int_equal(out.event.session, (uint32_t)-1);
	assert_null(out.event.path);
	assert_null(out.event.file_id);
	audit_record_done(&out);
}

/* Every byte in a path comes back, and what is written is JSON. */
static void any_path(void **state)
{
	(void)state;
	static const char *const paths[] = {"/", "/\xff\xfe", "/a\"b\\c", "/\x01\x1f\x7f",
		"/\xef\xbf\xbd", "/gr\xc3\xbc\xc3\x9f", "/\xed\xa0\x80", "/\xf0\x9f\x98\x80",
		"/\xf0\x9f", "/\xef\xbf\xbd\xff", "/\n\t"};
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct audit_event in = {
			.kind = AUDIT_ACCESS, .op = OP_OPEN, .path = paths[i], .path2 = paths[i]};
		struct audit_entry out;
		AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
		json_t *json = json_loadb((char *)b.data, b.len, 0, NULL);
		assert_non_null(json);
		json_decref(json);
		assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
		assert_string_equal(out.event.path, paths[i]);
		assert_string_equal(out.event.path2, paths[i]);
		audit_record_done(&out);
	}
	for (int c = 1; c < 256; c++) {
		char path[3] = {'/', (char)c, 0};
		struct audit_event in = {.kind = AUDIT_ACCESS,
			.op = OP_OPEN,
			.path = path,
			.exe = path,
			.because = path};
		struct audit_entry out;
		AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
		assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
		assert_string_equal(out.event.path, path);
		audit_record_done(&out);
	}
}

static void longest(void **state)
{
	(void)state;
	static char path[3 * PATH_MAX], odd[3 * PATH_MAX];
	AUTO_SECRET *key = path_key();
	memset(path, 1, sizeof(path) - 1);
	for (size_t i = 0; i + 1 < sizeof(odd); i++)
		odd[i] = i % 2 ? 'a' : '/';
	odd[PATH_MAX] = 0;
	struct audit_event in = {.kind = AUDIT_ACCESS,
		.op = OP_OPEN,
		.path = path,
		.path2 = path,
		.exe = path,
		.rules = path,
		.because = path,
		.message = path,
		.failed = path};
	AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
	assert_true(b.len <= AUDIT_JSON_MAX);
	in.path = in.path2 = odd;
	AUTO_BUF h = format(&in, AUDIT_PATH_HMAC, key);
	assert_true(h.len <= AUDIT_JSON_MAX);
}

static void hidden_paths(void **state)
{
	(void)state;
	AUTO_SECRET *key = path_key();
	struct audit_event in = {
		.kind = AUDIT_ACCESS, .op = OP_OPEN, .path = "/payroll/eva", .path2 = "/eva"};
	struct audit_entry out;
	AUTO_BUF b = format(&in, AUDIT_PATH_HMAC, key);
	assert_null(strstr((char *)b.data, "payroll"));
	assert_null(strstr((char *)b.data, "eva"));
	assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
	assert_true(out.hidden);
	assert_int_equal(strlen(out.event.path), 2 * 23);
	assert_int_equal(strlen(out.event.path2), 23);
	assert_string_equal(
		out.event.path + 23, out.event.path2); /* the same name, the same hash */
	audit_record_done(&out);
	AUTO_BUF none = format(&in, AUDIT_PATH_NONE, NULL);
	assert_null(strstr((char *)none.data, "path"));
}

static void errno_names(void **state)
{
	(void)state;
	for (int i = 1; i < 4096; i += i < 140 ? 1 : 97) {
		struct audit_event in = {.kind = AUDIT_ACCESS, .op = OP_OPEN, .error = -i};
		struct audit_entry out;
		AUTO_BUF b = format(&in, AUDIT_PATH_CLEAR, NULL);
		assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
		assert_int_equal(out.event.error, -i);
		audit_record_done(&out);
	}
	for (int op = 0; op < OP_COUNT; op++)
		assert_int_equal(audit_record_op_number(audit_record_op((enum op)op)), op);
	assert_int_equal(audit_record_op_number("unknown"), -ENOENT);
}

static void end_and_heartbeat(void **state)
{
	(void)state;
	struct audit_stamp stamp = {.sequence = 1, .time_ns = 2, .head = head, .end = true};
	struct audit_event beat = {.kind = AUDIT_HEARTBEAT};
	struct audit_entry out;
	AUTO_BUF b = {0};
	audit_record_format(&b, NULL, &stamp);
	assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
	assert_true(out.end && out.has_head);
	assert_memory_equal(out.head, head, 32);
	audit_record_done(&out);
	buf_reset(&b);
	stamp.end = false;
	audit_record_format(&b, &beat, &stamp);
	assert_int_equal(audit_record_parse((char *)b.data, b.len, &out), 0);
	assert_true(!out.end && out.has_head && out.event.kind == AUDIT_HEARTBEAT);
	audit_record_done(&out);
}

/* Numbers that do not fit are as good as none: none is cut down to another one. */
static void numbers_that_do_not_fit(void **state)
{
	(void)state;
	static const char text[] =
		"{\"n\":1,\"t\":2,\"kind\":\"access\",\"uid\":4294967296,\"gid\":-1,"
		"\"pid\":49000000000000000,\"login\":4294967297,\"session\":-5,\"handle\":-1,"
		"\"read\":-1,\"written\":-2,\"count\":4294967296}";
	struct audit_entry out;
	assert_int_equal(audit_record_parse(text, strlen(text), &out), 0);
	assert_int_equal(out.event.caller.uid, (uid_t)-1);
	assert_int_equal(out.event.caller.gid, (gid_t)-1);
	assert_int_equal(out.event.caller.pid, 0);
	assert_int_equal(out.event.login_uid, (uid_t)-1);
	assert_int_equal(out.event.session, UINT32_MAX);
	assert_int_equal(out.event.correlation, 0);
	assert_int_equal(out.event.bytes_read, 0);
	assert_int_equal(out.event.bytes_written, 0);
	assert_int_equal(out.event.count, 1);
	audit_record_done(&out);
}

static void not_records(void **state)
{
	(void)state;
	static const char *const texts[] = {"", "{", "[]", "{}", "{\"n\":1,\"t\":2}",
		"{\"n\":1,\"kind\":\"access\"}", "{\"n\":1,\"t\":2,\"kind\":\"nothing\"}",
		"{\"n\":\"1\",\"t\":2,\"kind\":\"access\"}",
		"{\"n\":1,\"n\":1,\"t\":2,\"kind\":\"access\"}", "{\"n\":1,\"t\":2,\"kind\":3}",
		"{\"n\":-1,\"t\":2,\"kind\":\"access\"}", "{\"n\":1,\"t\":-2,\"kind\":\"access\"}"};
	struct audit_entry out;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_int_equal(audit_record_parse(texts[i], strlen(texts[i]), &out), -EBADMSG);
}

/* A buffer with room never allocates again. */
static void no_allocation(void **state)
{
	(void)state;
	struct audit_event in = {.kind = AUDIT_ACCESS,
		.op = OP_OPEN,
		.path = "/payroll/2026/a.xlsx",
		.exe = "/usr/bin/cat"};
	struct audit_stamp stamp = {.sequence = 1, .time_ns = 2};
	AUTO_BUF b = {0};
	assert_true(buf_reserve(&b, 16384));
	uint8_t *data = b.data;
	for (int i = 0; i < 100; i++) {
		buf_reset(&b);
		audit_record_format(&b, &in, &stamp);
	}
	assert_ptr_equal(b.data, data);
	assert_int_equal(b.cap >= 16384, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_field),
		cmocka_unit_test(unknown_is_left_out),
		cmocka_unit_test(any_path),
		cmocka_unit_test(longest),
		cmocka_unit_test(hidden_paths),
		cmocka_unit_test(errno_names),
		cmocka_unit_test(end_and_heartbeat),
		cmocka_unit_test(numbers_that_do_not_fit),
		cmocka_unit_test(not_records),
		cmocka_unit_test(no_allocation),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
