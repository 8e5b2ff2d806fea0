#include "fs/store/file_internal.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static void keys_done(struct file_keys *k)
{
	secret_free(k->fek);
	secret_free(k->mac);
	secret_free(k->hash);
	secret_free(k->mask);
	secret_free(k->presence);
	*k = (struct file_keys){0};
}

/* Takes fek, on failure too. */
static int keys_init(struct secret *fek, struct file_keys *ret)
{
	struct file_keys k = {.fek = fek};
	if (fek) {
		k.mac = crypto_derive(fek, "tenantfs file header", NULL, 0, KEY_LEN);
		k.hash = crypto_derive(fek, "tenantfs set hash", NULL, 0, 16);
		k.mask = crypto_derive(fek, "tenantfs set mask", NULL, 0, KEY_LEN);
		k.presence = crypto_derive(fek, "tenantfs presence", NULL, 0, KEY_LEN);
	}
	if (!k.mac || !k.hash || !k.mask || !k.presence) {
		keys_done(&k);
		return -ENOMEM;
	}
	*ret = k;
	return 0;
}

static int wrap_one(const struct store *s, const struct format_header *h, const char *purpose,
	const struct secret *key, uint8_t ret_wrap[static WRAP_LEN])
{
	const struct secret *kek = keyring_kek(s->keys, h->epoch);
	if (!kek)
		return -EIO;
	uint8_t ad[FORMAT_WRAP_AD_LEN];
	format_wrap_ad(purpose, h, ad);
	return wrap_seal(
		(enum crypto_suite)h->suite, kek, ad, sizeof(ad), h->file_id, key, ret_wrap);
}

/* -ENOKEY: the keyring has no such epoch. */
static int unwrap_one(const struct store *s, const struct format_header *h, const char *purpose,
	const uint8_t wrap[static WRAP_LEN], struct secret **ret)
{
	const struct secret *kek = keyring_kek(s->keys, h->epoch);
	if (!kek)
		return -ENOKEY;
	uint8_t ad[FORMAT_WRAP_AD_LEN];
	format_wrap_ad(purpose, h, ad);
	return wrap_open((enum crypto_suite)h->suite, kek, ad, sizeof(ad), h->file_id, wrap, ret);
}

int file_header_wrap(const struct store *s, struct format_header *h, const struct secret *fek,
	const struct secret *xk)
{
	struct format_header n = *h;
	n.epoch = keyring_kek_epoch(s->keys);
	int rc = wrap_one(s, &n, "fek", fek, n.fek);
	if (!rc)
		rc = wrap_one(s, &n, "xk", xk, n.xk);
	if (!rc)
		*h = n;
	return rc;
}

int file_header_open_xk(struct file *f)
{
	if (f->xk)
		return 0;
	int rc = unwrap_one(f->store, &f->h, "xk", f->h.xk, &f->xk);
	return rc == -EKEYREJECTED || rc == -ENOKEY ? -EBADMSG : rc;
}

/* One slot: its fields and keys, authenticated. -ENODATA blank; -EBADMSG; -EPROTONOSUPPORT. */
static int open_slot(const struct store *s, const uint8_t *slot, struct format_header *ret,
	struct file_keys *ret_keys, struct file_fault *ft)
{
	struct format_header h;
	int rc = format_header_parse(slot, &h);
	if (rc == -EBADMSG)
		return file_fault_set(ft, "header", "not a header of this format", UINT64_MAX);
	if (rc)
		return rc;
	if (memcmp(h.tenant_uuid, s->tenant_uuid, CRYPTO_ID_LEN) != 0)
		return file_fault_set(
			ft, "header", "the file belongs to another tenant", UINT64_MAX);
	if (h.suite != CRYPTO_AES256_GCM && h.suite != CRYPTO_XCHACHA20_POLY1305)
		return file_fault_set(ft, "header", "unknown cipher suite", UINT64_MAX);
	struct secret *fek = NULL;
	rc = unwrap_one(s, &h, "fek", h.fek, &fek);
	if (rc == -ENOKEY)
		return file_fault_set(
			ft, "header", "its key epoch is not in the keyring", UINT64_MAX);
	if (rc == -EKEYREJECTED || rc == -EBADMSG)
		return file_fault_set(ft, "header", "the wrapped key does not open", UINT64_MAX);
	struct file_keys keys = {0};
	if (!rc)
		rc = keys_init(fek, &keys);
	if (rc)
		return rc;
	if (!format_header_verify(slot, keys.mac)) {
		keys_done(&keys);
		return file_fault_set(ft, "header", "the header's MAC is wrong", UINT64_MAX);
	}
	*ret = h;
	*ret_keys = keys;
	return 0;
}

