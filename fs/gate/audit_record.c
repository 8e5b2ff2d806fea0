#include "fs/gate/audit_record.h"

#include "keymgmt/base/jsontext.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define TEXT_MAX 1024

static const char *const kinds[] = {
	[AUDIT_ACCESS] = "access",
	[AUDIT_CLOSE] = "close",
	[AUDIT_MOUNT] = "mount",
	[AUDIT_UNMOUNT] = "unmount",
	[AUDIT_RECOVERY] = "recovery",
	[AUDIT_POLICY] = "policy",
	[AUDIT_KEY] = "key",
	[AUDIT_ALARM] = "alarm",
	[AUDIT_ERASE] = "erase",
	[AUDIT_HEARTBEAT] = "heartbeat",
};
#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *const ops[OP_COUNT] = {
	[OP_LOOKUP] = "lookup",
	[OP_GETATTR] = "getattr",
	[OP_ACCESS] = "access",
	[OP_READLINK] = "readlink",
	[OP_OPEN] = "open",
	[OP_OPENDIR] = "opendir",
	[OP_READDIR] = "readdir",
	[OP_CREATE] = "create",
	[OP_MKDIR] = "mkdir",
	[OP_MKNOD] = "mknod",
	[OP_SYMLINK] = "symlink",
	[OP_LINK] = "link",
	[OP_UNLINK] = "unlink",
	[OP_RMDIR] = "rmdir",
	[OP_RENAME] = "rename",
	[OP_TRUNCATE] = "truncate",
	[OP_CHMOD] = "chmod",
	[OP_CHOWN] = "chown",
	[OP_UTIMENS] = "utimens",
	[OP_GETXATTR] = "getxattr",
	[OP_LISTXATTR] = "listxattr",
	[OP_SETXATTR] = "setxattr",
	[OP_REMOVEXATTR] = "removexattr",
	[OP_FALLOCATE] = "fallocate",
	[OP_CLOSE] = "close",
};

static const struct {
	unsigned bit;
	const char *name;
} acts[] = {
	{ACT_LIST, "list"},
	{ACT_READ, "read"},
	{ACT_WRITE, "write"},
	{ACT_CREATE, "create"},
	{ACT_DELETE, "delete"},
	{ACT_MANAGE, "manage"},
};
#define ACTS (sizeof(acts) / sizeof(acts[0]))

const char *audit_record_kind(enum audit_kind kind)
{
	return (size_t)kind < KINDS ? kinds[kind] : "unknown";
}

const char *audit_record_op(enum op op)
{
	return (size_t)op < OP_COUNT && ops[op] ? ops[op] : "unknown";
}

int audit_record_op_number(const char *name)
{
	for (int i = 0; i < OP_COUNT; i++)
		if (ops[i] && strcmp(ops[i], name) == 0)
			return i;
	return -ENOENT;
}

/* Decimal without stdio: this runs for every open. */
static size_t decimal(uint64_t v, char ret[static 20])
{
	char digits[20];
	size_t n = 0;
	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	for (size_t i = 0; i < n; i++)
		ret[i] = digits[n - 1 - i];
	return n;
}

static void put_u64(struct buf *b, uint64_t v)
{
	char text[20];
	buf_put(b, text, decimal(v, text));
}

void audit_record_errno(int error, char ret[static 24])
{
	int positive = error < 0 ? -error : error;
	const char *name = strerrorname_np(positive);
	size_t n = name ? strlen(name) : 0;
	if (n > 0 && n < 24) {
		memcpy(ret, name, n + 1);
		return;
	}
	ret[0] = 'E';
	ret[1 + decimal((uint64_t)positive, ret + 1)] = 0;
}

static int errno_number(const char *name)
{
	for (int i = 1; i < 134; i++) {
		const char *known = strerrorname_np(i);
		if (known && strcmp(known, name) == 0)
			return -i;
	}
	char *end;
	unsigned long n = name[0] == 'E' ? strtoul(name + 1, &end, 10) : 0;
	return n > 0 && n < 4096 && !*end ? -(int)n : -EIO;
}

/* The comma before every member but the first. key: with quotes and colon. */
static void member(struct buf *b, const char *key)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_put8(b, ',');
	buf_str(b, key);
}

