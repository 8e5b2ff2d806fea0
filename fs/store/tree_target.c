/* Link targets (docs/format.md, "Links"): sealed, and continued in sidecars where a lower
 * filesystem wants short ones. Which name they belong to: tree_bind.c. */
#include "fs/store/tree_internal.h"

#include "keymgmt/base/bytes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define EPOCH_LEN 2
#define SALT_LEN 16
#define HEAD_LEN TREE_HEAD_LEN
#define SEALED_EXTRA (HEAD_LEN + CRYPTO_SIV_LEN)
#define SEALED_MAX (TREE_TARGET_MAX + SEALED_EXTRA)
#define CHUNK 1000 /* characters of one link; the least of the known limits is 1,023, of xfs */
#define MORE '.'   /* behind a chunk that the next sidecar continues; never in b64 */
#define TEXT_MAX ((SEALED_MAX * 4 + 2) / 3 + 1)
#define TAILS ((TEXT_MAX + CHUNK - 1) / CHUNK - 1)

static struct secret *target_key(const struct store *s, uint16_t epoch)
{
	const struct secret *nmk = keyring_nmk(s->keys, epoch);
	return nmk ? crypto_derive(nmk, "link", "", 0, 64) : NULL;
}

static void tail_name(const struct tree_tail *tail, int i, char ret[static 32])
{
	snprintf(ret, 32, "%s.%d", tail->base, i);
}

/* The salt is random, so that no two links of a directory share a base, whatever their names
 * become. */
static void tail_of_head(const struct tree_head *head, struct tree_tail *ret)
{
	ret->base[0] = '~';
	crypto_b64(head->bytes + EPOCH_LEN, SALT_LEN, ret->base + 1);
}

static int seal(const struct store *s, const char *target, size_t len,
	char ret_text[static TEXT_MAX], struct tree_head *ret_head)
{
	uint8_t sealed[SEALED_MAX];
	uint16_t epoch = keyring_nmk_epoch(s->keys);
	AUTO_SECRET *key = target_key(s, epoch);
	if (!key)
		return -ENOMEM;
	bytes_put16(sealed, epoch);
	crypto_random(sealed + EPOCH_LEN, SALT_LEN);
	int r = crypto_siv_seal(key, sealed + EPOCH_LEN, SALT_LEN, target, len, sealed + HEAD_LEN);
	if (r < 0)
		return r;
	crypto_b64(sealed, len + SEALED_EXTRA, ret_text);
	memcpy(ret_head->bytes, sealed, HEAD_LEN);
	return 0;
}

/* What link number i of a text holds: 0 is the entry, i + 1 the sidecar `.i`. False behind the last
 * one. */
static bool chunk_at(const char *text, size_t text_len, int i, char ret[static CHUNK + 2])
{
	size_t from = (size_t)i * CHUNK;
	if (from >= text_len)
		return false;
	bool more = text_len - from > CHUNK;
	snprintf(ret, CHUNK + 2, "%.*s%c", CHUNK, text + from, more ? MORE : '\0');
	return true;
}

int tree_target_make(
	struct dir *d, const char *lower, const char *target, const struct lower_cred *cred)
{
	struct lower *l = d->store->lower;
	struct tree_head head;
	struct tree_tail tail;
	char text[TEXT_MAX], chunk[CHUNK + 2], name[32];
	size_t len = strlen(target);
	if (len == 0 || len > TREE_TARGET_MAX)
		return len == 0 ? -ENOENT : -ENAMETOOLONG;
	int r = seal(d->store, target, len, text, &head);
	if (r == 0)
		r = tree_bind_claim(d, lower, &head);
	if (r < 0)
		return r;
	tail_of_head(&head, &tail);
	for (int i = 1; r == 0 && chunk_at(text, strlen(text), i, chunk); i++) {
		tail_name(&tail, i - 1, name);
		r = l->ops->symlinkat(l, chunk, d->fd, name, NULL);
	}
	if (r == 0 && chunk_at(text, strlen(text), 0, chunk))
		r = l->ops->symlinkat(l, chunk, d->fd, lower, cred);
	if (r < 0 && strlen(text) > CHUNK)
		tree_target_forget(d, &tail);
	if (r < 0)
		tree_bind_forget(d, lower);
	return r;
}

/* Base of the sidecars, from the text of a link that is continued. */
static bool tail_of_text(const char *chunk, ssize_t len, struct tree_tail *ret)
{
	struct tree_head head;
	if (len != CHUNK + 1 || chunk[CHUNK] != MORE || !tree_bind_head(chunk, len, &head))
		return false;
	tail_of_head(&head, ret);
	return true;
}

int tree_target_tail(
	const struct dir *d, const char *lower, const struct stat *st, struct tree_tail *ret)
{
	struct lower *l = d->store->lower;
	char chunk[CHUNK + 2];
	ret->base[0] = '\0';
	if (!S_ISLNK(st->st_mode) || st->st_size != CHUNK + 1)
		return 0;
	ssize_t n = l->ops->readlinkat(l, d->fd, lower, chunk, sizeof(chunk));
	if (n < 0)
		return (int)n;
	(void)tail_of_text(chunk, n, ret);
	return 0;
}

/* The whole text. first: what the entry holds. -EBADMSG when a part is missing or there are too
 * many. */
