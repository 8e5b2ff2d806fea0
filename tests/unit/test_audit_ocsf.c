/* Every event exports as valid JSON with the numbers of OCSF 1.8, and pseudonymised without a name
 * in it. */
#include "tests/unit/audit_fixture.h"

#include "fs/gate/audit_ocsf.h"

#include <jansson.h>

static const uint8_t tenant_uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a};

static const char *name_of(void *context, uid_t uid)
{
	(void)context;
	return uid == 1000 ? "eva" : NULL;
}

static struct audit_entry entry_of(const struct audit_event *event)
{
	return (struct audit_entry){.sequence = 41,
		.time_ns = 1700000000123456789u,
		.segment = 2,
		.record = 7,
		.event = *event};
}

static json_t *export(const struct audit_entry *entry, const struct secret *key, struct buf *text)
{
	const struct audit_ocsf_options o = {.tenant = "acme",
		.tenant_uuid = tenant_uuid,
		.version = "1",
		.pseudonym_key = key,
		.user_name = name_of};
	buf_reset(text);
	audit_ocsf_format(text, entry, &o);
	assert_true(buf_ok(text));
	assert_null(memchr(text->data, '\n', text->len));
	json_t *json = json_loadb((char *)text->data, text->len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(json);
	return json;
}

/* "actor.user.uid" */
static json_t *at(json_t *json, const char *path)
{
	char part[64];
	while (json && *path) {
		size_t len = strcspn(path, ".");
		snprintf(part, sizeof(part), "%.*s", (int)len, path);
		json = json_object_get(json, part);
		path += len + (path[len] == '.');
	}
	return json;
}

static void assert_number(json_t *json, const char *path, long long v)
{
	assert_true(json_is_integer(at(json, path)));
	assert_int_equal(json_integer_value(at(json, path)), v);
}

static void assert_text(json_t *json, const char *path, const char *v)
{
	assert_true(json_is_string(at(json, path)));
	assert_string_equal(json_string_value(at(json, path)), v);
}

static void allowed_open(void **state)
{
	(void)state;
	struct audit_event event = log_event("/payroll/a.txt");
	struct audit_entry entry = entry_of(&event);
	AUTO_BUF text = {0};
	json_t *json = export(&entry, NULL, &text);
	assert_number(json, "class_uid", 1001);
	assert_number(json, "category_uid", 1);
	assert_number(json, "activity_id", 14);
	assert_number(json, "type_uid", 100114);
	assert_number(json, "time", 1700000000123);
	assert_number(json, "severity_id", 1);
	assert_number(json, "status_id", 1);
	assert_number(json, "action_id", 1);
	assert_number(json, "disposition_id", 1);
	assert_null(at(json, "status_detail"));
	assert_text(json, "actor.user.uid", "1000");
	assert_text(json, "actor.user.name", "eva");
	assert_number(json, "actor.process.pid", 4242);
	assert_text(json, "actor.process.file.path", "/usr/bin/cat");
	assert_text(json, "actor.process.file.name", "cat");
	assert_text(json, "file.path", "/payroll/a.txt");
	assert_text(json, "file.name", "a.txt");
	assert_number(json, "file.type_id", 1);
	assert_text(json, "file.uid", "01020300000000000000000000000000");
	assert_text(json, "metadata.version", "1.8.0");
	assert_text(json, "metadata.product.name", "tenantfs");
	assert_text(json, "metadata.tenant_uid", "12345678-9a00-0000-0000-000000000000");
	assert_text(json, "metadata.correlation_uid", "9");
	assert_number(json, "metadata.sequence", 41);
	assert_string_equal(json_string_value(json_array_get(at(json, "metadata.profiles"), 0)),
		"security_control");
	assert_text(json, "unmapped.rules", "payroll");
	assert_text(json, "unmapped.operation", "open");
	json_decref(json);
}

static void denied(void **state)
{
	(void)state;
	struct audit_event event = log_event("/payroll");
	struct audit_entry entry;
	AUTO_BUF text = {0};
	event.allowed = false;
	event.error = -EACCES;
	event.count = 12;
	event.failed = "time";
	entry = entry_of(&event);
	json_t *json = export(&entry, NULL, &text);
	assert_number(json, "status_id", 2);
	assert_text(json, "status_detail", "EACCES");
	assert_number(json, "action_id", 2);
	assert_number(json, "disposition_id", 2);
	assert_number(json, "severity_id", 2);
	assert_number(json, "count", 12);
	assert_text(json, "unmapped.failed", "time");
	json_decref(json);
}

static void every_operation(void **state)
{
	(void)state;
	AUTO_BUF text = {0};
	for (int op = 0; op < OP_COUNT; op++) {
		struct audit_event event = log_event("/a");
		event.op = (enum op)op;
		event.path2 = op == OP_RENAME ? "/b" : NULL;
		struct audit_entry entry = entry_of(&event);
		json_t *json = export(&entry, NULL, &text);
		long long activity = json_integer_value(at(json, "activity_id"));
		assert_true((activity >= 1 && activity <= 14) || op == OP_CLOSE);
		assert_number(json, "type_uid", 100100 + activity);
		assert_true(json_is_string(at(json, "activity_name")));
		if (op == OP_RENAME)
			assert_text(json, "file_result.path", "/b");
		json_decref(json);
	}
}

static void every_kind(void **state)
{
	(void)state;
	static const struct {
		enum audit_kind kind;
		long long type_uid, severity;
	} cases[] = {
		{AUDIT_ACCESS, 100114, 1},
		{AUDIT_CLOSE, 100199, 1},
		{AUDIT_MOUNT, 600203, 1},
		{AUDIT_UNMOUNT, 600204, 1},
		{AUDIT_RECOVERY, 600299, 1},
		{AUDIT_POLICY, 300403, 1},
		{AUDIT_KEY, 300403, 1},
		{AUDIT_ALARM, 100199, 5},
		{AUDIT_ERASE, 100104, 1},
		{AUDIT_HEARTBEAT, 600299, 1},
	};
	AUTO_BUF text = {0};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct audit_event event = log_event(NULL);
		event.kind = cases[i].kind;
		struct audit_entry entry = entry_of(&event);
		json_t *json = export(&entry, NULL, &text);
		assert_number(json, "type_uid", cases[i].type_uid);
		assert_number(json, "severity_id", cases[i].severity);
		assert_number(json, "class_uid", cases[i].type_uid / 100);
		assert_number(json, "category_uid", cases[i].type_uid / 100000);
		long long class_uid = cases[i].type_uid / 100;
		assert_int_equal(json_is_object(at(json, "file")), class_uid == 1001);
		assert_int_equal(json_is_object(at(json, "app")), class_uid == 6002);
		assert_int_equal(json_is_object(at(json, "entity")), class_uid == 3004);
		json_decref(json);
	}
	struct audit_event beat = {.kind = AUDIT_HEARTBEAT,
		.caller = {(uid_t)-1, (gid_t)-1, 0},
		.login_uid = (uid_t)-1,
		.session = (uint32_t)-1};
	struct audit_entry end = entry_of(&beat);
	end.end = true;
	json_t *json = export(&end, NULL, &text);
	assert_number(json, "type_uid", 600299);
	assert_text(json, "activity_name", "Segment End");
	json_decref(json);
}

