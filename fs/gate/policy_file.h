/*
 * The sealed policy of a tenant: t/TENANT/policy; its hash is in the keyring (docs/format.md,
 * "Policy"). policy.new is a version that the keyring may already name, policy.old what is still to
 * be overwritten: loading finishes an interrupted update. The caller holds the tenant's lock; one
 * thread at a time.
 *
 * Sealed form: magic "TFSP", format u16 = 1, suite u8 = 2 (XChaCha20-Poly1305), zero u8, version
 * u64, nonce 24 random bytes, ciphertext, tag 16. Key: the metadata key's subkey "policy".
 * Associated data: the first 16 bytes, then store uuid, then tenant uuid. The keyring holds
 * BLAKE2b-256 of all of it.
 */
#ifndef GATE_POLICY_FILE_H
#define GATE_POLICY_FILE_H

#include "fs/gate/policy.h"
#include "fs/lower/lower.h"
#include "keymgmt/keyring.h"

/*
 * The text and version in force. The keyring is as keyring_load gave it: what an interrupted update
 * left and the keyring does not name is overwritten and removed. tenant_fd may be an O_PATH
 * descriptor. -ENOENT: none yet (hash
 * zero); -EBADMSG: not what the keyring names; -EPROTONOSUPPORT: of a newer format; -errno of the
 * lower calls. ret_text is appended to, and as it was after a failure.
 */
MUST_USE int policy_file_load(struct lower *l, int tenant_fd, struct keyring *k,
	struct buf *ret_text, uint64_t *ret_version, struct err *e);
/*
 * Seals text as version + 1, stores it and the keyring (keys_fd), overwrites the old policy.
 * Whether text is a policy is the caller's to check. 0 once the keyring names the new one: what
 * cannot be finished then is finished by the next load. -EFBIG beyond 1 MiB; -errno of the lower
 * calls and of keyring_store: the old policy is in force, or, when storing the keyring failed
 * half-way, the one that the keyring on disk names. A damaged policy is replaced.
 */
MUST_USE int policy_file_apply(struct lower *l, int tenant_fd, struct keyring *k, int keys_fd,
	const char *text, size_t len, uint64_t *ret_version, struct err *e);
/*
 * Seals the policy anew under the current MDK, with its version kept; 0 also when there is none.
 * For rotations: to be called while the keyring still holds the retiring MDK.
 */
MUST_USE int policy_file_reseal(
	struct lower *l, int tenant_fd, struct keyring *k, int keys_fd, struct err *e);

#endif
