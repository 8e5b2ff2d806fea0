#include "keymgmt/cmd.h"
#include "keymgmt/cmd_tenant.h"

#include <errno.h>
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
	return cmd_tenant_load(c->keys_dir, &c->layout, &c->keys_fd, &c->keyring, &c->err);
}

int cmd_common_unlock(struct cmd *c)
{
	return cmd_tenant_unlock(c->keyring, &c->layout, &c->secret, &c->err);
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

int cmd_common_log(struct cmd *c, const char *message, int error)
{
	return cmd_tenant_log(&c->layout, c->keyring, AUDIT_KEY, message, error, &c->err);
}
