/* The calls of a session on content and attributes, and what may be in a file after them. */
#include "tests/sim/sim_session.h"

#include "fs/store/xattr.h"

#include <dirent.h>
#include <errno.h>
#include <linux/falloc.h>
#include <string.h>

#define XATTR "user.number"

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

/* After a commit: what is there has been acknowledged, or it may as well be what was. */
static void committed(struct session_object *o, int r)
{
	struct session_content *now = &o->now;
	const struct session_content *acked = &o->acked;
	if (r >= 0) {
		o->acked = *now;
		return;
	}
	now->low = least(now->low, acked->low);
	now->high = most(now->high, acked->high);
	for (unsigned u = 0; u < SESSION_UNITS; u++)
		now->mask[u] |= acked->mask[u];
}

/* Units [at, end) come from this write or, unless it is sure, from what they came from before. */
static void comes_from(
	struct session_content *c, uint32_t at, uint32_t end, unsigned tag, bool sure)
{
	for (uint32_t u = at; u < end && u < SESSION_UNITS; u++)
		c->mask[u] = (sure ? 0 : c->mask[u]) | 1u << tag;
}

static struct file *begin(struct session *s, const char *what, int object, bool changes)
{
	if (!sim_session_begin(s, what, changes) || object < 0)
		return NULL;
	struct session_object *o = &s->objects[object];
	if (!o->now.mask[0])
		for (unsigned u = 0; u < SESSION_UNITS; u++)
			o->now.mask[u] = o->acked.mask[u] = 1;
	struct file *f = sim_session_file(s, object);
	s->what = what;
	return f;
}

void session_content_write(struct session *s, int object, uint32_t at, uint32_t units)
{
	static uint8_t bytes[SESSION_UNITS * SESSION_UNIT];
	struct file *f = begin(s, "write", object, true);
	if (!f)
		return;
	struct session_object *o = &s->objects[object];
	unsigned tag = ++o->tag;
	if (tag > SESSION_TAGS || at + units > SESSION_UNITS) {
		sim_session_wrong(s, "the script writes too much");
		return;
	}
	memset(bytes, (int)tag, units * SESSION_UNIT);
	ssize_t n = file_write(f, bytes, units * SESSION_UNIT, (uint64_t)at * SESSION_UNIT);
	uint32_t done = n > 0 ? (uint32_t)n / SESSION_UNIT : 0;
	if (n < 0)
		(void)sim_session_said(s, (int)n);
	else if (done < units && !sim_session_hit(s) && s->error != -ENOSPC)
		sim_session_wrong(s, "%zd bytes only", n);
	comes_from(&o->now, at, at + done, tag, true);
	comes_from(&o->now, at + done, at + units, tag, false);
	o->now.low = most(o->now.low, done ? at + done : 0);
	o->now.high = most(o->now.high, at + units);
}

void session_content_truncate(struct session *s, int object, uint32_t size)
{
	struct file *f = begin(s, "truncate", object, true);
	if (!f)
		return;
	struct session_content *now = &s->objects[object].now;
	int r = sim_session_said(s, file_truncate(f, (uint64_t)size * SESSION_UNIT));
	now->low = r < 0 ? least(now->low, size) : size;
	now->high = r < 0 ? most(now->high, size) : size;
	comes_from(now, size, SESSION_UNITS, 0, r == 0);
	s->what = "truncate's commit";
	committed(&s->objects[object], sim_session_said(s, file_commit(f)));
}

void session_content_range(struct session *s, int object, int mode, uint32_t at, uint32_t units)
{
	struct file *f = begin(s, "fallocate", object, true);
	if (!f)
		return;
	struct session_content *now = &s->objects[object].now;
	int r = sim_session_said(s, file_range_change(f, mode, (uint64_t)at * SESSION_UNIT,
					    (uint64_t)units * SESSION_UNIT));
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE))
		comes_from(now, at, at + units, 0, r == 0);
	if (!(mode & FALLOC_FL_KEEP_SIZE)) {
		now->high = most(now->high, at + units);
		now->low = most(now->low, r == 0 ? at + units : 0);
	}
	s->what = "fallocate's commit";
	committed(&s->objects[object], sim_session_said(s, file_commit(f)));
}

