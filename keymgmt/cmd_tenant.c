#include "keymgmt/cmd_tenant.h"

#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

int cmd_tenant_load(const char *keys_dir, const struct layout *l, int *ret_keys_fd,
	struct keyring **ret, struct err *e)
{
	*ret_keys_fd = layout_open_keys(keys_dir, l->owner.store_uuid, false, e);
	if (*ret_keys_fd < 0)
		return *ret_keys_fd;
	int r = keyring_load(*ret_keys_fd, &l->owner, ret, e);
	if (r == -ENOENT)
		return err_default(e, r,
			"the key directory has no keyring of tenant %s: give the right one with "
			"--keys, or put an escrow copy there",
			l->owner.tenant);
	return r < 0 ? err_default(e, r, "cannot read the keyring of tenant %s: %s",
			       l->owner.tenant, strerror(-r))
		     : 0;
}

int cmd_tenant_unlock(
	struct keyring *k, const struct layout *l, const struct source *s, struct err *e)
{
	char prompt[128];
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	snprintf(prompt, sizeof(prompt), "Passphrase for %s", l->owner.tenant);
	int r = source_read(s, prompt, false, &key, &secret, e);
	if (r == 0)
		r = keyring_unlock(k, &key, e);
	return r < 0 ? err_default(e, r, "cannot open the keyring of tenant %s: %s",
			       l->owner.tenant, strerror(-r))
		     : 0;
}

/* /proc/self/loginuid and sessionid: the login that all of a session's processes carry, also behind
 * su. */
static uint32_t own_number(const char *path)
{
	char text[32] = "";
	AUTO_CLOSE fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || io_read_full(fd, text, sizeof(text) - 1) <= 0)
		return UINT32_MAX;
	return (uint32_t)strtoul(text, NULL, 10);
}

int cmd_tenant_log(const struct layout *l, struct keyring *k, enum audit_kind kind,
	const char *message, int error, struct err *e)
{
	char exe[PATH_MAX] = "";
	struct audit *log = NULL;
	const struct audit_options options = {.durable = true, .paths = AUDIT_PATH_NONE};
	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		exe[0] = 0;
	const struct audit_event event = {
		.kind = kind,
		.allowed = error == 0,
		.error = error,
		.caller = {getuid(), getgid(), getpid()},
		.login_uid = (uid_t)own_number("/proc/self/loginuid"),
		.session = own_number("/proc/self/sessionid"),
		.exe = exe,
		.message = message,
	};
	int r = audit_open(lower_posix(), l->tenant_fd, k, &options, &log, e);
	if (r == 0) {
		r = audit_write(log, &event, AUDIT_RESERVE);
		audit_close(log);
	}
	return r < 0 ? err_default(e, r,
			       "the log of tenant %s cannot be written, so nothing was done: %s",
			       l->owner.tenant, strerror(-r))
		     : 0;
}
