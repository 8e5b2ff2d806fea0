#include "fs/gate/policy_file.h"
#include "fs/erase/trash.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/log.h"
#include "keymgmt/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 20)
#define FORMAT 1u
#define FIXED_LEN 16u /* magic, format, suite, zero, version */
#define HEAD_LEN (FIXED_LEN + 24u)
#define EXTRA (HEAD_LEN + CRYPTO_TAG_LEN)
#define HASH_LEN 32u

static const char current_name[] = "policy", new_name[] = "policy.new", old_name[] = "policy.old";
static const uint8_t magic[4] = {'T', 'F', 'S', 'P'};

struct place {
	struct lower *l;
	int dir;
	struct keyring *k;
	bool fresh; /* k is what is on the disk: what it does not name is not in force */
};

static int sync_dir(const struct place *at)
{
	/* the tenant's descriptor may be O_PATH, which cannot be synced */
	AUTO_LOWER_HELD d = {at->l, at->l->ops->reopen(at->l, at->dir, O_RDONLY | O_DIRECTORY)};
	return d.fd < 0 ? d.fd : at->l->ops->fsync(at->l, d.fd, false);
}

static int read_file(const struct place *at, const char *name, struct buf *ret)
{
	struct stat st;
	AUTO_LOWER_HELD f = {at->l, at->l->ops->openat(at->l, at->dir, name, O_RDONLY, 0, NULL)};
	if (f.fd < 0)
		return f.fd;
	int rc = at->l->ops->fstat(at->l, f.fd, &st);
	if (rc)
		return rc;
	if (!S_ISREG(st.st_mode) || st.st_size < (off_t)EXTRA ||
		st.st_size > (off_t)(TEXT_MAX + EXTRA))
		return -EBADMSG;
	buf_reset(ret);
	if (!buf_reserve(ret, (size_t)st.st_size))
		return -ENOMEM;
	rc = lower_read_all(at->l, f.fd, ret->data, (size_t)st.st_size, 0);
	if (!rc)
		ret->len = (size_t)st.st_size;
	return rc;
}

static bool is_named(const struct place *at, const struct buf *sealed)
{
	uint8_t want[HASH_LEN], have[HASH_LEN];
	keyring_policy_hash(at->k, want);
	crypto_digest(sealed->data, sealed->len, have, sizeof(have));
	return crypto_equal(want, have, sizeof(want));
}

/* Overwrites and unlinks a file, or only unlinks it where it is a second name of the current one. 0
 * when there is none. */
static int discard(const struct place *at, const char *name)
{
	struct stat st;
	struct trash_receipt receipt;
	AUTO_LOWER_HELD f = {at->l, at->l->ops->openat(at->l, at->dir, name, O_RDWR, 0, NULL)};
	if (f.fd < 0)
		return f.fd == -ENOENT ? 0 : f.fd;
	int rc = at->l->ops->fstat(at->l, f.fd, &st);
	if (!rc && st.st_nlink == 1)
		rc = trash_overwrite(at->l, f.fd, &receipt);
	return rc ? rc : at->l->ops->unlinkat(at->l, at->dir, name, 0);
}

