#include "fs/gate/audit_next.h"

#include "fs/gate/audit.h"
#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

/* docs/audit.md, "audit/next" */
#define SLOT_LEN 512
#define SLOT_STEP 4096
#define SIGNING_LEN 64
enum {
	AT_VERSION = 8,
	AT_NONCE = 16,
	AT_BODY = 40,
	BODY_NUMBER = 0,
	BODY_ENDED = 4,
	BODY_PRED_LEN = 8,
	BODY_PRED_HEAD = 16,
	BODY_SIGNING = BODY_PRED_HEAD + AUDIT_HEAD_LEN,
	BODY_LEN = BODY_SIGNING + SIGNING_LEN,
};

static const uint8_t magic[8] = "TFSNEXT1";

void audit_next_done(struct audit_next *n)
{
	secret_free(n->signing);
	n->signing = NULL;
}

struct binding {
	uint8_t bytes[16 + 2 * CRYPTO_ID_LEN];
};

static struct binding binding(const struct keyring *k, const uint8_t *slot)
{
	const struct keyring_owner *owner = keyring_owner(k);
	struct binding b;
	memcpy(b.bytes, slot, 16); /* magic, version */
	memcpy(b.bytes + 16, owner->store_uuid, CRYPTO_ID_LEN);
	memcpy(b.bytes + 32, owner->tenant_uuid, CRYPTO_ID_LEN);
	return b;
}

static int pack(const struct keyring *k, const struct audit_next *n, uint8_t ret[static SLOT_LEN])
{
	AUTO_SECRET *key = keyring_mdk_subkey(k, "audit", false);
	AUTO_SECRET *body = secret_new(BODY_LEN);
	if (!key || !body)
		return -ENOMEM;
	memset(ret, 0, SLOT_LEN);
	memcpy(ret, magic, sizeof(magic));
	bytes_put64(ret + AT_VERSION, n->version);
	crypto_random(ret + AT_NONCE, 2 * CRYPTO_NONCE_LEN);
	bytes_put32(secret_bytes(body) + BODY_NUMBER, n->number);
	bytes_put32(secret_bytes(body) + BODY_ENDED, n->ended);
	bytes_put64(secret_bytes(body) + BODY_PRED_LEN, n->pred_len);
	memcpy(secret_bytes(body) + BODY_PRED_HEAD, n->pred_head, AUDIT_HEAD_LEN);
	memcpy(secret_bytes(body) + BODY_SIGNING, secret_peek(n->signing), SIGNING_LEN);
	struct binding ad = binding(k, ret);
	return crypto_seal(CRYPTO_XCHACHA20_POLY1305, key, ret + AT_NONCE,
		ret + AT_NONCE + CRYPTO_NONCE_LEN, ad.bytes, sizeof(ad.bytes), secret_peek(body),
		BODY_LEN, ret + AT_BODY, ret + AT_BODY + BODY_LEN);
}

static int open_body(
	const struct keyring *k, const uint8_t *slot, bool retiring, struct secret *body)
{
	AUTO_SECRET *key = keyring_mdk_subkey(k, "audit", retiring);
	if (!key)
		return retiring && !keyring_mdk_retires(k) ? -EBADMSG : -ENOMEM;
	struct binding ad = binding(k, slot);
	return crypto_open(CRYPTO_XCHACHA20_POLY1305, key, slot + AT_NONCE,
		slot + AT_NONCE + CRYPTO_NONCE_LEN, ad.bytes, sizeof(ad.bytes), slot + AT_BODY,
		BODY_LEN, secret_bytes(body), slot + AT_BODY + BODY_LEN);
}

/* -EBADMSG for a slot that holds no key. */
static int parse(const struct keyring *k, const uint8_t *slot, struct audit_next *ret)
{
	AUTO_SECRET *body = secret_new(BODY_LEN);
	AUTO_SECRET *signing = secret_new(SIGNING_LEN);
	if (!body || !signing)
		return -ENOMEM;
	if (memcmp(slot, magic, sizeof(magic)) != 0)
		return -EBADMSG;
	bool retiring = false;
	int r = open_body(k, slot, false, body);
	if (r == -EBADMSG) {
		retiring = true;
		r = open_body(k, slot, true, body);
	}
	if (r < 0)
		return r;
	*ret = (struct audit_next){
		.number = bytes_get32(secret_peek(body) + BODY_NUMBER),
		.ended = bytes_get32(secret_peek(body) + BODY_ENDED) != 0,
		.pred_len = bytes_get64(secret_peek(body) + BODY_PRED_LEN),
		.version = bytes_get64(slot + AT_VERSION),
		.stale = -1,
		.retiring = retiring,
	};
	memcpy(ret->pred_head, secret_peek(body) + BODY_PRED_HEAD, AUDIT_HEAD_LEN);
	memcpy(secret_bytes(signing), secret_peek(body) + BODY_SIGNING, SIGNING_LEN);
	ret->signing = signing;
	signing = NULL;
	return 0;
}

static int write_slot(struct lower *l, int fd, const struct keyring *k, const struct audit_next *n)
{
	uint8_t bytes[SLOT_LEN];
	int r = pack(k, n, bytes);
	if (r == 0)
		r = lower_write_all(l, fd, bytes, sizeof(bytes), (uint64_t)n->slot * SLOT_STEP);
	return r < 0 ? r : l->ops->fsync(l, fd, true);
}

