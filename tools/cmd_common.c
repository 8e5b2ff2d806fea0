#include "keymgmt/cmd_tenant.h"
#include "tools/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { OPTION_HELP = 256, OPTION_KEYS, OPTION_SECRET };

#define OWN_MAX 24

static const struct option shared[] = {
	{"help", no_argument, NULL, OPTION_HELP},
	{"keys", required_argument, NULL, OPTION_KEYS},
	{"passphrase-file", required_argument, NULL, OPTION_SECRET},
	{"passphrase-fd", required_argument, NULL, OPTION_SECRET},
	{"passphrase-command", required_argument, NULL, OPTION_SECRET},
	{"key-file", required_argument, NULL, OPTION_SECRET},
};

static void print_help(const struct cmd_verb *v)
{
	printf("usage: tenantctl %s %s [options]\n\n  %s\n\n", v->name, v->operands, v->summary);
	if (v->options)
		printf("%s", v->options);
	if (v->tenant)
		printf("  --keys DIR                    key directory\n"
		       "  --passphrase-file FILE  --passphrase-fd N  --passphrase-command COMMAND  "
		       "--key-file FILE\n"
		       "                                the secret, where the keyring is needed "
		       "and the tenant is not mounted\n");
}

/* The verb's own options and the shared ones that it takes, in one list. */
static void join(
	const struct cmd *c, const struct option *own, struct option ret[static OWN_MAX + 8])
{
	size_t n = 0, take = c->verb->tenant ? sizeof(shared) / sizeof(shared[0]) : 1;
	for (; own && own->name && n < OWN_MAX; own++)
		ret[n++] = *own;
	memcpy(ret + n, shared, take * sizeof(shared[0]));
	memset(ret + n + take, 0, sizeof(ret[0]));
}

static int take_shared(struct cmd *c, int option, const char *name, const char *value)
{
	switch (option) {
	case OPTION_HELP:
		print_help(c->verb);
		return -ECANCELED;
	case OPTION_KEYS:
		c->keys_dir = value;
		return 0;
	default: {
		int r = source_option(&c->secret, name, value, &c->err);
		return r < 0 ? r : 0;
	}
	}
}

int cmd_common_options(struct cmd *c, int argc, char **argv, const struct option *own,
	cmd_take *take, void *context, int min, int max, char ***ret_operands)
{
	struct option options[OWN_MAX + 8];
	int option, index = -1;
	join(c, own, options);
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, &index)) != -1) {
		int r;
		if (option == '?' || option == ':')
			return err_set(&c->err, -EINVAL, "%s '%s': see 'tenantctl %s --help'",
				option == '?' ? "unknown or ambiguous option"
					      : "a value is missing behind",
				argv[optind - 1], c->verb->name);
		if (index < 0) /* -h */
			option = OPTION_HELP;
		if (option < OPTION_HELP)
			r = take(c, context, option, optarg);
		else
			r = take_shared(c, option, index >= 0 ? options[index].name : "", optarg);
		if (r < 0)
			return r;
		index = -1;
	}
	int n = argc - optind;
	if (n < min || n > max)
		return err_set(&c->err, -EINVAL, "usage: tenantctl %s %s [options]", c->verb->name,
			c->verb->operands);
	*ret_operands = argv + optind;
	return n;
}

int cmd_common_open(struct cmd *c, const char *argument)
{
	char store[PATH_MAX], tenant[64];
	int r = layout_split(argument, true, store, tenant, &c->err);
	return r < 0 ? r : layout_open(store, tenant, &c->layout, &c->err);
}

int cmd_common_lock(struct cmd *c)
{
	char purpose[64];
	snprintf(purpose, sizeof(purpose), "tenantctl %s", c->verb->name);
	return layout_lock(&c->layout, purpose, NULL, &c->err);
}

int cmd_common_unlock(struct cmd *c)
{
	int r = cmd_tenant_load(c->keys_dir, &c->layout, &c->keys_fd, &c->keyring, &c->err);
	return r < 0 ? r : cmd_tenant_unlock(c->keyring, &c->layout, &c->secret, &c->err);
}

int cmd_common_log(struct cmd *c, enum audit_kind kind, const char *message, int error)
{
	return cmd_tenant_log(&c->layout, c->keyring, kind, message, error, &c->err);
}

void cmd_common_done(struct cmd *c)
{
	keyring_free(c->keyring);
	c->keyring = NULL;
	cleanup_close(&c->keys_fd);
	c->keys_fd = -1;
	layout_done(&c->layout);
}
