/* tenantkey passwd STORE#TENANT */
#include "keymgmt/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --slot, or the only slot that we know. */
static int choose_slot(struct cmd *c, char ret_name[static 64])
{
	size_t known = 0;
	for (size_t i = 0; i < keyring_slots(c->keyring); i++) {
		struct keyring_slot_info s;
		if (keyring_slot_info(c->keyring, i, &s) < 0 || !s.known)
			continue;
		if (c->slot && strcmp(c->slot, s.name) != 0)
			continue;
		known++;
		snprintf(ret_name, 64, "%s", s.name);
	}
	if (known == 1)
		return 0;
	if (c->slot)
		return err_set(&c->err, -ENOENT, "there is no slot %s: see 'tenantkey slot list'",
			c->slot);
	return err_set(&c->err, -EINVAL,
		"tenant %s has several slots: say which one to change with --slot NAME",
		c->layout.owner.tenant);
}

int cmd_passwd_run(struct cmd *c)
{
	char name[64], message[128];
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	int r = cmd_common_open(c, true);
	if (r == 0)
		r = choose_slot(c, name);
	if (r == 0)
		r = cmd_common_begin(c);
	if (r == 0)
		r = cmd_common_new_key(c, &key, &secret);
	if (r < 0)
		return r;
	snprintf(message, sizeof(message), "passwd: slot %s", name);
	r = cmd_common_log(c, message, 0);
	if (r < 0)
		return r;
	r = keyring_slot_replace(c->keyring, name, &key, &c->cost, &c->err);
	if (r == 0)
		r = keyring_store(c->keyring, c->keys_fd, &c->err);
	if (r == 0)
		r = cmd_rewrap_finish(c, NULL);
	if (r < 0)
		return err_default(&c->err, r, "cannot change slot %s: %s", name, strerror(-r));
	cmd_common_say(c, "Slot %s of tenant %s has a new secret; the old one opens nothing.", name,
		c->layout.owner.tenant);
	return 0;
}