static void check_bytes(
	struct session *s, const struct session_content *now, const uint8_t *bytes, size_t len)
{
	if (len % SESSION_UNIT || len < (size_t)now->low * SESSION_UNIT ||
		len > (size_t)now->high * SESSION_UNIT)
		sim_session_wrong(s, "%zu bytes, not %u to %u units", len, now->low, now->high);
	for (size_t u = 0; u < len / SESSION_UNIT; u++) {
		const uint8_t *at = bytes + u * SESSION_UNIT;
		if (*at > SESSION_TAGS || !(now->mask[u] & 1u << *at) ||
			memcmp(at, at + 1, SESSION_UNIT - 1) != 0)
			sim_session_wrong(s, "unit %zu of %zu is from write %u, not of %x", u,
				len / SESSION_UNIT, *at, now->mask[u]);
	}
}

void session_content_read(struct session *s, int object)
{
	static uint8_t bytes[(SESSION_UNITS + 1) * SESSION_UNIT];
	struct stat st;
	struct file *f = begin(s, "read", object, false);
	if (!f)
		return;
	int r = sim_session_said(s, file_stat(f, &st));
	ssize_t n = file_read(f, bytes, sizeof(bytes), 0);
	if (n < 0)
		(void)sim_session_said(s, (int)n);
	if (r < 0 || n < 0)
		return;
	if (st.st_size != n)
		sim_session_wrong(s, "%zd bytes of %lld", n, (long long)st.st_size);
	check_bytes(s, &s->objects[object].now, bytes, (size_t)n);
}

void session_content_fsync(struct session *s, int object, bool data_only)
{
	struct file *f = begin(s, "fsync", object, false);
	if (!f)
		return;
	int r = store_is_read_only(&s->s.store) ? -EIO : file_sync(f, data_only);
	committed(&s->objects[object], sim_session_said(s, r));
}

void session_content_close(struct session *s, int object)
{
	if (object < 0 || !s->objects[object].file)
		return;
	struct session_object *o = &s->objects[object];
	s->what = "close";
	s->calls++;
	committed(o, sim_session_said(s, file_commit(o->file)));
	file_put(o->file);
	o->file = NULL;
}

static size_t xattr_len(unsigned value)
{
	return 10 + value * 40;
}

static bool xattr_owner(struct session *s, int object, struct file **f, struct dir **d)
{
	*f = NULL;
	*d = NULL;
	if (s->objects[object].type == DT_DIR)
		*d = sim_session_dir(s, (unsigned)object);
	else if (s->objects[object].type == DT_REG)
		*f = sim_session_file(s, object);
	return *f || *d;
}

void session_content_xattr(struct session *s, int object, unsigned value)
{
	uint8_t bytes[400];
	struct file *f;
	struct dir *d;
	if (!sim_session_begin(s, "xattr", true) || object < 0 || !xattr_owner(s, object, &f, &d))
		return;
	struct session_object *o = &s->objects[object];
	s->what = value ? "setxattr" : "removexattr";
	memset(bytes, (int)value, sizeof(bytes));
	int r = value ? xattr_set(f, d, XATTR, bytes, xattr_len(value), 0)
		      : xattr_remove(f, d, XATTR);
	if (r == -ENODATA && o->xattr & 1)
		r = 0;
	else
		r = sim_session_said(s, r);
	o->xattr = (r == 0 ? 0 : o->xattr) | 1u << value;
}

void session_content_check_xattr(struct session *s, int object)
{
	uint8_t bytes[400] = {0};
	struct file *f;
	struct dir *d;
	const struct session_object *o = &s->objects[object];
	if (!sim_session_begin(s, "getxattr", false) || o->type == DT_LNK ||
		!xattr_owner(s, object, &f, &d))
		return;
	ssize_t n = xattr_get(f, d, XATTR, bytes, sizeof(bytes));
	if (n < 0 && n != -ENODATA) {
		(void)sim_session_said(s, (int)n);
		return;
	}
	unsigned value = n < 0 ? 0 : bytes[0];
	if (value > 9 || !(o->xattr & 1u << value) ||
		(n >= 0 && ((size_t)n != xattr_len(value) ||
				   memcmp(bytes, bytes + 1, (size_t)n - 1) != 0)))
		sim_session_wrong(s, "value %u, not of %x", value, o->xattr);
}
