/* The beginning of a tenant's audit trail: its folder and its first signing key. */
#include "fs/gate/audit.h"
#include "fs/gate/audit_next.h"

#include <fcntl.h>
#include <string.h>

int audit_create(struct lower *l, int tenant_fd, struct keyring *k, struct err *e)
{
	AUTO(audit_next_auto) struct audit_next first = {.number = 1, .stale = -1};
	uint8_t root[KEY_LEN];
	int r = crypto_sign_new(root, &first.signing);
	if (r == 0)
		r = l->ops->mkdirat(l, tenant_fd, "audit", 0700, NULL);
	if (r < 0)
		return err_set(e, r, "the audit trail cannot be created (%s)", strerror(-r));
	int dir_fd = l->ops->openat(l, tenant_fd, "audit", O_RDONLY | O_DIRECTORY, 0, NULL);
	r = dir_fd < 0 ? dir_fd : audit_next_create(l, dir_fd, k, &first);
	if (r == 0)
		r = l->ops->fsync(l, dir_fd, false);
	if (dir_fd >= 0)
		l->ops->close(l, dir_fd);
	if (r < 0)
		return err_set(e, r, "the audit trail cannot be created (%s)", strerror(-r));
	keyring_set_audit_root(k, root);
	return 0;
}
