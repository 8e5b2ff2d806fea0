#include "fs/store/xattr.h"

#include "keymgmt/base/buf.h"
#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <linux/limits.h>
#include <string.h>

/*
 * Lower name: PREFIX b64(SIV(name key, "xattr", name)), or for a long one PREFIX "~"
 * b64(BLAKE2b-256 of that); lower value: salt || SIV(value key, suffix of the lower name || salt,
 * body) (docs/format.md, "Extended attributes").
 */
#define PREFIX "user.tfs."
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define PLAIN_PREFIX "user."
#define PLAIN_PREFIX_LEN (sizeof(PLAIN_PREFIX) - 1)
#define NAME_MAX_SEALED (XATTR_NAME_MAX + CRYPTO_SIV_LEN)
#define SALT_LEN 16
#define BODY_VERSION 1
#define BODY_HEAD 3 /* version u8, length of the sealed long name u16 */
#define AD_MAX (XATTR_NAME_MAX + SALT_LEN)

static const char name_ad[] = "xattr";

/* The keys of one file or directory, and where its attributes are. */
struct place {
	const struct store *store;
	int fd;
	struct secret *name, *value;
	const uint8_t *id;
	uint8_t file_id[FILE_ID_LEN];
};

static void place_done(struct place *p)
{
	secret_free(p->name);
	secret_free(p->value);
}
#define AUTO_PLACE AUTO(place_done) struct place

static bool is_acl(const char *name)
{
	return !strcmp(name, "system.posix_acl_access") ||
	       !strcmp(name, "system.posix_acl_default");
}

/* -EOPNOTSUPP for what is neither ours to seal nor kept as it is; 1 sealed, 0 kept. */
static int kind_of(const char *name)
{
	if (is_acl(name))
		return 0;
	if (strncmp(name, PLAIN_PREFIX, PLAIN_PREFIX_LEN) != 0)
		return -EOPNOTSUPP;
	if (!name[PLAIN_PREFIX_LEN])
		return -EINVAL;
	return strlen(name) <= XATTR_NAME_MAX ? 1 : -ERANGE;
}

static struct lower *lower_of(struct file *f, struct dir *d, int *ret_fd)
{
	*ret_fd = f ? file_fd(f) : d->fd;
	return f ? file_store(f)->lower : d->store->lower;
}

/* Keys and all. -ENODATA for an empty file without header unless `make` gives it one. */
static int place_of(struct file *f, struct dir *d, bool make, struct place *ret)
{
	const struct secret *key = d ? d->name_key : NULL;
	*ret = (struct place){
		.store = d ? d->store : file_store(f), .id = d ? d->id : ret->file_id};
	ret->fd = d ? d->fd : file_fd(f);
	if (f) {
		file_id(f, ret->file_id);
		if (!make && bytes_all_zero(ret->file_id, FILE_ID_LEN))
			return -ENODATA;
		int rc = file_xattr_key(f, &key);
		if (rc)
			return rc;
		file_id(f, ret->file_id);
	}
	ret->name = crypto_derive(key, "tenantfs xattr name", NULL, 0, 64);
	ret->value = crypto_derive(key, "tenantfs xattr value", NULL, 0, 64);
	return ret->name && ret->value ? 0 : -ENOMEM;
}

static int alarm_bad(const struct place *p, const char *detail)
{
	struct store_alarm alarm = {"xattr", detail, p->id, 0, UINT64_MAX};
	return store_alarm(p->store, &alarm);
}

/* A sealed attribute name: as on the disk, and the bytes that a long one hides. */
struct sealed {
	char lower[XATTR_NAME_MAX + 1];
	uint8_t bytes[NAME_MAX_SEALED];
	size_t len;
	bool is_long;
};

static void lower_name(struct sealed *s)
{
	memcpy(s->lower, PREFIX, PREFIX_LEN);
	s->is_long = PREFIX_LEN + crypto_b64_len(s->len) > XATTR_NAME_MAX;
	if (!s->is_long) {
		crypto_b64(s->bytes, s->len, s->lower + PREFIX_LEN);
		return;
	}
	uint8_t hash[32];
	crypto_digest(s->bytes, s->len, hash, sizeof(hash));
	s->lower[PREFIX_LEN] = '~';
	crypto_b64(hash, sizeof(hash), s->lower + PREFIX_LEN + 1);
}