/* The commit version that a slot claims, for the order of trying. */
static uint64_t claimed_commits(const uint8_t *slot)
{
	struct format_header h;
	return format_header_parse(slot, &h) ? 0 : h.commits;
}

/*
 * What the lower length must be. Without a journal a kill may leave the file longer than its header
 * says (data beyond the last commit, a cut that was not carried out): no harm. Shorter means that
 * somebody cut it.
 */
static int check_length(const struct file *f, struct file_fault *ft)
{
	if (f->lower_len < block_map_length(f->h.size))
		return file_fault_set(
			ft, "size", "the lower file is shorter than its header says", UINT64_MAX);
	return 0;
}

/* A file of up to 64 blocks has all its entries in page 0: old ones put back do not go unnoticed.
 */
static int check_set_hash(const struct file *f, struct file_fault *ft)
{
	if (f->h.size > BLOCK_MAP_FIRST_BLOCKS * BLOCK_MAP_BLOCK)
		return 0;
	uint8_t hash[FORMAT_HASH_LEN] = {0};
	for (unsigned i = 0; i < BLOCK_MAP_FIRST_BLOCKS; i++)
		content_toggle(f->keys.hash, i, f->first.entries + i * FORMAT_TAG_LEN, hash);
	if (!crypto_equal(hash, f->hash, sizeof(hash)))
		return file_fault_set(
			ft, "tags", "the set of blocks is not the one last written", UINT64_MAX);
	return 0;
}

/*
 * The slot that does not count holds the commit before, or the same one, under the same wrap or one
 * that was being replaced; it is blank beside a file's first commit alone. So nobody undoes the
 * last commit by breaking its slot.
 */
static int check_other(const struct file *f, const uint8_t *slot, struct file_fault *ft)
{
	struct format_header h;
	struct file_keys keys = {0};
	if (f->h.commits == 1 && bytes_all_zero(slot, FORMAT_SLOT_LEN))
		return 0;
	int rc = format_header_parse(slot, &h);
	if (!rc && h.epoch == f->h.epoch && !memcmp(h.fek, f->h.fek, WRAP_LEN)) {
		rc = format_header_verify(slot, f->keys.mac) ? 0 : -EBADMSG;
	} else if (!rc) {
		rc = open_slot(f->store, slot, &h, &keys, ft);
		if (!rc)
			keys_done(&keys);
	}
	if (!rc && memcmp(h.file_id, f->h.file_id, FILE_ID_LEN) != 0)
		rc = -EBADMSG;
	if (rc == -ENODATA || rc == -EBADMSG || rc == -EPROTONOSUPPORT)
		return file_fault_set(
			ft, "header", "one of its slots is not what was written", UINT64_MAX);
	return rc;
}

int file_header_load(struct file *f, struct file_fault *ft)
{
	uint8_t *tags = f->first.entries;
	struct iovec iov[3] = {{f->slots[0], FORMAT_SLOT_LEN}, {f->slots[1], FORMAT_SLOT_LEN},
		{tags, BLOCK_MAP_FIRST_BLOCKS * FORMAT_TAG_LEN}};
	if (!f->lower_len)
		return 0;
	ssize_t n = file_lower_read(f, iov, 3, 0);
	if (n < 0)
		return (int)n;
	if (n < (ssize_t)BLOCK_MAP_BLOCK)
		return file_fault_set(ft, "header", "page 0 is cut off", UINT64_MAX);
	unsigned slot = claimed_commits(f->slots[1]) > claimed_commits(f->slots[0]);
	int rc = open_slot(f->store, f->slots[slot], &f->h, &f->keys, ft);
	if (!rc)
		rc = check_other(f, f->slots[!slot], ft);
	if (rc == -ENODATA)
		return file_fault_set(ft, "header", "page 0 is blank", UINT64_MAX);
	if (rc == -EPROTONOSUPPORT)
		return file_fault_set(
			ft, "header", "it is of a newer format, or damaged", UINT64_MAX);
	if (rc)
		return rc;
	f->has_header = true;
	f->slot = slot;
	memcpy(f->hash, f->h.set_hash, sizeof(f->hash));
	content_mask(f->keys.mask, f->h.mask_salt, f->hash);
	rc = check_length(f, ft);
	return rc ? rc : check_set_hash(f, ft);
}

/* Without a header there is no telling which names an inode has but by counting those that were
 * seen. */
static int settle_homes(struct file *f)
{
	struct stat st;
	int rc = f->store->lower->ops->fstat(f->store->lower, f->fd, &st);
	if (rc < 0)
		return rc;
	uint64_t names = 0;
	for (size_t i = 0; i < FORMAT_HOMES; i++)
		names += f->h.homes[i].names;
	if (names != st.st_nlink - (f->trash_name[0] != 0))
		f->h.flags |= FORMAT_MANY_HOMES;
	return 0;
}

