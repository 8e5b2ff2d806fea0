/*
 * The sealed policy of a tenant: t/TENANT/policy; its hash is in the keyring (docs/format.md, "Policy"). policy.new is a
 * version that the keyring may already name: loading finishes an interrupted update.
 */
#ifndef GATE_POLICY_FILE_H
#define GATE_POLICY_FILE_H

#include "fs/gate/policy.h"
#include "fs/lower/lower.h"
#include "keymgmt/keyring.h"

/* The text and version in force. -ENOENT: none yet (hash zero); -EBADMSG: not what the keyring names. */
MUST_USE int policy_file_load(struct lower *l, int tenant_fd, struct keyring *k, struct buf *ret_text,
	uint64_t *ret_version, struct err *e);
/* Seals text as version + 1, stores it and the keyring (keys_fd), overwrites the old policy. */
MUST_USE int policy_file_apply(struct lower *l, int tenant_fd, struct keyring *k, int keys_fd,
	const char *text, size_t len, uint64_t *ret_version, struct err *e);
/* Seals the policy anew under the current MDK where a rotation left it under the retiring one. */
MUST_USE int policy_file_reseal(struct lower *l, int tenant_fd, struct keyring *k, int keys_fd, struct err *e);

#endif
