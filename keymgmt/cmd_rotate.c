/* tenantkey rotate STORE#TENANT */
#include "keymgmt/cmd.h"

#include <errno.h>
#include <string.h>

static int begin_epoch(struct cmd *c)
{
	int r = cmd_common_log(c, "rotate: new keys, old epoch to be destroyed", 0);
	if (r < 0)
		return r;
	r = keyring_rotate_begin(c->keyring);
	if (r == -ENOSPC)
		return err_set(&c->err, r,
			"the keyring holds the log's keys of 1,000 renewals and takes no more; "
			"nothing "
			"was changed");
	if (r == 0)
		r = keyring_store(c->keyring, c->keys_fd, &c->err);
	return r < 0 ? err_default(&c->err, r, "cannot begin the rotation, nothing was changed: %s",
			       strerror(-r))
		     : 0;
}

int cmd_rotate_run(struct cmd *c)
{
	uint64_t files = 0;
	int r = cmd_common_open(c, true);
	if (r == 0)
		r = cmd_common_unlock(c);
	if (r < 0)
		return r;
	if (keyring_has_old_epochs(c->keyring))
		cmd_common_say(
			c, "An earlier rotation or slot removal was interrupted: finishing it.");
	else
		r = begin_epoch(c);
	if (r == 0)
		r = cmd_rewrap_finish(c, &files);
	if (r < 0)
		return err_default(&c->err, r,
			"the rotation is not finished (%s): run 'tenantkey rotate' again to finish "
			"it",
			strerror(-r));
	cmd_common_say(c,
		"%llu file headers re-wrapped. Key epoch %u is in force; older ones are destroyed.",
		(unsigned long long)files, (unsigned)keyring_kek_epoch(c->keyring));
	cmd_common_say(c, "Escrow copies from before open nothing any more: export a new one.");
	return 0;
}