static void any_bytes(void **state)
{
	(void)state;
	AUTO_BUF text = {0};
	for (unsigned i = 1; i < 65536; i += i < 256 ? 1 : 251) {
		char path[8] = {'/', (char)(i & 255 ? i & 255 : 1), (char)(i >> 8), 0};
		struct audit_event event = log_event(path);
		event.path2 = event.exe = event.rules = event.because = event.message =
			event.failed = path;
		struct audit_entry entry = entry_of(&event);
		json_decref(export(&entry, NULL, &text));
	}
}

static void pseudonymised(void **state)
{
	(void)state;
	AUTO_SECRET *key = secret_random(KEY_LEN);
	struct audit_event event = log_event("/payroll/eva.txt");
	AUTO_BUF text = {0};
	AUTO_BUF again = {0};
	event.path2 = "/payroll";
	event.exe = "/home/eva/bin/tool";
	event.because = "eva asked";
	event.login_uid = 1000;
	event.session = 1000;
	struct audit_entry entry = entry_of(&event);
	json_t *json = export(&entry, key, &text);
	assert_null(strstr((char *)text.data, "eva"));
	assert_null(strstr((char *)text.data, "a.txt"));
	assert_null(strstr((char *)text.data, "1000"));
	assert_null(strstr((char *)text.data, "/payroll"));
	assert_null(strstr((char *)text.data, "tool"));
	assert_int_equal(strlen(json_string_value(at(json, "actor.user.uid"))), 22);
	/* the same user and the same name are the same everywhere: login and user, folder and
	 * parent */
	assert_string_equal(json_string_value(at(json, "unmapped.login_uid")),
		json_string_value(at(json, "actor.user.uid")));
	assert_int_equal(strncmp(json_string_value(at(json, "file.path")),
				 json_string_value(at(json, "file_result.path")), 23),
		0);
	json_decref(json);
	/* what the log has hidden already stays as it is */
	entry.hidden = true;
	event.path = entry.event.path = "/xxxxxxxxxxxxxxxxxxxxxx";
	json = export(&entry, key, &again);
	assert_text(json, "file.path", "/xxxxxxxxxxxxxxxxxxxxxx");
	json_decref(json);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(allowed_open),
		cmocka_unit_test(denied),
		cmocka_unit_test(every_operation),
		cmocka_unit_test(every_kind),
		cmocka_unit_test(any_bytes),
		cmocka_unit_test(pseudonymised),
	};
	if (crypto_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
