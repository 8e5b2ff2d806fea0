/* A record of the audit trail as JSON, and its export as OCSF. */
#include "fs/gate/audit_ocsf.h"
#include "tests/fuzz/fuzz.h"

#include <jansson.h>

static const struct secret *pseudonym_key(void)
{
	static struct secret *key;
	if (!key)
		key = secret_random(KEY_LEN);
	FUZZ_CHECK(key);
	return key;
}

static const char *name_of(void *context, uid_t uid)
{
	(void)context;
	return uid % 2 ? NULL : "m\"ar\xffia";
}

static void check_export(const struct audit_entry *entry, bool hidden)
{
	AUTO_BUF b = {0};
	const struct audit_ocsf_options o = {.tenant = "acme",
		.tenant_uuid = fuzz_owner.tenant_uuid,
		.version = "1",
		.pseudonym_key = hidden ? pseudonym_key() : NULL,
		.user_name = name_of};
	audit_ocsf_format(&b, entry, &o);
	FUZZ_CHECK(buf_ok(&b) && b.len > 2 && !memchr(b.data, '\n', b.len) &&
		   !memchr(b.data, 0, b.len));
	json_t *json = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
	FUZZ_CHECK(json_is_object(json));
	FUZZ_CHECK(json_is_integer(json_object_get(json, "class_uid")));
	json_decref(json);
}

static void check_text(const char *a, const char *b, bool cut)
{
	/* An empty string is left out. */
	if (cut || !a || !a[0] || !b)
		return;
	FUZZ_CHECK(strcmp(a, b) == 0);
}

/* Formatting what was read and reading that again changes nothing. */
static void check_again(const struct audit_entry *e)
{
	AUTO_BUF b = {0};
	AUTO_BUF second = {0};
	struct audit_entry f;
	const struct audit_stamp stamp = {.sequence = e->sequence,
		.time_ns = e->time_ns,
		.paths = AUDIT_PATH_CLEAR,
		.head = e->has_head ? e->head : NULL,
		.end = e->end};
	audit_record_format(&b, &e->event, &stamp);
	FUZZ_CHECK(buf_ok(&b) && b.len <= (1u << 18));
	int r = audit_record_parse((const char *)b.data, b.len, &f);
	FUZZ_CHECK(r == 0);
	FUZZ_CHECK(f.sequence == e->sequence && f.time_ns == e->time_ns && f.end == e->end);
	FUZZ_CHECK(f.has_head == e->has_head);
	FUZZ_CHECK(!e->has_head || memcmp(f.head, e->head, sizeof(f.head)) == 0);
	FUZZ_CHECK(f.event.kind == e->event.kind);
	if (!e->end && e->event.kind != AUDIT_HEARTBEAT) {
		bool cut = b.len > 1000;
		FUZZ_CHECK(f.event.allowed == e->event.allowed && f.event.error == e->event.error);
		FUZZ_CHECK(
			f.event.caller.uid == e->event.caller.uid && f.event.acts == e->event.acts);
		FUZZ_CHECK(f.event.correlation == e->event.correlation);
		check_text(e->event.path, f.event.path, cut);
		check_text(e->event.path2, f.event.path2, cut);
		check_text(e->event.exe, f.event.exe, cut);
		check_text(e->event.message, f.event.message, cut);
		check_text(e->event.because, f.event.because, cut);
	}
	audit_record_format(&second, &f.event, &stamp);
	FUZZ_CHECK(second.len == b.len && memcmp(second.data, b.data, b.len) == 0);
	audit_record_done(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct audit_entry e;
	fuzz_begin();
	int r = audit_record_parse((const char *)bytes, len, &e);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	if (r < 0)
		return 0;
	check_export(&e, false);
	check_export(&e, true);
	check_again(&e);
	audit_record_done(&e);
	return 0;
}

void fuzz_seeds(void)
{
	static const uint8_t id[16] = {1, 2, 3};
	char name[16];
	for (int kind = AUDIT_ACCESS; kind <= AUDIT_HEARTBEAT; kind++) {
		AUTO_BUF b = {0};
		const struct audit_stamp stamp = {.sequence = 7,
			.time_ns = 1790000000000000000u,
			.paths = kind & 1 ? AUDIT_PATH_CLEAR : AUDIT_PATH_HMAC,
			.path_key = pseudonym_key(),
			.head = kind == AUDIT_HEARTBEAT
					? (const uint8_t *)"0123456789abcdef0123456789abcdef"
					: NULL,
			.end = kind == AUDIT_ERASE};
		const struct audit_event event = {.kind = (enum audit_kind)kind,
			.op = OP_RENAME,
			.allowed = kind & 1,
			.error = kind & 1 ? 0 : -EACCES,
			.caller = {1000, 1001, 4242},
			.login_uid = 1000,
			.session = 3,
			.exe = "/usr/bin/ca\"t",
			.path = "/payroll/\xff.txt",
			.path2 = "/payroll/b",
			.file_id = id,
			.acts = ACT_READ | ACT_WRITE,
			.rules = "payroll",
			.failed = "action",
			.because = "HR",
			.correlation = 9,
			.bytes_read = 5,
			.bytes_written = 6,
			.count = 3,
			.message = "text"};
		audit_record_format(&b, &event, &stamp);
		snprintf(name, sizeof(name), "kind-%d", kind);
		fuzz_seed(name, b.data, b.len);
	}
	static const char minimal[] =
		"{\"n\":1,\"t\":2,\"kind\":\"access\",\"error\":\"E123\",\"path_b64\":\"YQ\"}";
	fuzz_seed("minimal", minimal, sizeof(minimal) - 1);
}