/* policy.new, which the keyring names, becomes the policy. */
static int install(const struct place *at)
{
	int rc = discard(at, old_name);
	if (!rc) {
		rc = at->l->ops->linkat(at->l, at->dir, current_name, at->dir, old_name);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (!rc)
		rc = at->l->ops->renameat(at->l, at->dir, new_name, at->dir, current_name, 0);
	if (!rc)
		rc = sync_dir(at);
	return rc ? rc : discard(at, old_name);
}

/* The sealed bytes that the keyring names, wherever an interrupted update left them. */
static int read_named(const struct place *at, struct buf *ret)
{
	uint8_t hash[HASH_LEN];
	keyring_policy_hash(at->k, hash);
	if (bytes_all_zero(hash, sizeof(hash)))
		return -ENOENT;
	int rc = read_file(at, current_name, ret);
	if (rc && rc != -ENOENT && rc != -EBADMSG)
		return rc;
	int tidied = 0;
	if (!rc && is_named(at, ret)) {
		tidied = discard(at, old_name);
		if (!tidied && at->fresh)
			tidied = discard(at, new_name);
	} else {
		rc = read_file(at, new_name, ret);
		if (rc && rc != -ENOENT && rc != -EBADMSG)
			return rc;
		if (rc || !is_named(at, ret))
			return -EBADMSG;
		tidied = install(at);
	}
	if (tidied)
		log_say(LOG_LEVEL_WARNING, "The last policy update is not finished yet: %s",
			strerror(-tidied));
	return 0;
}

static void associate(
	const struct place *at, const uint8_t *head, uint8_t ret[static FIXED_LEN + 32])
{
	const struct keyring_owner *owner = keyring_owner(at->k);
	memcpy(ret, head, FIXED_LEN);
	memcpy(ret + FIXED_LEN, owner->store_uuid, 16);
	memcpy(ret + FIXED_LEN + 16, owner->tenant_uuid, 16);
}

static int seal(
	const struct place *at, const void *text, size_t len, uint64_t version, struct buf *ret)
{
	uint8_t ad[FIXED_LEN + 32];
	AUTO_SECRET *key = keyring_mdk_subkey(at->k, "policy", false);
	if (!key || !buf_reserve(ret, len + EXTRA))
		return -ENOMEM;
	uint8_t *head = ret->data;
	memcpy(head, magic, sizeof(magic));
	bytes_put16(head + 4, FORMAT);
	head[6] = CRYPTO_XCHACHA20_POLY1305;
	head[7] = 0;
	bytes_put64(head + 8, version);
	crypto_random(head + FIXED_LEN, 24);
	associate(at, head, ad);
	int rc =
		crypto_seal(CRYPTO_XCHACHA20_POLY1305, key, head + FIXED_LEN, head + FIXED_LEN + 12,
			ad, sizeof(ad), text, len, head + HEAD_LEN, head + HEAD_LEN + len);
	if (!rc)
		ret->len = len + EXTRA;
	return rc;
}

static int open_with(const struct place *at, bool retiring, const struct buf *sealed, uint8_t *out)
{
	uint8_t ad[FIXED_LEN + 32];
	size_t len = sealed->len - EXTRA;
	const uint8_t *head = sealed->data;
	AUTO_SECRET *key = keyring_mdk_subkey(at->k, "policy", retiring);
	if (!key)
		return retiring && !keyring_mdk_retires(at->k) ? -EBADMSG : -ENOMEM;
	associate(at, head, ad);
	return crypto_open(CRYPTO_XCHACHA20_POLY1305, key, head + FIXED_LEN, head + FIXED_LEN + 12,
		ad, sizeof(ad), head + HEAD_LEN, len, out, head + HEAD_LEN + len);
}

static int open_sealed(const struct place *at, const struct buf *sealed, struct buf *ret_text,
	uint64_t *ret_version)
{
	size_t len = sealed->len - EXTRA;
	if (memcmp(sealed->data, magic, sizeof(magic)))
		return -EBADMSG;
	if (bytes_get16(sealed->data + 4) != FORMAT || sealed->data[6] != CRYPTO_XCHACHA20_POLY1305)
		return -EPROTONOSUPPORT;
	if (!buf_reserve(ret_text, len + 1))
		return -ENOMEM;
	uint8_t *out = ret_text->data + ret_text->len;
	int rc = open_with(at, false, sealed, out);
	if (rc == -EBADMSG)
		rc = open_with(at, true, sealed, out);
	out[rc ? 0 : len] = 0;
	if (rc)
		return rc;
	ret_text->len += len;
	*ret_version = bytes_get64(sealed->data + 8);
	return 0;
}

static int load(const struct place *at, struct buf *ret_text, uint64_t *ret_version, struct err *e)
{
	AUTO_BUF sealed = {0};
	int rc = read_named(at, &sealed);
	if (!rc)
		rc = open_sealed(at, &sealed, ret_text, ret_version);
	switch (rc) {
	case 0:
		return 0;
	case -ENOENT:
		return err_set(e, rc,
			"This tenant has no policy yet; give it one with: tenantctl policy apply");
	case -EBADMSG:
		return err_set(e, rc,
			"The policy file is damaged or not the one that the keyring names; restore "
			"it or "
			"apply the policy again");
	case -EPROTONOSUPPORT:
		return err_set(e, rc,
			"The policy file has a newer format than this program; use a newer "
			"tenantfs");
	default:
		return err_set(e, rc, "The policy file cannot be read: %s", strerror(-rc));
	}
}

int policy_file_load(struct lower *l, int tenant_fd, struct keyring *k, struct buf *ret_text,
	uint64_t *ret_version, struct err *e)
{
	return load(&(struct place){l, tenant_fd, k, true}, ret_text, ret_version, e);
}

/*
 * An earlier update may have left policy.new. Where the keyring names it, it is installed; else the
 * keyring is stored once more before it goes, since the one on disk may name it when storing failed
 * half-way.
 */
static int settle(const struct place *at, int keys_fd, struct err *e)
{
	AUTO_BUF left = {0};
	int rc = read_file(at, new_name, &left);
	if (rc == -ENOENT)
		return discard(at, old_name);
	if (rc && rc != -EBADMSG)
		return rc;
	if (!rc && is_named(at, &left))
		return install(at);
	rc = keyring_store(at->k, keys_fd, e);
	return rc ? rc : discard(at, new_name);
}

static int write_new(const struct place *at, const struct buf *sealed)
{
	AUTO_LOWER_HELD f = {at->l, at->l->ops->openat(at->l, at->dir, new_name,
					    O_WRONLY | O_CREAT | O_EXCL, 0600, NULL)};
	if (f.fd < 0)
		return f.fd;
	int rc = lower_write_all(at->l, f.fd, sealed->data, sealed->len, 0);
	if (!rc)
		rc = at->l->ops->fsync(at->l, f.fd, false);
	return rc ? rc : sync_dir(at);
}

static int replace(const struct place *at, int keys_fd, const void *text, size_t len,
	uint64_t version, struct err *e)
{
	uint8_t before[HASH_LEN], after[HASH_LEN];
	AUTO_BUF sealed = {0};
	int rc = settle(at, keys_fd, e);
	if (!rc)
		rc = seal(at, text, len, version, &sealed);
	if (!rc)
		rc = write_new(at, &sealed);
	if (rc)
		return err_default(e, rc,
			"The policy cannot be written: %s; the old one stays in force",
			strerror(-rc));
	keyring_policy_hash(at->k, before);
	crypto_digest(sealed.data, sealed.len, after, sizeof(after));
	keyring_set_policy_hash(at->k, after);
	rc = keyring_store(at->k, keys_fd, e);
	if (rc) {
		keyring_set_policy_hash(at->k, before);
		return rc;
	}
	rc = install(at);
	if (rc)
		log_say(LOG_LEVEL_WARNING,
			"The policy is in force, but its update is not finished: %s",
			strerror(-rc));
	return 0;
}

/* The version of the policy in force; of a damaged one what its header claims. */
static int version_before(const struct place *at, uint64_t *ret)
{
	AUTO_BUF text = {0};
	AUTO_BUF sealed = {0};
	int rc = load(at, &text, ret, NULL);
	if (rc != -EBADMSG && rc != -ENOENT)
		return rc;
	*ret = 0;
	rc = read_file(at, current_name, &sealed);
	if (!rc && !memcmp(sealed.data, magic, sizeof(magic)))
		*ret = bytes_get64(sealed.data + 8);
	return rc == -ENOMEM ? rc : 0;
}

int policy_file_apply(struct lower *l, int tenant_fd, struct keyring *k, int keys_fd,
	const char *text, size_t len, uint64_t *ret_version, struct err *e)
{
	struct place at = {l, tenant_fd, k, false};
	uint64_t version = 0;
	if (len > TEXT_MAX)
		return err_set(e, -EFBIG, "A policy has at most 1 MiB; split or shorten it");
	int rc = version_before(&at, &version);
	if (rc)
		return err_set(e, rc, "The policy in force cannot be read: %s", strerror(-rc));
	version = version == UINT64_MAX ? 1 : version + 1;
	rc = replace(&at, keys_fd, text, len, version, e);
	if (!rc)
		*ret_version = version;
	return rc;
}

int policy_file_reseal(
	struct lower *l, int tenant_fd, struct keyring *k, int keys_fd, struct err *e)
{
	struct place at = {l, tenant_fd, k, false};
	AUTO_BUF text = {0};
	uint64_t version;
	struct err mine = {0};
	int rc = load(&at, &text, &version, &mine);
	if (rc == -ENOENT)
		return 0;
	if (rc)
		return err_set(e, rc, "%s", mine.text);
	return replace(&at, keys_fd, text.data, text.len, version, e);
}
