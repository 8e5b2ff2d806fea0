/* Plaintext names and their sealed lower names (docs/format.md, "Names"). */
#include "fs/store/name.h"

#include "fs/store/dir.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SEALED_MAX (NAME_PLAIN_MAX + CRYPTO_SIV_LEN)
#define LOWER_MAX 255
#define HASH_LEN 32

/* "~" + b64 of the hash, and ".n" */
#define SIDECAR_NAME_MAX 64

static void hash_name(const uint8_t *sealed, size_t len, char ret[static 64])
{
	uint8_t hash[HASH_LEN];
	crypto_digest(sealed, len, hash, sizeof(hash));
	ret[0] = '~';
	crypto_b64(hash, sizeof(hash), ret + 1);
}

/* What a directory entry may be called. */
static bool plain_ok(const char *plain, size_t len)
{
	return len > 0 && !memchr(plain, '\0', len) && !memchr(plain, '/', len) &&
	       !(plain[0] == '.' && (len == 1 || (len == 2 && plain[1] == '.')));
}

int name_seal(const struct dir *d, const char *plain, struct name *ret)
{
	size_t len = strlen(plain);
	if (len > NAME_PLAIN_MAX)
		return -ENAMETOOLONG;
	if (!plain_ok(plain, len))
		return -EINVAL;
	uint8_t sealed[SEALED_MAX];
	int r = crypto_siv_seal(d->name_key, d->id, DIR_ID_LEN, plain, len, sealed);
	if (r < 0)
		return r;
	size_t sealed_len = len + CRYPTO_SIV_LEN;
	ret->is_long = crypto_b64_len(sealed_len) > LOWER_MAX;
	if (ret->is_long) {
		crypto_b64(sealed, sealed_len, ret->sidecar);
		hash_name(sealed, sealed_len, ret->lower);
	} else {
		crypto_b64(sealed, sealed_len, ret->lower);
		ret->sidecar[0] = '\0';
	}
	return 0;
}

static void sidecar_name(const char *lower, char ret[static SIDECAR_NAME_MAX])
{
	snprintf(ret, SIDECAR_NAME_MAX, "%.48s.n", lower);
}

/* Sealed bytes of a long name, from its sidecar; their hash is the entry's name. */
static ssize_t read_sidecar(const struct dir *d, const char *lower, uint8_t ret[static SEALED_MAX])
{
	struct lower *l = d->store->lower;
	char sidecar[SIDECAR_NAME_MAX], text[512], again[64];
	if (strlen(lower) != 1 + crypto_b64_len(HASH_LEN))
		return -EBADMSG;
	sidecar_name(lower, sidecar);
	ssize_t n = l->ops->readlinkat(l, d->fd, sidecar, text, sizeof(text));
	if (n == -EINVAL)
		return -EBADMSG; /* not a link */
	if (n < 0)
		return n;
	ssize_t len = crypto_unb64(text, (size_t)n, ret, SEALED_MAX);
	/* A name that would have fit must not come in by this door: it would stand twice in the
	 * directory. */
	if (len < 0 || crypto_b64_len((size_t)len) <= LOWER_MAX)
		return -EBADMSG;
	hash_name(ret, (size_t)len, again);
	return strcmp(again, lower) ? -EBADMSG : len;
}

int name_open(const struct dir *d, const char *lower, char ret_plain[NAME_PLAIN_MAX + 1])
{
	uint8_t sealed[SEALED_MAX];
	char plain[NAME_PLAIN_MAX + 1];
	ssize_t len = lower[0] == '~' ? read_sidecar(d, lower, sealed)
				      : crypto_unb64(lower, strlen(lower), sealed, sizeof(sealed));
	if (len < 0)
		return (int)len;
	if (len <= CRYPTO_SIV_LEN)
		return -EBADMSG;
	int r = crypto_siv_open(d->name_key, d->id, DIR_ID_LEN, sealed, (size_t)len, plain);
	if (r < 0)
		return r;
	size_t plain_len = (size_t)len - CRYPTO_SIV_LEN;
	if (!plain_ok(plain, plain_len)) {
		crypto_wipe(plain, sizeof(plain));
		return -EBADMSG;
	}
	memcpy(ret_plain, plain, plain_len);
	ret_plain[plain_len] = '\0';
	return 0;
}

/* 1 when the sidecar holds this text, 0 when another one that a crash left. */
static int sidecar_stands(struct lower *l, const struct dir *d, const char *name, const char *text)
{
	char there[512];
	ssize_t n = l->ops->readlinkat(l, d->fd, name, there, sizeof(there));
	if (n < 0)
		return (int)n;
	return (size_t)n == strlen(text) && !memcmp(there, text, (size_t)n);
}

int name_prepare(const struct dir *d, const struct name *n)
{
	if (!n->is_long)
		return 0;
	struct lower *l = d->store->lower;
	char sidecar[SIDECAR_NAME_MAX];
	sidecar_name(n->lower, sidecar);
	int r = l->ops->symlinkat(l, n->sidecar, d->fd, sidecar, NULL);
	if (r != -EEXIST)
		return r;
	r = sidecar_stands(l, d, sidecar, n->sidecar);
	if (r != 0)
		return r < 0 ? r : 0;
	r = l->ops->unlinkat(l, d->fd, sidecar, 0);
	return r < 0 ? r : l->ops->symlinkat(l, n->sidecar, d->fd, sidecar, NULL);
}

void name_forget(const struct dir *d, const char *lower)
{
	if (lower[0] != '~')
		return;
	struct lower *l = d->store->lower;
	struct stat st;
	if (l->ops->fstatat(l, d->fd, lower, &st) != -ENOENT)
		return;
	char sidecar[SIDECAR_NAME_MAX];
	sidecar_name(lower, sidecar);
	/* An orphan does no harm: it goes with its directory. */
	(void)l->ops->unlinkat(l, d->fd, sidecar, 0);
}

bool name_is_internal(const char *lower)
{
	if (!strcmp(lower, ".dir") || !strcmp(lower, ".dir.new"))
		return true;
	const char *dot = strchr(lower, '.');
	if (lower[0] != '~' || !dot)
		return false;
	return dot[1] != '\0' && dot[2] == '\0' &&
	       (isdigit((unsigned char)dot[1]) || strchr("nbc", dot[1]));
}
