/*
 * Which link stands under which name (docs/format.md, "Links"). A binding belongs to the name and
 * not to the link: so a rename leaves the link's inode, times and owner as they are, and each hard
 * link has one of its own.
 */
#include "fs/store/tree_internal.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <string.h>

#define BINDING_LEN 16
#define HASH_LEN 16
#define RECORD_MAX 44 /* text of two bindings and a zero byte */

void tree_bind_record(const char *lower, char ret[static TREE_RECORD_LEN])
{
	uint8_t hash[HASH_LEN];
	crypto_digest(lower, strlen(lower), hash, sizeof(hash));
	ret[0] = '~';
	crypto_b64(hash, sizeof(hash), ret + 1);
	memcpy(ret + TREE_RECORD_LEN - 3, ".b", 3);
}

bool tree_bind_head(const char *text, ssize_t len, struct tree_head *ret)
{
	uint8_t bytes[24];
	if (len < 32 || crypto_unb64(text, 32, bytes, sizeof(bytes)) != sizeof(bytes))
		return false;
	memcpy(ret->bytes, bytes, TREE_HEAD_LEN);
	return true;
}

/* -EBADMSG without that epoch's key. */
static int binding_of(const struct dir *d, const char *lower, const struct tree_head *head,
	uint8_t ret[static BINDING_LEN])
{
	const struct secret *nmk = keyring_nmk(d->store->keys, bytes_get16(head->bytes));
	if (!nmk)
		return -EBADMSG;
	AUTO_SECRET *key = crypto_derive(nmk, "link binding", "", 0, KEY_LEN);
	if (!key)
		return -ENOMEM;
	uint8_t in[TREE_HEAD_LEN + DIR_ID_LEN + 256];
	size_t name_len = strnlen(lower, 255);
	memcpy(in, head->bytes, TREE_HEAD_LEN);
	memcpy(in + TREE_HEAD_LEN, d->id, DIR_ID_LEN);
	memcpy(in + TREE_HEAD_LEN + DIR_ID_LEN, lower, name_len);
	crypto_mac(key, in, TREE_HEAD_LEN + DIR_ID_LEN + name_len, ret, BINDING_LEN);
	return 0;
}

int tree_bind_holds(const struct dir *d, const char *lower, const struct tree_head *head)
{
	struct lower *l = d->store->lower;
	char name[TREE_RECORD_LEN], text[RECORD_MAX];
	uint8_t there[2 * BINDING_LEN], expected[BINDING_LEN];
	tree_bind_record(lower, name);
	ssize_t n = l->ops->readlinkat(l, d->fd, name, text, sizeof(text));
	if (n < 0)
		return n == -ENOENT || n == -EINVAL ? -EBADMSG : (int)n;
	ssize_t len = crypto_unb64(text, (size_t)n, there, sizeof(there));
	if (len != BINDING_LEN && len != 2 * BINDING_LEN)
		return -EBADMSG;
	int r = binding_of(d, lower, head, expected);
	if (r < 0)
		return r;
	for (ssize_t at = 0; at < len; at += BINDING_LEN)
		if (crypto_equal(expected, there + at, BINDING_LEN))
			return len > BINDING_LEN;
	return -EBADMSG;
}

int tree_bind_of(const struct dir *d, const char *lower, struct tree_head *ret)
{
	struct lower *l = d->store->lower;
	struct tree_head head;
	char text[64];
	ssize_t n = l->ops->readlinkat(l, d->fd, lower, text, sizeof(text));
	if (n < 0)
		return n == -EINVAL ? -ESTALE : (int)n; /* changed behind us */
	int r = tree_bind_head(text, n, &head) ? tree_bind_holds(d, lower, &head) : -EBADMSG;
	if (r < 0)
		return r;
	*ret = head;
	return 0;
}

static int text_of(const struct dir *d, const char *lower, const struct tree_head *head,
	const struct tree_head *second, char ret[static RECORD_MAX])
{
	uint8_t bytes[2 * BINDING_LEN];
	int r = binding_of(d, lower, head, bytes);
	if (r == 0 && second)
		r = binding_of(d, lower, second, bytes + BINDING_LEN);
	if (r == 0)
		crypto_b64(bytes, second ? 2 * BINDING_LEN : BINDING_LEN, ret);
	return r;
}

/* Atomically: the record is at every moment the old or the new one. */
static int replace(const struct dir *d, const char *lower, const char *text)
{
	struct lower *l = d->store->lower;
	char name[TREE_RECORD_LEN], fresh[TREE_RECORD_LEN];
	tree_bind_record(lower, name);
	memcpy(fresh, name, sizeof(fresh));
	fresh[TREE_RECORD_LEN - 2] = 'c';
	int r = l->ops->symlinkat(l, text, d->fd, fresh, NULL);
	if (r == -EEXIST) {
		r = l->ops->unlinkat(l, d->fd, fresh, 0);
		if (r == 0)
			r = l->ops->symlinkat(l, text, d->fd, fresh, NULL);
	}
	if (r < 0)
		return r;
	r = l->ops->renameat(l, d->fd, fresh, d->fd, name, 0);
	if (r < 0)
		(void)l->ops->unlinkat(l, d->fd, fresh, 0);
	return r;
}

int tree_bind_set(const struct dir *d, const char *lower, const struct tree_head *head,
	const struct tree_head *second)
{
	struct lower *l = d->store->lower;
	char name[TREE_RECORD_LEN], text[RECORD_MAX];
	int r = text_of(d, lower, head, second, text);
	if (r < 0)
		return r;
	tree_bind_record(lower, name);
	r = l->ops->symlinkat(l, text, d->fd, name, NULL);
	return r == -EEXIST ? replace(d, lower, text) : r;
}

int tree_bind_claim(const struct dir *d, const char *lower, const struct tree_head *head)
{
	struct lower *l = d->store->lower;
	char name[TREE_RECORD_LEN], text[RECORD_MAX];
	struct stat st;
	int r = text_of(d, lower, head, NULL, text);
	if (r < 0)
		return r;
	tree_bind_record(lower, name);
	r = l->ops->symlinkat(l, text, d->fd, name, NULL);
	if (r != -EEXIST)
		return r;
	/* That of the link which is there, or one that a crash left. */
	r = l->ops->fstatat(l, d->fd, lower, &st);
	return r == 0 ? -EEXIST : r == -ENOENT ? replace(d, lower, text) : r;
}

void tree_bind_settle(const struct dir *d, const char *lower, const struct tree_head *head)
{
	struct lower *l = d->store->lower;
	struct stat st;
	if (l->ops->fstat(l, d->fd, &st) < 0 || tree_bind_set(d, lower, head, NULL) < 0)
		return;
	/* An application did not touch this directory: its times are not ours to change. */
	(void)l->ops->futimens(l, d->fd, (const struct timespec[2]){st.st_atim, st.st_mtim});
}

void tree_bind_forget(const struct dir *d, const char *lower)
{
	struct lower *l = d->store->lower;
	char name[TREE_RECORD_LEN];
	tree_bind_record(lower, name);
	(void)l->ops->unlinkat(l, d->fd, name, 0);
}