int audit_next_create(struct lower *l, int dir_fd, const struct keyring *k, struct audit_next *n)
{
	uint8_t bytes[SLOT_STEP + SLOT_LEN];
	int fd = l->ops->openat(l, dir_fd, "next", O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	if (fd < 0)
		return fd;
	n->slot = 0;
	n->version = 1;
	crypto_random(bytes, sizeof(bytes));
	int r = lower_write_all(l, fd, bytes, sizeof(bytes), 0);
	if (r == 0)
		r = write_slot(l, fd, k, n);
	if (r == 0)
		r = l->ops->fsync(l, fd, false);
	l->ops->close(l, fd);
	return r;
}

static int read_slots(struct lower *l, int dir_fd, uint8_t ret[2][SLOT_LEN])
{
	int fd = l->ops->openat(l, dir_fd, "next", O_RDONLY | O_NONBLOCK, 0, NULL), r = 0;
	if (fd < 0)
		return fd;
	for (unsigned i = 0; i < 2 && r == 0; i++)
		r = lower_read_all(l, fd, ret[i], SLOT_LEN, (uint64_t)i * SLOT_STEP);
	l->ops->close(l, fd);
	return r;
}

/* Which of two valid slots is in force: index, or -errno. */
static int choose(struct lower *l, int dir_fd, const struct audit_next found[2])
{
	int newer = found[1].version > found[0].version ? 1 : 0;
	struct stat st;
	char name[AUDIT_SEGMENT_NAME_LEN];
	if (found[newer].number == found[!newer].number)
		return newer;
	audit_segment_name(found[!newer].number, name);
	int r = l->ops->fstatat(l, dir_fd, name, &st);
	if (r == -ENOENT)
		return !newer;
	return r < 0 ? r : newer;
}

int audit_next_load(
	struct lower *l, int dir_fd, const struct keyring *k, struct audit_next *ret, struct err *e)
{
	uint8_t slots[2][SLOT_LEN];
	AUTO(audit_next_auto) struct audit_next a = {0};
	AUTO(audit_next_auto) struct audit_next b = {0};
	int r = read_slots(l, dir_fd, slots);
	if (r < 0)
		return err_set(e, r,
			"audit/next cannot be read (%s); restore it with the rest of the tenant",
			strerror(-r));
	int ra = parse(k, slots[0], &a), rb = parse(k, slots[1], &b), chosen = ra < 0;
	if ((ra < 0 && ra != -EBADMSG) || (rb < 0 && rb != -EBADMSG))
		return ra < 0 && ra != -EBADMSG ? ra : rb;
	if (ra < 0 && rb < 0)
		return err_set(e, -EBADMSG,
			"audit/next is damaged or belongs to another state of the keys; "
			"restore it with the rest of the tenant");
	if (ra == 0 && rb == 0)
		chosen = choose(l, dir_fd, (const struct audit_next[2]){a, b});
	if (chosen < 0)
		return chosen;
	bool both = ra == 0 && rb == 0, retiring = a.retiring || b.retiring;
	struct audit_next *from = chosen ? &b : &a;
	*ret = *from;
	ret->slot = (unsigned)chosen;
	ret->stale = both ? !chosen : -1;
	ret->retiring = retiring;
	from->signing = NULL;
	return 0;
}

int audit_next_store(struct lower *l, int dir_fd, const struct keyring *k, struct audit_next *n)
{
	int fd = l->ops->openat(l, dir_fd, "next", O_RDWR | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd;
	n->slot = !n->slot;
	n->version++;
	int r = write_slot(l, fd, k, n);
	l->ops->close(l, fd);
	return r;
}

int audit_next_shred(struct lower *l, int dir_fd, unsigned slot)
{
	uint8_t bytes[SLOT_LEN];
	int fd = l->ops->openat(l, dir_fd, "next", O_RDWR | O_NONBLOCK, 0, NULL);
	if (fd < 0)
		return fd;
	crypto_random(bytes, sizeof(bytes));
	int r = lower_write_all(l, fd, bytes, sizeof(bytes), (uint64_t)slot * SLOT_STEP);
	if (r == 0)
		r = l->ops->fsync(l, fd, true);
	l->ops->close(l, fd);
	return r;
}

int audit_rewrap(struct lower *l, int tenant_fd, struct keyring *k, struct err *e)
{
	AUTO(audit_next_auto) struct audit_next key = {.stale = -1};
	int dir_fd = l->ops->openat(l, tenant_fd, "audit", O_RDONLY | O_DIRECTORY, 0, NULL);
	if (dir_fd < 0)
		return err_set(
			e, dir_fd, "the folder audit cannot be opened (%s)", strerror(-dir_fd));
	int r = audit_next_load(l, dir_fd, k, &key, e);
	if (r == 0 && key.stale >= 0)
		r = audit_next_shred(l, dir_fd, (unsigned)key.stale);
	unsigned used = key.slot;
	if (r == 0 && key.retiring)
		r = audit_next_store(l, dir_fd, k, &key);
	if (r == 0 && key.retiring)
		r = audit_next_shred(l, dir_fd, used);
	l->ops->close(l, dir_fd);
	return r < 0 ? err_default(e, r, "audit/next cannot be wrapped anew (%s)", strerror(-r))
		     : 0;
}