static int seal_name(const struct place *p, const char *name, struct sealed *ret)
{
	const char *plain = name + PLAIN_PREFIX_LEN;
	size_t len = strlen(plain);
	ret->len = len + CRYPTO_SIV_LEN;
	int rc = crypto_siv_seal(p->name, name_ad, sizeof(name_ad) - 1, plain, len, ret->bytes);
	if (!rc)
		lower_name(ret);
	return rc;
}

/* What a value is bound to: the lower name without its prefix, and the salt. */
static size_t value_ad(const char *lower, const uint8_t *salt, uint8_t ret[static AD_MAX])
{
	size_t len = strlen(lower + PREFIX_LEN);
	memcpy(ret, lower + PREFIX_LEN, len);
	memcpy(ret + len, salt, SALT_LEN);
	return len + SALT_LEN;
}

static void wipe_buf(struct buf *b)
{
	if (b->data)
		crypto_wipe(b->data, b->cap);
	buf_done(b);
}
#define AUTO_WIPED AUTO(wipe_buf) struct buf

/* An attribute's bytes in the lower file, whatever their length. */
static int read_lower(const struct place *p, const char *lower, struct buf *ret)
{
	struct lower *l = p->store->lower;
	for (;;) {
		ssize_t n = l->ops->fgetxattr(l, p->fd, lower, NULL, 0);
		if (n < 0)
			return (int)n;
		buf_reset(ret);
		if (!buf_reserve(ret, (size_t)n + 1))
			return -ENOMEM;
		n = l->ops->fgetxattr(l, p->fd, lower, ret->data, (size_t)n + 1);
		if (n >= 0)
			ret->len = (size_t)n;
		if (n != -ERANGE) /* else it grew in between */
			return n < 0 ? (int)n : 0;
	}
}

/* The body of the attribute `lower`: BODY_HEAD, sealed long name, value. -EBADMSG without alarm. */
static int read_body(const struct place *p, const char *lower, struct buf *body)
{
	AUTO_BUF sealed = {0};
	uint8_t ad[AD_MAX];
	int rc = read_lower(p, lower, &sealed);
	if (rc)
		return rc;
	if (sealed.len < SALT_LEN + CRYPTO_SIV_LEN + BODY_HEAD)
		return -EBADMSG;
	size_t len = sealed.len - SALT_LEN - CRYPTO_SIV_LEN;
	if (!buf_reserve(body, len))
		return -ENOMEM;
	size_t ad_len = value_ad(lower, sealed.data, ad);
	rc = crypto_siv_open(
		p->value, ad, ad_len, sealed.data + SALT_LEN, sealed.len - SALT_LEN, body->data);
	if (rc)
		return rc;
	body->len = len;
	if (body->data[0] != BODY_VERSION)
		return -EPROTONOSUPPORT;
	return len - BODY_HEAD < bytes_get16(body->data + 1) ? -EBADMSG : 0;
}

ssize_t xattr_get(struct file *f, struct dir *d, const char *name, void *ret, size_t size)
{
	int kind = kind_of(name), fd;
	struct lower *l = lower_of(f, d, &fd);
	if (kind <= 0)
		return kind < 0 ? kind : l->ops->fgetxattr(l, fd, name, ret, size);
	AUTO_PLACE p = {0};
	AUTO_WIPED body = {0};
	struct sealed s;
	int rc = place_of(f, d, false, &p);
	if (!rc)
		rc = seal_name(&p, name, &s);
	if (!rc)
		rc = read_body(&p, s.lower, &body);
	if (rc == -EBADMSG)
		return alarm_bad(&p, "an attribute does not verify");
	if (rc)
		return rc;
	size_t head = BODY_HEAD + bytes_get16(body.data + 1), len = body.len - head;
	if (!size)
		return (ssize_t)len;
	if (size < len)
		return -ERANGE;
	memcpy(ret, body.data + head, len);
	return (ssize_t)len;
}

