/* Plaintext names and their sealed lower names (docs/format.md, "Names"). */
#ifndef STORE_NAME_H
#define STORE_NAME_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct dir;

#define NAME_PLAIN_MAX 255 /* bytes */

/* A sealed name, ready to be created: the entry and, for a long one, its sidecar's target. */
struct name {
	char lower[256];
	bool is_long; /* lower is "~" + hash; the sealed bytes are in a symlink "<lower>.n" */
	char sidecar[4 * (NAME_PLAIN_MAX + 16) / 3 + 4]; /* b64 of the sealed name when is_long */
};

/* -ENAMETOOLONG over 255 bytes, -EINVAL empty or with '/', -ENOMEM, -EIO. */
MUST_USE int name_seal(const struct dir *d, const char *plain, struct name *ret);
/* The plaintext of an entry of d. Reads the sidecar of a long one. -EBADMSG when it is not one of
 * d's names (no alarm: the caller decides); -ENOENT sidecar missing. */
MUST_USE int name_open(const struct dir *d, const char *lower, char ret_plain[NAME_PLAIN_MAX + 1]);
/*
 * Before n->lower is made in d (or renamed to): the sidecar of a long name stands; nothing for a
 * short one. And after an entry was removed or not made after all: its sidecar goes, unless the
 * entry is there. d->lock held for both.
 */
MUST_USE int name_prepare(const struct dir *d, const struct name *n);
void name_forget(const struct dir *d, const char *lower);
/* ".dir" and sidecars: what is never listed or counted. */
bool name_is_internal(const char *lower);

#endif
