#include "fs/gate/audit_ocsf.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Numbers of schema.ocsf.io, version 1.8.0. */
enum {
	CLASS_FILE = 1001,      /* File System Activity, category 1 */
	CLASS_ENTITY = 3004,    /* Entity Management, category 3 */
	CLASS_LIFECYCLE = 6002, /* Application Lifecycle, category 6 */
	OTHER = 99,
	FILE_UNKNOWN = 0,
	FILE_REGULAR = 1,
	FILE_FOLDER = 2,
	FILE_LINK = 7,
};

struct activity {
	unsigned id;
	const char *name;
	unsigned file_type;
};

static const struct activity activities[OP_COUNT] = {
	[OP_LOOKUP] = {8, "Get Attributes", FILE_UNKNOWN},
	[OP_GETATTR] = {8, "Get Attributes", FILE_UNKNOWN},
	[OP_ACCESS] = {9, "Get Security", FILE_UNKNOWN},
	[OP_READLINK] = {2, "Read", FILE_LINK},
	[OP_OPEN] = {14, "Open", FILE_REGULAR},
	[OP_OPENDIR] = {14, "Open", FILE_FOLDER},
	[OP_READDIR] = {2, "Read", FILE_FOLDER},
	[OP_CREATE] = {1, "Create", FILE_REGULAR},
	[OP_MKDIR] = {1, "Create", FILE_FOLDER},
	[OP_MKNOD] = {1, "Create", FILE_UNKNOWN},
	[OP_SYMLINK] = {1, "Create", FILE_LINK},
	[OP_LINK] = {1, "Create", FILE_REGULAR},
	[OP_UNLINK] = {4, "Delete", FILE_UNKNOWN},
	[OP_RMDIR] = {4, "Delete", FILE_FOLDER},
	[OP_RENAME] = {5, "Rename", FILE_UNKNOWN},
	[OP_TRUNCATE] = {3, "Update", FILE_REGULAR},
	[OP_CHMOD] = {7, "Set Security", FILE_UNKNOWN},
	[OP_CHOWN] = {7, "Set Security", FILE_UNKNOWN},
	[OP_UTIMENS] = {6, "Set Attributes", FILE_UNKNOWN},
	[OP_GETXATTR] = {8, "Get Attributes", FILE_UNKNOWN},
	[OP_LISTXATTR] = {8, "Get Attributes", FILE_UNKNOWN},
	[OP_SETXATTR] = {6, "Set Attributes", FILE_UNKNOWN},
	[OP_REMOVEXATTR] = {6, "Set Attributes", FILE_UNKNOWN},
	[OP_FALLOCATE] = {3, "Update", FILE_REGULAR},
	[OP_CLOSE] = {OTHER, "Close", FILE_REGULAR},
};

/* Kinds other than access and close. */
static const struct {
	unsigned class_uid, activity;
	const char *name;
} kinds[] = {
	[AUDIT_MOUNT] = {CLASS_LIFECYCLE, 3, "Start"},
	[AUDIT_UNMOUNT] = {CLASS_LIFECYCLE, 4, "Stop"},
	[AUDIT_RECOVERY] = {CLASS_LIFECYCLE, OTHER, "Recovery"},
	[AUDIT_POLICY] = {CLASS_ENTITY, 3, "Update"},
	[AUDIT_KEY] = {CLASS_ENTITY, 3, "Update"},
	[AUDIT_ALARM] = {CLASS_FILE, OTHER, "Integrity Alarm"},
	[AUDIT_ERASE] = {CLASS_FILE, 4, "Delete"},
	[AUDIT_HEARTBEAT] = {CLASS_LIFECYCLE, OTHER, "Heartbeat"},
};

static bool is_access(const struct audit_event *event)
{
	return event->kind == AUDIT_ACCESS || event->kind == AUDIT_CLOSE;
}

/* The comma before every member but the first. */
static void member(struct buf *b, const char *name)
{
	if (b->len && b->data[b->len - 1] != '{')
		buf_put8(b, ',');
	buf_printf(b, "\"%s\":", name);
}

static void put_text(struct buf *b, const char *name, const char *text)
{
	if (!text)
		return;
	member(b, name);
	buf_json(b, text);
}

static void put_number(struct buf *b, const char *name, uint64_t v)
{
	member(b, name);
	buf_printf(b, "%" PRIu64, v);
}

static void open_object(struct buf *b, const char *name)
{
	member(b, name);
	buf_put8(b, '{');
}

static void close_object(struct buf *b)
{
	buf_put8(b, '}');
}

static void put_hex(struct buf *b, const char *name, const uint8_t *bytes, size_t len)
{
	member(b, name);
	buf_put8(b, '"');
	for (size_t i = 0; i < len; i++)
		buf_printf(b, "%02x", bytes[i]);
	buf_put8(b, '"');
}

