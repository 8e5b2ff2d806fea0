/* tenantkey info STORE#TENANT */
#include "keymgmt/base/buf.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct info {
	char store_uuid[LAYOUT_UUID_TEXT], tenant_uuid[LAYOUT_UUID_TEXT], keyring[PATH_MAX + 128];
	char holder[512]; /* "" when nobody has it */
};

static int collect(struct cmd *c, struct info *ret)
{
	char keys[PATH_MAX];
	int r = layout_keys_path(c->keys_dir, keys, &c->err);
	if (r < 0)
		return r;
	layout_uuid_text(c->layout.owner.store_uuid, ret->store_uuid);
	layout_uuid_text(c->layout.owner.tenant_uuid, ret->tenant_uuid);
	snprintf(ret->keyring, sizeof(ret->keyring), "%s/%s/%s.json", keys, ret->store_uuid,
		c->layout.owner.tenant);
	r = layout_holder(&c->layout, ret->holder);
	return r < 0 ? err_set(&c->err, r, "cannot read the lock of tenant %s: %s",
			       c->layout.owner.tenant, strerror(-r))
		     : 0;
}

static void print_json(const struct cmd *c, const struct info *i, struct buf *b)
{
	buf_str(b, "{\"tenant\": ");
	buf_json(b, c->layout.owner.tenant);
	buf_str(b, ", \"store\": ");
	buf_json(b, c->layout.store_path);
	buf_printf(b,
		", \"store_uuid\": \"%s\", \"tenant_uuid\": \"%s\", \"suite\": \"%s\", "
		"\"created\": ",
		i->store_uuid, i->tenant_uuid, layout_suite_name(c->layout.suite));
	buf_json(b, c->layout.created);
	buf_str(b, ", \"keyring\": ");
	buf_json(b, i->keyring);
	buf_printf(b,
		", \"generation\": %llu, \"slots\": %zu, \"key_epoch\": %u, "
		"\"rotation_unfinished\": %s",
		(unsigned long long)keyring_generation(c->keyring), keyring_slots(c->keyring),
		(unsigned)keyring_kek_epoch(c->keyring),
		keyring_has_old_epochs(c->keyring) ? "true" : "false");
	buf_printf(b, ", \"in_use\": %s, \"holder\": ", i->holder[0] ? "true" : "false");
	buf_json(b, i->holder);
	buf_str(b, "}");
}

static void print_text(const struct cmd *c, const struct info *i)
{
	printf("tenant       %s\n", c->layout.owner.tenant);
	printf("store        %s\n", c->layout.store_path);
	printf("store uuid   %s\n", i->store_uuid);
	printf("tenant uuid  %s\n", i->tenant_uuid);
	printf("cipher       %s\n", layout_suite_name(c->layout.suite));
	printf("created      %s\n", c->layout.created);
	printf("keyring      %s\n", i->keyring);
	printf("generation   %llu\n", (unsigned long long)keyring_generation(c->keyring));
	printf("slots        %zu\n", keyring_slots(c->keyring));
	printf("key epoch    %u\n", (unsigned)keyring_kek_epoch(c->keyring));
	printf("rotation     %s\n", keyring_has_old_epochs(c->keyring)
					    ? "unfinished: run 'tenantkey rotate' to finish it"
					    : "none under way");
	printf("state        %s\n", i->holder[0] ? i->holder : "not mounted");
}

int cmd_info_run(struct cmd *c)
{
	struct info i = {0};
	AUTO_BUF b = {0};
	int r = cmd_common_open(c, false);
	if (r == 0)
		r = collect(c, &i);
	if (r < 0)
		return r;
	if (!c->json) {
		print_text(c, &i);
		return 0;
	}
	print_json(c, &i, &b);
	if (!buf_ok(&b))
		return -ENOMEM;
	puts((const char *)b.data);
	return 0;
}