static ssize_t join(
	const struct dir *d, const char *first, ssize_t first_len, char ret[static TEXT_MAX])
{
	struct lower *l = d->store->lower;
	struct tree_tail tail;
	char chunk[CHUNK + 2], name[32];
	size_t len = 0;
	ssize_t n = first_len;
	memcpy(chunk, first, sizeof(chunk));
	bool has_tail = tail_of_text(chunk, n, &tail);
	for (int i = 0;; i++) {
		bool more = n == CHUNK + 1 && chunk[CHUNK] == MORE;
		size_t part = more ? CHUNK : (size_t)n;
		if (part > CHUNK || len + part >= TEXT_MAX)
			return -EBADMSG;
		memcpy(ret + len, chunk, part);
		len += part;
		if (!more)
			return (ssize_t)len;
		if (!has_tail || i >= TAILS)
			return -EBADMSG;
		tail_name(&tail, i, name);
		n = l->ops->readlinkat(l, d->fd, name, chunk, sizeof(chunk));
		if (n < 0)
			return n == -ENOENT || n == -EINVAL ? -EBADMSG : n;
	}
}

static ssize_t open_text(
	const struct store *s, const char *text, size_t text_len, char ret[static TREE_TARGET_MAX])
{
	uint8_t sealed[SEALED_MAX];
	ssize_t len = crypto_unb64(text, text_len, sealed, sizeof(sealed));
	if (len <= SEALED_EXTRA)
		return -EBADMSG;
	if (!keyring_nmk(s->keys, bytes_get16(sealed)))
		return -EBADMSG;
	AUTO_SECRET *key = target_key(s, bytes_get16(sealed));
	if (!key)
		return -ENOMEM;
	int r = crypto_siv_open(
		key, sealed + EPOCH_LEN, SALT_LEN, sealed + HEAD_LEN, (size_t)len - HEAD_LEN, ret);
	return r < 0 ? r : len - SEALED_EXTRA;
}

/* *ret_head and *ret_two only with a result >= 0: what the name is bound to, and whether to another
 * link too. */
static ssize_t read_once(const struct dir *d, const char *lower, char ret[static TREE_TARGET_MAX],
	struct tree_head *ret_head, bool *ret_two)
{
	struct lower *l = d->store->lower;
	struct tree_head head;
	char first[CHUNK + 2], text[TEXT_MAX];
	ssize_t n = l->ops->readlinkat(l, d->fd, lower, first, sizeof(first));
	if (n < 0)
		return n;
	if (!tree_bind_head(first, n, &head))
		return -EBADMSG;
	int bound = tree_bind_holds(d, lower, &head);
	if (bound < 0)
		return bound;
	ssize_t r = join(d, first, n, text);
	if (r >= 0)
		r = open_text(d->store, text, (size_t)r, ret);
	if (r >= 0) {
		*ret_head = head;
		*ret_two = bound > 0;
	}
	return r;
}

/*
 * Without a lock at first: then a rename may be half-way between two of the calls. What is wrong
 * with the lock, too, is wrong.
 */
ssize_t tree_target_read(struct dir *d, const char *lower, char ret[static TREE_TARGET_MAX])
{
	struct tree_head head;
	bool two = false;
	ssize_t r = read_once(d, lower, ret, &head, &two);
	if (r != -EBADMSG && !two)
		return r;
	two = false;
	lock_take(&d->lock);
	r = read_once(d, lower, ret, &head, &two);
	if (two)
		tree_bind_settle(d, lower, &head);
	lock_drop(&d->lock);
	return r;
}

uint64_t tree_target_length(const struct dir *d, const char *lower, const struct stat *st)
{
	struct lower *l = d->store->lower;
	struct tree_tail tail;
	struct stat part = *st;
	char name[32];
	uint64_t characters = 0;
	(void)!tree_target_tail(d, lower, st, &tail);
	for (int i = 0; i <= TAILS; i++) {
		if (part.st_size != CHUNK + 1 || !tail.base[0]) {
			characters += (uint64_t)part.st_size;
			break;
		}
		characters += CHUNK;
		tail_name(&tail, i, name);
		if (l->ops->fstatat(l, d->fd, name, &part) < 0)
			break;
	}
	uint64_t bytes = characters * 3 / 4;
	return bytes > SEALED_EXTRA ? bytes - SEALED_EXTRA : 0;
}

int tree_target_copy(const struct dir *from, const struct dir *to, const struct tree_tail *tail)
{
	struct lower *l = from->store->lower;
	char chunk[CHUNK + 2], name[32];
	if (!tail->base[0])
		return 0;
	int made = 0;
	for (int i = 0; i < TAILS; i++) {
		tail_name(tail, i, name);
		ssize_t n = l->ops->readlinkat(l, from->fd, name, chunk, sizeof(chunk) - 1);
		if (n == -ENOENT)
			break;
		int r = n < 0 ? (int)n : 0;
		if (r == 0) {
			chunk[n] = '\0';
			r = l->ops->symlinkat(l, chunk, to->fd, name, NULL);
		}
		/* From another name of the same link, or from a crash: the content follows from the
		 * salt. */
		if (r == -EEXIST)
			continue;
		if (r < 0) {
			if (made)
				tree_target_forget(to, tail);
			return r;
		}
		made = 1;
	}
	return made;
}

void tree_target_forget(const struct dir *d, const struct tree_tail *tail)
{
	struct lower *l = d->store->lower;
	char name[32];
	if (!tail->base[0])
		return;
	/* From the last one on, so that a crash leaves no gap behind which others would be
	 * overlooked. */
	for (int i = TAILS - 1; i >= 0; i--) {
		tail_name(tail, i, name);
		(void)l->ops->unlinkat(l, d->fd, name, 0);
	}
}