static void put_uuid(struct buf *b, const char *name, const uint8_t u[static 16])
{
	member(b, name);
	buf_put8(b, '"');
	for (int i = 0; i < 16; i++)
		buf_printf(b, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", u[i]);
	buf_put8(b, '"');
}

/* The number, or the keyed hash of "uid:1000", "session:7". */
static void put_id(struct buf *b, const char *name, const char *of, uint32_t id,
	const struct audit_ocsf_options *o)
{
	char text[32];
	uint8_t mac[16];
	snprintf(text, sizeof(text), "%" PRIu32, id);
	if (!o->pseudonym_key) {
		put_text(b, name, text);
		return;
	}
	snprintf(text, sizeof(text), "%s:%" PRIu32, of, id);
	crypto_mac(o->pseudonym_key, text, strlen(text), mac, sizeof(mac));
	crypto_b64(mac, sizeof(mac), text);
	put_text(b, name, text);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash && slash[1] ? slash + 1 : path;
}

static bool is_system(const char *exe)
{
	return strncmp(exe, "/usr/", 5) == 0 || strncmp(exe, "/bin/", 5) == 0 ||
	       strncmp(exe, "/sbin/", 6) == 0;
}

/* Members name and path of a file object. */
static void put_path(struct buf *b, const char *path, const struct secret *hide_with)
{
	AUTO_BUF hidden = {0};
	if (hide_with) {
		audit_record_hide_path(&hidden, hide_with, path);
		buf_put8(&hidden, 0);
		if (!buf_ok(&hidden)) {
			b->failed = true;
			return;
		}
		path = (const char *)hidden.data;
	}
	put_text(b, "name", base_name(path));
	put_text(b, "path", path);
}

static void put_file(struct buf *b, const char *name, const char *path,
	const struct audit_entry *entry, const struct audit_ocsf_options *o)
{
	static const struct {
		unsigned id;
		const char *name;
	} types[] = {{FILE_REGULAR, "Regular File"}, {FILE_FOLDER, "Folder"},
		{FILE_LINK, "Symbolic Link"}};
	const struct audit_event *event = &entry->event;
	unsigned type = is_access(event) ? activities[event->op].file_type : FILE_UNKNOWN;
	const char *type_name = "Unknown";
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (types[i].id == type)
			type_name = types[i].name;
	open_object(b, name);
	if (path)
		put_path(b, path, entry->hidden ? NULL : o->pseudonym_key);
	else
		put_text(b, "name", "unknown");
	put_number(b, "type_id", type);
	put_text(b, "type", type_name);
	if (event->file_id)
		put_hex(b, "uid", event->file_id, 16);
	close_object(b);
}

static void put_actor(
	struct buf *b, const struct audit_event *event, const struct audit_ocsf_options *o)
{
	open_object(b, "actor");
	if (event->caller.uid != (uid_t)-1) {
		open_object(b, "user");
		put_id(b, "uid", "uid", event->caller.uid, o);
		if (!o->pseudonym_key && o->user_name)
			put_text(b, "name", o->user_name(o->context, event->caller.uid));
		close_object(b);
	}
	if (event->session != (uint32_t)-1) {
		open_object(b, "session");
		put_id(b, "uid", "session", event->session, o);
		close_object(b);
	}
	if (event->caller.pid || event->exe) {
		open_object(b, "process");
		if (event->caller.pid)
			put_number(b, "pid", (uint64_t)event->caller.pid);
		if (event->exe) {
			put_text(b, "name",
				is_system(event->exe) || !o->pseudonym_key ? base_name(event->exe)
									   : NULL);
			open_object(b, "file");
			put_path(b, event->exe, is_system(event->exe) ? NULL : o->pseudonym_key);
			put_number(b, "type_id", FILE_REGULAR);
			close_object(b);
		}
		close_object(b);
	}
	put_text(b, "app_name", event->caller.pid || event->exe ? NULL : "tenantfs");
	close_object(b);
}

static void put_metadata(
	struct buf *b, const struct audit_entry *entry, const struct audit_ocsf_options *o)
{
	char text[48];
	open_object(b, "metadata");
	put_text(b, "version", "1.8.0");
	open_object(b, "product");
	put_text(b, "name", "tenantfs");
	put_text(b, "vendor_name", "tenantfs");
	put_text(b, "version", o->version);
	close_object(b);
	member(b, "profiles");
	buf_str(b, "[\"security_control\"]");
	snprintf(text, sizeof(text), "%" PRIu32 "/%" PRIu64, entry->segment, entry->record);
	put_text(b, "uid", text);
	put_number(b, "sequence", entry->sequence);
	put_uuid(b, "tenant_uid", o->tenant_uuid);
	if (entry->event.correlation) {
		snprintf(text, sizeof(text), "%" PRIu64, entry->event.correlation);
		put_text(b, "correlation_uid", text);
	}
	close_object(b);
}

static void put_unmapped(
	struct buf *b, const struct audit_entry *entry, const struct audit_ocsf_options *o)
{
	const struct audit_event *event = &entry->event;
	open_object(b, "unmapped");
	put_text(b, "kind", entry->end ? "end" : audit_record_kind(event->kind));
	if (is_access(event))
		put_text(b, "operation", audit_record_op(event->op));
	put_number(b, "acts", event->acts);
	put_text(b, "rules", event->rules);
	put_text(b, "failed", event->failed);
	if (!o->pseudonym_key)
		put_text(b, "because", event->because);
	/* A personal group's number is its user's. */
	if (event->caller.gid != (gid_t)-1 && !o->pseudonym_key)
		put_number(b, "gid", event->caller.gid);
	if (event->login_uid != (uid_t)-1)
		put_id(b, "login_uid", "uid", event->login_uid, o);
	if (event->kind == AUDIT_CLOSE) {
		put_number(b, "bytes_read", event->bytes_read);
		put_number(b, "bytes_written", event->bytes_written);
	}
	if (entry->suspect) {
		member(b, "suspect");
		buf_str(b, "true");
	}
	close_object(b);
}

static void put_class(struct buf *b, const struct audit_entry *entry)
{
	const struct audit_event *event = &entry->event;
	struct activity a;
	unsigned class_uid = CLASS_FILE;
	if (entry->end) {
		class_uid = CLASS_LIFECYCLE;
		a = (struct activity){OTHER, "Segment End", 0};
	} else if (is_access(event)) {
		a = event->kind == AUDIT_CLOSE ? activities[OP_CLOSE] : activities[event->op];
	} else {
		class_uid = kinds[event->kind].class_uid;
		a = (struct activity){kinds[event->kind].activity, kinds[event->kind].name, 0};
	}
	put_number(b, "class_uid", class_uid);
	put_number(b, "category_uid", class_uid / 1000);
	put_number(b, "activity_id", a.id);
	put_text(b, "activity_name", a.name);
	put_number(b, "type_uid", class_uid * 100 + a.id);
	if (class_uid == CLASS_LIFECYCLE) {
		open_object(b, "app");
		put_text(b, "name", "tenantfs");
		put_text(b, "vendor_name", "tenantfs");
		close_object(b);
	} else if (class_uid == CLASS_ENTITY) {
		open_object(b, "entity");
		put_text(b, "name", audit_record_kind(event->kind));
		put_number(b, "type_id", event->kind == AUDIT_POLICY ? 5 : OTHER);
		put_text(b, "type", event->kind == AUDIT_POLICY ? "Policy" : "Key");
		close_object(b);
	}
}

static void put_outcome(struct buf *b, const struct audit_entry *entry)
{
	const struct audit_event *event = &entry->event;
	bool access = is_access(event), refused = access && !event->allowed;
	bool failed = refused || event->error || event->kind == AUDIT_ALARM;
	unsigned severity = event->kind == AUDIT_ALARM ? 5 : refused ? 2 : 1;
	char name[24];
	put_number(b, "severity_id", severity);
	put_number(b, "status_id", failed ? 2 : 1);
	put_text(b, "status", failed ? "Failure" : "Success");
	if (event->error) {
		audit_record_errno(event->error, name);
		put_text(b, "status_code", name);
		put_text(b, "status_detail", name);
	}
	if (access) {
		put_number(b, "action_id", refused ? 2 : 1);
		put_text(b, "action", refused ? "Denied" : "Allowed");
		put_number(b, "disposition_id", refused ? 2 : 1);
		put_text(b, "disposition", refused ? "Blocked" : "Allowed");
	}
	if (event->count > 1)
		put_number(b, "count", event->count);
	put_text(b, "message", event->message);
}

void audit_ocsf_format(
	struct buf *b, const struct audit_entry *entry, const struct audit_ocsf_options *o)
{
	const struct audit_event *event = &entry->event;
	bool file = is_access(event) || event->kind == AUDIT_ALARM || event->kind == AUDIT_ERASE;
	buf_put8(b, '{');
	put_class(b, entry);
	put_number(b, "time", entry->time_ns / 1000000);
	put_outcome(b, entry);
	put_actor(b, event, o);
	if (file && !entry->end) {
		put_file(b, "file", event->path, entry, o);
		if (event->path2)
			put_file(b, "file_result", event->path2, entry, o);
	}
	open_object(b, "device");
	put_number(b, "type_id", OTHER);
	put_text(b, "type", "Other");
	put_text(b, "name", o->tenant);
	close_object(b);
	put_metadata(b, entry, o);
	put_unmapped(b, entry, o);
	close_object(b);
}