static void put_number(struct buf *b, const char *key, uint64_t v)
{
	member(b, key);
	put_u64(b, v);
}

static bool is_plain(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (s[i] < 0x20 || s[i] == '"' || s[i] == '\\' || s[i] == 0x7f)
			return false;
	return true;
}

/* strlen(s) or max, less the beginning of a UTF-8 character that the cut would split. */
static size_t cut_length(const char *s, size_t max)
{
	size_t len = strnlen(s, max + 1);
	if (len <= max)
		return len;
	len = max;
	while (len > max - 4 && ((uint8_t)s[len] & 0xc0) == 0x80)
		len--;
	return len;
}

/* False when some bytes are not UTF-8, and were replaced. */
static bool put_quoted(struct buf *b, const char *s, size_t max)
{
	size_t len = cut_length(s, max), before = b->len;
	if (is_plain(s, len)) {
		buf_put8(b, '"');
		buf_put(b, s, len);
		buf_put8(b, '"');
		return true;
	}
	char copy[PATH_MAX + 1];
	memcpy(copy, s, len);
	copy[len] = 0;
	buf_json(b, copy);
	/* Replacement happened where there are more U+FFFD out than in. */
	size_t in = 0, out = 0;
	for (const char *p = copy; (p = strstr(p, "\xef\xbf\xbd")); p += 3)
		in++;
	for (size_t i = before; buf_ok(b) && i + 3 <= b->len; i++)
		out += memcmp(b->data + i, "\xef\xbf\xbd", 3) == 0;
	return in == out;
}

static void put_text(struct buf *b, const char *key, const char *s)
{
	if (!s || !*s)
		return;
	member(b, key);
	put_quoted(b, s, TEXT_MAX);
}

/* `size` bytes as b64. */
static void put_bytes(struct buf *b, const char *key, const void *bytes, size_t size)
{
	size_t len = crypto_b64_len(size);
	member(b, key);
	buf_put8(b, '"');
	if (!buf_reserve(b, len + 1))
		return;
	crypto_b64(bytes, size, (char *)b->data + b->len);
	b->len += len;
	buf_put8(b, '"');
}

void audit_record_hide_path(struct buf *b, const struct secret *key, const char *path)
{
	while (*path) {
		const char *slash = strchrnul(path, '/');
		if (slash > path) {
			uint8_t mac[16];
			char text[24];
			crypto_mac(key, path, (size_t)(slash - path), mac, sizeof(mac));
			crypto_b64(mac, sizeof(mac), text);
			buf_str(b, text);
		}
		if (!*slash)
			return;
		buf_put8(b, '/');
		path = slash + 1;
	}
}

struct secret *audit_record_path_key(const struct keyring *k)
{
	const struct secret *names = keyring_nmk(k, keyring_nmk_epoch(k));
	const struct keyring_owner *owner = keyring_owner(k);
	return names ? crypto_derive(
			       names, "audit-path", owner->tenant_uuid, CRYPTO_ID_LEN, KEY_LEN)
		     : NULL;
}

/* key: `"path` without its closing quote, since bytes that are not UTF-8 go into a second member.
 */
static void put_path(
	struct buf *b, const char *key, const char *path, const struct audit_stamp *stamp)
{
	if (!path || stamp->paths == AUDIT_PATH_NONE)
		return;
	member(b, key);
	if (stamp->paths == AUDIT_PATH_HMAC) {
		buf_str(b, "_h\":\"");
		audit_record_hide_path(b, stamp->path_key, path);
		buf_put8(b, '"');
		return;
	}
	buf_str(b, "\":");
	if (put_quoted(b, path, PATH_MAX))
		return;
	member(b, key);
	buf_str(b, "_b64\":\"");
	size_t len = cut_length(path, PATH_MAX), text = crypto_b64_len(len);
	if (!buf_reserve(b, text + 1))
		return;
	crypto_b64(path, len, (char *)b->data + b->len);
	b->len += text;
	buf_put8(b, '"');
}

