/* tenantkey: creates stores and tenants, manages the slots that open them, rotates keys. Nothing
 * else writes keyrings. */
#include "config.h"
#include "fs/lower/lower.h"
#include "fs/store/layout_create.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct cmd_verb verbs[] = {
	{"init", "STORE", "make an empty store", 0, false, cmd_init_run},
	{"create", "STORE#TENANT", "make a tenant and its keyring",
		CMD_SECRET | CMD_NEW_SECRET | CMD_CREATE | CMD_SLOT, false, cmd_create_run},
	{"info", "STORE#TENANT", "show what a tenant and its keyring are", CMD_JSON, false,
		cmd_info_run},
	{"slot add", "STORE#TENANT NAME", "add a passphrase or key file",
		CMD_SECRET | CMD_NEW_SECRET, true, cmd_slot_run_add},
	{"slot remove", "STORE#TENANT NAME", "remove one, and draw new keys", CMD_SECRET, true,
		cmd_slot_run_remove},
	{"slot list", "STORE#TENANT", "list them", CMD_JSON, false, cmd_slot_run_list},
	{"passwd", "STORE#TENANT", "replace the passphrase or key file that you give",
		CMD_SECRET | CMD_NEW_SECRET | CMD_SLOT, false, cmd_passwd_run},
	{"rotate", "STORE#TENANT", "new keys for all files, then destroy the old ones",
		CMD_SECRET | CMD_PROGRESS, false, cmd_rotate_run},
	{"escrow export", "STORE#TENANT FILE", "save a copy of the keyring", CMD_SECRET, true,
		cmd_escrow_run_export},
	{0},
};

/* A quarter of the machine, so that small machines can open their own slots. */
static uint64_t default_memory_kib(void)
{
	long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
	uint64_t quarter = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4096 : 0;
	return quarter && quarter < 262144 ? quarter : 262144;
}

static int start(struct cmd *c)
{
	int r = secret_harden_process();
	if (r < 0)
		return err_set(
			&c->err, r, "cannot protect this process's memory: %s", strerror(-r));
	r = crypto_init();
	if (r < 0)
		return err_set(&c->err, r, "libsodium or libcrypto cannot be used here");
	r = lower_posix_prepare();
	/* Without CAP_SETPCAP nothing here works less: no file is made in another's name. */
	return r == -EPERM ? 0 : r;
}

int main(int argc, char **argv)
{
	struct cmd c = {
		.secret = SOURCE_TERMINAL,
		.new_secret = SOURCE_TERMINAL,
		.cost = {.milliseconds = 1000, .memory_kib = default_memory_kib()},
		.suite = CRYPTO_AES256_GCM,
		.journal_bytes = JOURNAL_BYTES_DEFAULT,
		.layout = LAYOUT_NONE,
		.keys_fd = -1,
	};
	const struct cmd_verb *verb = NULL;
	int r = cmd_options_parse(argc, argv, verbs, &c, &verb);
	if (r == 1)
		return EXIT_OK;
	if (r == 0)
		r = start(&c);
	if (r == 0)
		r = verb->run(&c);
	cmd_common_done(&c);
	if (r < 0) {
		err_default(&c.err, r, "%s", strerror(-r));
		fprintf(stderr, "tenantkey: %s\n", c.err.text);
	}
	if (fflush(stdout) != 0 && r == 0) {
		fprintf(stderr, "tenantkey: cannot write to standard output\n");
		return EXIT_FAILED;
	}
	return err_exit_status(r);
}