/* Back to a file that never had a header. */
static void unmake(struct file *f)
{
	keys_done(&f->keys);
	secret_free(f->xk);
	f->xk = NULL;
	f->has_header = f->dirty = false;
	struct format_header empty = {0};
	memcpy(empty.homes, f->h.homes, sizeof(empty.homes));
	f->h = empty;
	memset(f->slots, 0, sizeof(f->slots));
	f->slot = 1;
}

int file_header_make(struct file *f)
{
	const struct store *s = f->store;
	if (f->has_header)
		return 0;
	int rc = file_lower_writable(f);
	if (!rc)
		rc = settle_homes(f);
	if (rc)
		return rc;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	f->h.version = FORMAT_VERSION;
	f->h.suite = (uint8_t)s->suite;
	f->h.created_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	memcpy(f->h.tenant_uuid, s->tenant_uuid, CRYPTO_ID_LEN);
	crypto_nonce(f->h.file_id, sizeof(f->h.file_id));
	f->xk = secret_random(KEY_LEN);
	rc = f->xk ? keys_init(secret_random(KEY_LEN), &f->keys) : -ENOMEM;
	if (!rc)
		rc = file_header_wrap(s, &f->h, f->keys.fek, f->xk);
	if (!rc) {
		f->has_header = f->dirty = true;
		rc = file_commit_now(f, FILE_COMMIT_FIRST);
	}
	if (rc) {
		/* A page 0 that was written in part would be taken for damage. */
		if (f->lower_len && file_lower_resize(f, 0) < 0)
			return f->dirty ? rc : 0;
		unmake(f);
	}
	return rc;
}

int file_header_rekey(struct file *f)
{
	int rc = file_header_open_xk(f);
	if (rc)
		return rc;
	struct file_keys keys = {0};
	rc = keys_init(secret_random(KEY_LEN), &keys);
	if (rc)
		return rc;
	rc = file_header_wrap(f->store, &f->h, keys.fek, f->xk);
	if (rc) {
		keys_done(&keys);
		return rc;
	}
	keys_done(&f->keys);
	f->keys = keys;
	f->h.block_writes = 0;
	memset(f->hash, 0, sizeof(f->hash));
	f->dirty = true;
	return 0;
}

/* The bytes of a page that differ from what the slots were, and the entries that changed. */
static void changed_units(
	const struct file *f, const uint8_t page[static BLOCK_MAP_BLOCK], struct file_units *ret)
{
	*ret = f->first.changed;
	for (unsigned i = 0; i < sizeof(f->slots) / FILE_UNIT; i++)
		if (memcmp(page + i * FILE_UNIT, (const uint8_t *)f->slots + i * FILE_UNIT,
			    FILE_UNIT) != 0)
			file_unit_set(ret, i);
}

int file_header_write(struct file *f, unsigned flags)
{
	struct format_header h = f->h;
	h.commits++;
	crypto_nonce(h.mask_salt, sizeof(h.mask_salt));
	memcpy(h.set_hash, f->hash, sizeof(h.set_hash));
	content_mask(f->keys.mask, h.mask_salt, h.set_hash);
	uint8_t page[BLOCK_MAP_BLOCK];
	unsigned slot = !f->slot;
	memcpy(page, f->slots, sizeof(f->slots));
	format_header_pack(&h, f->keys.mac, page + slot * FORMAT_SLOT_LEN);
	if (flags & FILE_COMMIT_BOTH)
		memcpy(page + !slot * FORMAT_SLOT_LEN, page + slot * FORMAT_SLOT_LEN,
			FORMAT_SLOT_LEN);
	memcpy(page + sizeof(f->slots), f->first.entries, BLOCK_MAP_FIRST_BLOCKS * FORMAT_TAG_LEN);
	struct file_units changed;
	changed_units(f, page, &changed);
	if (flags & FILE_COMMIT_FIRST)
		f->unsynced = true;
	int rc = flags & FILE_COMMIT_FIRST ? file_lower_write_all(f, page, sizeof(page), 0)
					   : file_put_page(f, page, 0, &changed);
	if (rc)
		return rc;
	memcpy(f->slots, page, sizeof(f->slots));
	f->slot = slot;
	f->h = h;
	f->first.dirty = false;
	memset(&f->first.changed, 0, sizeof(f->first.changed));
	return 0;
}

void file_header_forget(struct file *f)
{
	keys_done(&f->keys);
	secret_free(f->xk);
	f->xk = NULL;
}