static void put_who(struct buf *b, const struct audit_event *event)
{
	put_number(b, "\"uid\":", event->caller.uid);
	put_number(b, "\"gid\":", event->caller.gid);
	if (event->caller.pid)
		put_number(b, "\"pid\":", (uint64_t)event->caller.pid);
	if (event->login_uid != (uid_t)-1)
		put_number(b, "\"login\":", event->login_uid);
	if (event->session != (uint32_t)-1)
		put_number(b, "\"session\":", event->session);
	if (event->exe) {
		member(b, "\"exe\":");
		put_quoted(b, event->exe, PATH_MAX);
	}
}

static void put_acts(struct buf *b, unsigned bits)
{
	const char *comma = "";
	if (!(bits & ACT_ANY))
		return;
	member(b, "\"acts\":\"");
	for (size_t i = 0; i < ACTS; i++)
		if (bits & acts[i].bit) {
			buf_str(b, comma);
			buf_str(b, acts[i].name);
			comma = ",";
		}
	buf_put8(b, '"');
}

static void put_event(
	struct buf *b, const struct audit_event *event, const struct audit_stamp *stamp)
{
	bool access = event->kind == AUDIT_ACCESS || event->kind == AUDIT_CLOSE;
	if (access || event->op) {
		member(b, "\"op\":\"");
		buf_str(b, audit_record_op(event->op));
		buf_put8(b, '"');
	}
	if (event->kind == AUDIT_HEARTBEAT)
		return;
	member(b, event->allowed ? "\"allowed\":true" : "\"allowed\":false");
	if (event->error) {
		char name[24];
		audit_record_errno(event->error, name);
		put_text(b, "\"error\":", name);
	}
	put_who(b, event);
	put_path(b, "\"path", event->path, stamp);
	put_path(b, "\"path2", event->path2, stamp);
	if (event->file_id)
		put_bytes(b, "\"file\":", event->file_id, 16);
	put_acts(b, event->acts);
	put_text(b, "\"rules\":", event->rules);
	put_text(b, "\"failed\":", event->failed);
	put_text(b, "\"because\":", event->because);
	if (event->correlation)
		put_number(b, "\"handle\":", event->correlation);
	if (event->kind == AUDIT_CLOSE || event->bytes_read)
		put_number(b, "\"read\":", event->bytes_read);
	if (event->kind == AUDIT_CLOSE || event->bytes_written)
		put_number(b, "\"written\":", event->bytes_written);
	if (event->count > 1)
		put_number(b, "\"count\":", event->count);
	put_text(b, "\"message\":", event->message);
}

void audit_record_format(
	struct buf *b, const struct audit_event *event, const struct audit_stamp *stamp)
{
	buf_put8(b, '{');
	put_number(b, "\"n\":", stamp->sequence);
	put_number(b, "\"t\":", stamp->time_ns);
	member(b, "\"kind\":\"");
	buf_str(b, stamp->end ? "end" : audit_record_kind(event->kind));
	buf_put8(b, '"');
	if (!stamp->end)
		put_event(b, event, stamp);
	if (stamp->head)
		put_bytes(b, "\"head\":", stamp->head, 32);
	buf_put8(b, '}');
}

/* 0..max; `absent` for anything else, so that every number fits where it goes, and into JSON again.
 */
static uint64_t get_number(json_t *json, const char *key, uint64_t max, uint64_t absent)
{
	json_t *v = json_object_get(json, key);
	if (!json_is_integer(v) || json_integer_value(v) < 0 ||
		(uint64_t)json_integer_value(v) > max)
		return absent;
	return (uint64_t)json_integer_value(v);
}