int xattr_set(
	struct file *f, struct dir *d, const char *name, const void *value, size_t size, int flags)
{
	int kind = kind_of(name), fd;
	struct lower *l = lower_of(f, d, &fd);
	if (kind <= 0)
		return kind < 0 ? kind : l->ops->fsetxattr(l, fd, name, value, size, flags);
	if (size > XATTR_SIZE_MAX)
		return -E2BIG;
	AUTO_PLACE p = {0};
	AUTO_WIPED body = {0};
	AUTO_BUF out = {0};
	struct sealed s;
	int rc = place_of(f, d, true, &p);
	if (!rc)
		rc = seal_name(&p, name, &s);
	if (rc)
		return rc;
	buf_reserve(&body, BODY_HEAD + NAME_MAX_SEALED + size);
	buf_put8(&body, BODY_VERSION);
	buf_put16(&body, s.is_long ? (uint16_t)s.len : 0);
	buf_put(&body, s.bytes, s.is_long ? s.len : 0);
	buf_put(&body, value, size);
	if (!buf_ok(&body) || !buf_reserve(&out, SALT_LEN + CRYPTO_SIV_LEN + body.len))
		return -ENOMEM;
	uint8_t ad[AD_MAX];
	crypto_nonce(out.data, SALT_LEN);
	size_t ad_len = value_ad(s.lower, out.data, ad);
	rc = crypto_siv_seal(p.value, ad, ad_len, body.data, body.len, out.data + SALT_LEN);
	if (rc)
		return rc;
	out.len = SALT_LEN + CRYPTO_SIV_LEN + body.len;
	rc = l->ops->fsetxattr(l, fd, s.lower, out.data, out.len, flags);
	return rc == -ERANGE ? -E2BIG : rc;
}

int xattr_remove(struct file *f, struct dir *d, const char *name)
{
	int kind = kind_of(name), fd;
	struct lower *l = lower_of(f, d, &fd);
	if (kind <= 0)
		return kind < 0 ? kind : l->ops->fremovexattr(l, fd, name);
	AUTO_PLACE p = {0};
	struct sealed s;
	int rc = place_of(f, d, false, &p);
	if (!rc)
		rc = seal_name(&p, name, &s);
	return rc ? rc : l->ops->fremovexattr(l, fd, s.lower);
}

/* The sealed name that a lower one stands for. */
static int sealed_of(const struct place *p, const char *lower, struct sealed *ret)
{
	const char *text = lower + PREFIX_LEN;
	if (*text != '~') {
		ssize_t n = crypto_unb64(text, strlen(text), ret->bytes, sizeof(ret->bytes));
		ret->len = n < 0 ? 0 : (size_t)n;
		return n < 0 ? (int)n : 0;
	}
	AUTO_WIPED body = {0};
	int rc = read_body(p, lower, &body);
	if (rc)
		return rc;
	ret->len = bytes_get16(body.data + 1);
	if (ret->len > sizeof(ret->bytes))
		return -EBADMSG;
	memcpy(ret->bytes, body.data + BODY_HEAD, ret->len);
	return 0;
}

/* Appends the plaintext name of one sealed attribute, with its zero byte. */
static int list_one(const struct place *p, const char *lower, struct buf *names)
{
	struct sealed s;
	char plain[XATTR_NAME_MAX + 1];
	int rc = sealed_of(p, lower, &s);
	if (rc)
		return rc;
	if (s.len <= CRYPTO_SIV_LEN || s.len - CRYPTO_SIV_LEN > XATTR_NAME_MAX - PLAIN_PREFIX_LEN)
		return -EBADMSG;
	size_t len = s.len - CRYPTO_SIV_LEN;
	rc = crypto_siv_open(p->name, name_ad, sizeof(name_ad) - 1, s.bytes, s.len, plain);
	if (rc)
		return rc;
	lower_name(&s);
	if (strcmp(s.lower, lower) != 0 || memchr(plain, 0, len))
		return -EBADMSG;
	buf_put(names, PLAIN_PREFIX, PLAIN_PREFIX_LEN);
	buf_put(names, plain, len);
	buf_put8(names, 0);
	crypto_wipe(plain, sizeof(plain));
	return 0;
}

/* All names of the lower file: zero-terminated, one after the other. */
static int list_lower(struct lower *l, int fd, struct buf *ret)
{
	for (;;) {
		ssize_t n = l->ops->flistxattr(l, fd, NULL, 0);
		if (n <= 0)
			return (int)n;
		buf_reset(ret);
		if (!buf_reserve(ret, (size_t)n))
			return -ENOMEM;
		n = l->ops->flistxattr(l, fd, (char *)ret->data, (size_t)n);
		if (n >= 0)
			ret->len = (size_t)n;
		if (n != -ERANGE)
			return n < 0 ? (int)n : 0;
	}
}

