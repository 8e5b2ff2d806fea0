/*
 * Memory for keys and passphrases: locked, left out of core dumps, wiped when freed. A fork's copy
 * is not locked: what goes into the background takes its keys afterwards. All functions are
 * thread-safe as long as no thread changes or frees a secret that another one uses. Secrets live in
 * nothing else; a pointer from secret_bytes() is used within one expression or call and never
 * copied to a stack or heap outside secret.c and crypto.c.
 */
#ifndef KEYMGMT_SECRET_H
#define KEYMGMT_SECRET_H

#include "keymgmt/base/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_LEN 32 /* bytes of every symmetric key, X25519 key and Ed25519 seed */

struct secret;

/* Zeroed secret of len bytes (1..65536). NULL when memory is short or may not be locked. */
struct secret *secret_new(size_t len);
/* A new one holding len random bytes, or NULL. */
struct secret *secret_random(size_t len);
/* A copy, or NULL. */
struct secret *secret_copy(const struct secret *s);
/* Wipes and frees. NULL is a no-op. */
void secret_free(struct secret *s);
static inline void secret_auto(struct secret **s)
{
	secret_free(*s);
}
#define AUTO_SECRET AUTO(secret_auto) struct secret

/* To be written to: s counts as a new key from now on (secret_id). To read, secret_peek. */
uint8_t *secret_bytes(struct secret *s);
const uint8_t *secret_peek(const struct secret *s);
size_t secret_len(const struct secret *s);
/* Shortens to len <= secret_len(s); what is cut is wiped. */
void secret_truncate(struct secret *s, size_t len);
/* Never the same for two secrets or two contents, within a process: what caches of expanded keys go
 * by. */
uint64_t secret_id(const struct secret *s);
/* Constant-time. */
bool secret_equal(const struct secret *a, const struct secret *b);

/*
 * No core dumps, not dumpable or traceable, and all memory locked as it is touched by root where he
 * may lock without a limit (elsewhere secrets alone are). RLIMIT_MEMLOCK is 0 for a moment: called
 * before there are threads. 0 or -errno.
 */
int secret_harden_process(void);

#endif