static const char *get_text(json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

static bool get_bytes(json_t *json, const char *key, uint8_t *ret, size_t len)
{
	const char *text = get_text(json, key);
	return text && crypto_unb64(text, strlen(text), ret, len) == (ssize_t)len;
}

/* Room for the bytes of a path that is not UTF-8, or NULL for any other. False: out of memory. */
static bool make_room(json_t *json, const char *key_b64, char **ret)
{
	const char *exact = get_text(json, key_b64);
	*ret = exact ? malloc(strlen(exact) + 1) : NULL;
	return !exact || *ret;
}

static const char *get_path(
	json_t *json, const char *key, const char *key_b64, const char *key_h, char *room)
{
	const char *exact = get_text(json, key_b64), *hidden = get_text(json, key_h);
	if (!exact || !room)
		return hidden ? hidden : get_text(json, key);
	ssize_t n = crypto_unb64(exact, strlen(exact), room, strlen(exact));
	if (n < 0)
		return get_text(json, key);
	room[n] = 0;
	return room;
}

static unsigned get_acts(const char *text)
{
	unsigned bits = 0;
	while (text && *text) {
		size_t len = strcspn(text, ",");
		for (size_t i = 0; i < ACTS; i++)
			if (strlen(acts[i].name) == len && memcmp(acts[i].name, text, len) == 0)
				bits |= acts[i].bit;
		text += len + (text[len] == ',');
	}
	return bits;
}

static void get_event(json_t *json, struct audit_entry *entry)
{
	struct audit_event *event = &entry->event;
	const char *op = get_text(json, "op"), *error = get_text(json, "error");
	int number = op ? audit_record_op_number(op) : -ENOENT;
	event->op = number < 0 ? OP_LOOKUP : (enum op)number;
	event->allowed = json_is_true(json_object_get(json, "allowed"));
	event->error = error ? errno_number(error) : 0;
	event->caller.uid = (uid_t)get_number(json, "uid", UINT32_MAX, (uid_t)-1);
	event->caller.gid = (gid_t)get_number(json, "gid", UINT32_MAX, (gid_t)-1);
	event->caller.pid = (pid_t)get_number(json, "pid", INT_MAX, 0);
	event->login_uid = (uid_t)get_number(json, "login", UINT32_MAX, (uid_t)-1);
	event->session = (uint32_t)get_number(json, "session", UINT32_MAX, (uint32_t)-1);
	event->exe = get_text(json, "exe");
	event->path = get_path(json, "path", "path_b64", "path_h", entry->owned[0]);
	entry->hidden = get_text(json, "path_h") || get_text(json, "path2_h");
	event->path2 = get_path(json, "path2", "path2_b64", "path2_h", entry->owned[1]);
	if (get_bytes(json, "file", entry->file_id, sizeof(entry->file_id)))
		event->file_id = entry->file_id;
	event->acts = get_acts(get_text(json, "acts"));
	event->rules = get_text(json, "rules");
	event->failed = get_text(json, "failed");
	event->because = get_text(json, "because");
	event->correlation = get_number(json, "handle", INT64_MAX, 0);
	event->bytes_read = get_number(json, "read", INT64_MAX, 0);
	event->bytes_written = get_number(json, "written", INT64_MAX, 0);
	event->count = (uint32_t)get_number(json, "count", UINT32_MAX, 1);
	event->message = get_text(json, "message");
}

int audit_record_parse(const char *text, size_t len, struct audit_entry *ret)
{
	json_t *json = NULL;
	int r = jsontext_parse(text, len, &json);
	if (r < 0)
		return r;
	const char *kind = get_text(json, "kind");
	if (!kind || get_number(json, "n", INT64_MAX, UINT64_MAX) == UINT64_MAX ||
		get_number(json, "t", INT64_MAX, UINT64_MAX) == UINT64_MAX) {
		json_decref(json);
		return -EBADMSG;
	}
	*ret = (struct audit_entry){.json = json};
	ret->sequence = get_number(json, "n", INT64_MAX, 0);
	ret->time_ns = get_number(json, "t", INT64_MAX, 0);
	ret->end = strcmp(kind, "end") == 0;
	ret->has_head = get_bytes(json, "head", ret->head, sizeof(ret->head));
	size_t i = 0;
	while (i < KINDS && strcmp(kinds[i], kind) != 0)
		i++;
	if (i == KINDS && !ret->end) {
		audit_record_done(ret);
		return -EBADMSG;
	}
	if (!make_room(json, "path_b64", &ret->owned[0]) ||
		!make_room(json, "path2_b64", &ret->owned[1])) {
		audit_record_done(ret);
		return -ENOMEM;
	}
	ret->event.kind = ret->end ? AUDIT_HEARTBEAT : (enum audit_kind)i;
	get_event(json, ret);
	return 0;
}

void audit_record_done(struct audit_entry *entry)
{
	json_decref(entry->json);
	free(entry->owned[0]);
	free(entry->owned[1]);
	*entry = (struct audit_entry){0};
}