/* As the answer of listxattr(2). */
static ssize_t give_names(const struct buf *names, char *ret, size_t size)
{
	if (!buf_ok(names))
		return -ENOMEM;
	if (!size)
		return (ssize_t)names->len;
	if (size < names->len)
		return -ERANGE;
	if (names->len)
		memcpy(ret, names->data, names->len);
	return (ssize_t)names->len;
}

ssize_t xattr_list(struct file *f, struct dir *d, char *ret, size_t size)
{
	int fd;
	struct lower *l = lower_of(f, d, &fd);
	AUTO_BUF lower = {0};
	AUTO_WIPED names = {0};
	AUTO_PLACE p = {0};
	int rc = list_lower(l, fd, &lower);
	buf_reserve(&names, lower.len + XATTR_NAME_MAX);
	for (size_t at = 0; !rc && at < lower.len;) {
		const char *one = (const char *)lower.data + at;
		at += strlen(one) + 1;
		if (is_acl(one))
			buf_put(&names, one, strlen(one) + 1);
		if (strncmp(one, PREFIX, PREFIX_LEN) != 0)
			continue;
		if (!p.name)
			rc = place_of(f, d, false, &p);
		if (!rc)
			rc = list_one(&p, one, &names);
		if (rc == -EBADMSG)
			rc = alarm_bad(&p, "an attribute's name does not verify");
		if (rc == -ENODATA) /* left over beside a header that never came, or removed
				       meanwhile */
			rc = 0;
	}
	return rc ? rc : give_names(&names, ret, size);
}

ssize_t xattr_get_keyless(struct lower *l, int fd, const char *name, void *ret, size_t size)
{
	return is_acl(name) ? l->ops->fgetxattr(l, fd, name, ret, size) : -EOPNOTSUPP;
}

ssize_t xattr_list_keyless(struct lower *l, int fd, char *ret, size_t size)
{
	AUTO_BUF lower = {0};
	AUTO_BUF names = {0};
	int rc = list_lower(l, fd, &lower);
	for (size_t at = 0; !rc && at < lower.len;) {
		const char *one = (const char *)lower.data + at;
		at += strlen(one) + 1;
		if (is_acl(one))
			buf_put(&names, one, strlen(one) + 1);
	}
	return rc ? rc : give_names(&names, ret, size);
}

int xattr_set_keyless(
	struct lower *l, int fd, const char *name, const void *value, size_t size, int flags)
{
	return is_acl(name) ? l->ops->fsetxattr(l, fd, name, value, size, flags) : -EOPNOTSUPP;
}

int xattr_remove_keyless(struct lower *l, int fd, const char *name)
{
	return is_acl(name) ? l->ops->fremovexattr(l, fd, name) : -EOPNOTSUPP;
}

static int check_one(const struct place *p, const char *lower)
{
	AUTO_WIPED names = {0};
	AUTO_WIPED body = {0};
	int rc = list_one(p, lower, &names);
	if (!rc && !buf_ok(&names))
		rc = -ENOMEM;
	return rc ? rc : read_body(p, lower, &body);
}

int xattr_check(struct file *f, struct dir *d, void (*bad)(void *context, const char *lower),
	void *context, uint64_t *ret_count)
{
	int fd;
	struct lower *l = lower_of(f, d, &fd);
	AUTO_BUF lower = {0};
	AUTO_PLACE p = {0};
	int rc = list_lower(l, fd, &lower);
	for (size_t at = 0; !rc && at < lower.len;) {
		const char *one = (const char *)lower.data + at;
		at += strlen(one) + 1;
		if (strncmp(one, PREFIX, PREFIX_LEN) != 0)
			continue;
		if (!p.name)
			rc = place_of(f, d, false, &p);
		if (rc == -ENODATA) /* left over beside a header that never came */
			return 0;
		if (!rc)
			rc = check_one(&p, one);
		if (rc == -EBADMSG || rc == -EPROTONOSUPPORT) {
			bad(context, one);
			rc = 0;
		} else if (rc == -ENODATA) { /* removed meanwhile */
			rc = 0;
		} else if (!rc) {
			++*ret_count;
		}
	}
	return rc;
}
