#include "fs/gate/audit.h"
#include "keymgmt/base/bytes.h"
#include "keymgmt/base/io.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

void cmd_common_done(struct cmd *c)
{
	keyring_free(c->keyring);
	c->keyring = NULL;
	cleanup_close(&c->keys_fd);
	c->keys_fd = -1;
	layout_done(&c->layout);
}

void cmd_common_say(const struct cmd *c, const char *format, ...)
{
	va_list args;
	if (c->quiet)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

int cmd_common_open(struct cmd *c, bool lock)
{
	char store[PATH_MAX], tenant[64], purpose[64];
	if (c->keyring)
		return 0;
	int r = layout_split(c->argument, true, store, tenant, &c->err);
	if (r == 0)
		r = layout_open(store, tenant, &c->layout, &c->err);
	snprintf(purpose, sizeof(purpose), "tenantkey %s", c->verb);
	if (r == 0 && lock)
		r = layout_lock(&c->layout, purpose, NULL, &c->err);
	if (r < 0)
		return r;
	c->keys_fd = layout_open_keys(c->keys_dir, c->layout.owner.store_uuid, false, &c->err);
	if (c->keys_fd < 0)
		return c->keys_fd;
	r = keyring_load(c->keys_fd, &c->layout.owner, &c->keyring, &c->err);
	if (r == -ENOENT)
		return err_default(&c->err, r,
			"the key directory has no keyring of tenant %s: give the right one with "
			"--keys, or "
			"put an escrow copy there",
			tenant);
	return r < 0 ? err_default(&c->err, r, "cannot read the keyring of tenant %s: %s", tenant,
			       strerror(-r))
		     : 0;
}

int cmd_common_unlock(struct cmd *c)
{
	char prompt[128];
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	snprintf(prompt, sizeof(prompt), "Passphrase for %s", c->layout.owner.tenant);
	int r = source_read(&c->secret, prompt, false, &key, &secret, &c->err);
	if (r == 0)
		r = keyring_unlock(c->keyring, &key, &c->err);
	return r < 0 ? err_default(&c->err, r, "cannot open the keyring of tenant %s: %s",
			       c->layout.owner.tenant, strerror(-r))
		     : 0;
}

int cmd_common_begin(struct cmd *c)
{
	int r = cmd_common_open(c, true);
	if (r == 0)
		r = cmd_common_unlock(c);
	if (r < 0 || !keyring_has_old_epochs(c->keyring))
		return r;
	cmd_common_say(
		c, "An earlier rotation or slot removal was interrupted: finishing it first.");
	r = cmd_rewrap_finish(c, NULL);
	if (r != -EBADMSG)
		return r;
	/* Damaged files keep the old epoch alive; that must not stop anybody from changing slots.
	 */
	fprintf(stderr, "tenantkey: %s\n", c->err.text);
	c->err = (struct err){0};
	return 0;
}

int cmd_common_new_key(struct cmd *c, struct slot_key *ret, struct secret **ret_secret)
{
	char prompt[128];
	snprintf(prompt, sizeof(prompt), "New passphrase for %s", c->layout.owner.tenant);
	return source_read(&c->new_secret, prompt, true, ret, ret_secret, &c->err);
}

/* The login that all of a session's processes carry, also behind su; (uid_t)-1 unknown. */
static uint32_t own_number(const char *path)
{
	char text[32] = "";
	AUTO_CLOSE fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || io_read_full(fd, text, sizeof(text) - 1) <= 0)
		return UINT32_MAX;
	return (uint32_t)strtoul(text, NULL, 10);
}

int cmd_common_log(struct cmd *c, const char *message, int error)
{
	char exe[PATH_MAX] = "";
	struct audit *log = NULL;
	const struct audit_options options = {.durable = true, .paths = AUDIT_PATH_NONE};
	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		exe[0] = 0;
	const struct audit_event event = {
		.kind = AUDIT_KEY,
		.allowed = error == 0,
		.error = error,
		.caller = {getuid(), getgid(), getpid()},
		.login_uid = (uid_t)own_number("/proc/self/loginuid"),
		.session = own_number("/proc/self/sessionid"),
		.exe = exe,
		.message = message,
	};
	int r = audit_open(lower_posix(), c->layout.tenant_fd, c->keyring, &options, &log, &c->err);
	if (r == 0) {
		r = audit_write(log, &event, AUDIT_RESERVE);
		audit_close(log);
	}
	return r < 0 ? err_default(&c->err, r,
			       "the log of tenant %s cannot be written, so nothing was done: %s",
			       c->layout.owner.tenant, strerror(-r))
		     : 0;
}
