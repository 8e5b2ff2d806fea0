/* tenantkey slot add|remove|list */
#include "keymgmt/base/buf.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int log_slot(struct cmd *c, const char *what, int error)
{
	char message[256];
	snprintf(message, sizeof(message), "%s%s: %s", what, error ? " failed" : "", c->operand);
	return cmd_common_log(c, message, error);
}

/* What was announced did not happen. The sentence is that of the first trouble. */
static int failed(struct cmd *c, const char *what, int error)
{
	err_default(&c->err, error, "%s %s: %s", what, c->operand, strerror(-error));
	const struct err first = c->err;
	(void)!log_slot(c, what, error);
	c->err = first;
	return error;
}

static int check_name(struct cmd *c)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._@-";
	size_t len = strlen(c->operand);
	if (len == 0 || len > 63 || strspn(c->operand, plain) != len)
		return err_set(&c->err, -EINVAL,
			"'%s' is no slot name: use 1 to 63 letters, digits and . _ @ -",
			c->operand);
	return 0;
}

int cmd_slot_run_add(struct cmd *c)
{
	struct slot_key key;
	AUTO_SECRET *secret = NULL;
	int r = check_name(c);
	if (r == 0)
		r = cmd_common_begin(c);
	if (r == 0)
		r = cmd_common_new_key(c, &key, &secret);
	if (r == 0)
		r = keyring_slot_add(c->keyring, c->operand, &key, &c->cost, &c->err);
	if (r < 0)
		return err_default(&c->err, r, "cannot add slot %s: %s", c->operand, strerror(-r));
	r = log_slot(c, "slot add", 0);
	if (r < 0)
		return r;
	r = keyring_store(c->keyring, c->keys_fd, &c->err);
	if (r < 0)
		return failed(c, "slot add", r);
	cmd_common_say(c, "Slot %s opens tenant %s now.", c->operand, c->layout.owner.tenant);
	return 0;
}

int cmd_slot_run_remove(struct cmd *c)
{
	int r = check_name(c);
	if (r == 0)
		r = cmd_common_begin(c);
	if (r < 0)
		return r;
	/* The log is opened under the metadata key that is still in force. */
	r = log_slot(c, "slot remove", 0);
	if (r == 0)
		r = keyring_slot_remove(c->keyring, c->operand, &c->err);
	if (r < 0)
		return failed(c, "slot remove", r);
	r = keyring_store(c->keyring, c->keys_fd, &c->err);
	if (r == 0)
		r = cmd_rewrap_finish(c, NULL);
	if (r < 0)
		return err_default(
			&c->err, r, "cannot remove slot %s: %s", c->operand, strerror(-r));
	cmd_common_say(c,
		"Slot %s is gone. To lock out who kept old file keys too: tenantkey rotate '%s'",
		c->operand, c->argument);
	return 0;
}

static void list_json(const struct cmd *c, struct buf *b)
{
	buf_str(b, "[");
	for (size_t i = 0; i < keyring_slots(c->keyring); i++) {
		struct keyring_slot_info s;
		if (keyring_slot_info(c->keyring, i, &s) < 0)
			continue;
		buf_str(b, i ? ",\n " : "\n ");
		buf_str(b, "{\"name\": ");
		buf_json(b, s.name);
		buf_str(b, ", \"kind\": ");
		buf_json(b, s.kind);
		buf_str(b, ", \"created\": ");
		buf_json(b, s.created);
		if (s.pwhash.iterations)
			buf_printf(b,
				", \"argon2id\": {\"iterations\": %llu, \"memory_kib\": %llu}",
				(unsigned long long)s.pwhash.iterations,
				(unsigned long long)s.pwhash.memory_kib);
		buf_str(b, "}");
	}
	buf_str(b, "\n]");
}

static void list_text(const struct cmd *c)
{
	printf("%-20s %-12s %-22s %s\n", "NAME", "KIND", "CREATED", "ARGON2ID");
	for (size_t i = 0; i < keyring_slots(c->keyring); i++) {
		struct keyring_slot_info s;
		if (keyring_slot_info(c->keyring, i, &s) < 0)
			continue;
		printf("%-20s %-12s %-22s ", s.name, s.kind, s.created);
		if (s.pwhash.iterations)
			printf("%llu passes, %llu KiB\n", (unsigned long long)s.pwhash.iterations,
				(unsigned long long)s.pwhash.memory_kib);
		else
			printf("%s\n", s.known ? "-" : "unknown kind, kept as it is");
	}
}

int cmd_slot_run_list(struct cmd *c)
{
	AUTO_BUF b = {0};
	int r = cmd_common_open(c, false);
	if (r < 0)
		return r;
	if (!c->json) {
		list_text(c);
		return 0;
	}
	list_json(c, &b);
	if (!buf_ok(&b))
		return -ENOMEM;
	puts((const char *)b.data);
	return 0;
}
