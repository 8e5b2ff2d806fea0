/* tenantkey init STORE */
#include "fs/store/layout_create.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <string.h>

int cmd_init_run(struct cmd *c)
{
	if (strchr(c->argument, '#'))
		return err_set(&c->err, -EINVAL,
			"'%s' has a '#': init makes a store; make tenants in it with 'tenantkey "
			"create'",
			c->argument);
	int r = layout_create_store(c->argument, &c->err);
	if (r == 0)
		cmd_common_say(c, "Store %s is ready. Make a tenant: tenantkey create '%s#NAME'",
			c->argument, c->argument);
	return r;
}
