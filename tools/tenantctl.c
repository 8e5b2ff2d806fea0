/* tenantctl: asks a tenant and tells it what to do: policy, audit trail, status. Writes no keyring
 * but for `policy apply`. */
#include "config.h"
#include "tools/cmd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define AUDIT_FILTERS                                                                              \
	"  --user NAME|UID               only this user's\n"                                       \
	"  --path PATH                   only this and what is below it; or a pattern with * ? "   \
	"[\n"                                                                                      \
	"  --from TIME, --to TIME        \"YYYY-MM-DD [HH:MM]\" in UTC; --to itself is left out\n" \
	"  --outcome allowed|denied  --op OPERATION\n"                                             \
	"  --all                         show heartbeats and ends of segments too\n"

static const struct cmd_verb verbs[] = {
	{"policy check", "FILE", "report every mistake in a policy, with line and column",
		"  --tenant NAME                 the name that the policy's `tenant` must have\n",
		false, cmd_policy_run_check},
	{"policy explain", "[STORE#TENANT] PATH ACTION", "what a user may do at a path, and why",
		"  --file FILE                   a policy text instead of the one in force\n"
		"  --user NAME|UID               who asks (default: you)\n"
		"  --group NAME|GID              a group of the user, may be repeated (default: "
		"those of the user)\n"
		"  --at TIME                     \"YYYY-MM-DD [HH:MM]\" in UTC (default: now)\n"
		"  ACTION                        list, read, write, create, delete, manage or any, "
		"comma-separated\n",
		true, cmd_policy_run_explain},
	{"policy apply", "STORE#TENANT FILE",
		"check a policy and put it in force, at once where it is mounted", NULL, true,
		cmd_policy_run_apply},
	{"policy show", "STORE#TENANT", "print the policy in force", NULL, true,
		cmd_policy_run_show},
	{"audit show", "STORE#TENANT", "who did what, and was refused what", AUDIT_FILTERS, true,
		cmd_audit_run_show},
	{"audit verify", "STORE#TENANT",
		"whether the log is whole: exit status 0 intact, 1 broken, 2 unclean end", NULL,
		true, cmd_audit_run_verify},
	{"audit export", "STORE#TENANT", "the log as OCSF 1.8 events, one JSON object a line",
		AUDIT_FILTERS "  --pseudonymise                users and names as keyed hashes\n",
		true, cmd_audit_run_export},
	{"status", "STORE#TENANT", "whether a tenant is mounted, and how it is",
		"  --json                        the whole answer as JSON\n", false,
		cmd_status_run},
	{"fsck", "STORE#TENANT", "check everything of a tenant, also beside its mount",
		"  --repair                      put right what can be, move what cannot be read "
		"to "
		"lost+found; not mounted\n"
		"  --json                        findings and counts as one JSON object\n"
		"  --no-progress                 no progress bar on a terminal\n"
		"  exit status, added up: 0 clean; 1 corrected; 4 errors left; 8 could not check; "
		"16 "
		"usage; 32 cancelled\n",
		true, cmd_fsck_run},
	{0},
};

static void print_help(void)
{
	printf("usage: tenantctl VERB ... [options]\n\n");
	for (const struct cmd_verb *v = verbs; v->name; v++)
		printf("  %-15s %-28s %s\n", v->name, v->operands, v->summary);
	printf("\n'tenantctl VERB --help' lists a verb's options. --version prints the version.\n\n"
	       "Exit status: 0 done; 1 a system call failed, or interrupted; 2 usage; 3 not "
	       "permitted;\n"
	       "  4 not found; 5 in use or exists already; 6 wrong passphrase or key; 7 damaged or "
	       "foreign;\n"
	       "  8 a newer format; 9 mistakes in a policy; 11 no space left. audit verify and "
	       "fsck have "
	       "their own\n");
}

/* The verb that argv[1] or argv[1] and argv[2] name; *ret_last: the index of its last word. */
static const struct cmd_verb *find_verb(int argc, char **argv, int *ret_last)
{
	for (const struct cmd_verb *v = verbs; v->name; v++) {
		size_t first = strcspn(v->name, " ");
		const char *second = v->name[first] ? v->name + first + 1 : NULL;
		if (strlen(argv[1]) != first || strncmp(argv[1], v->name, first) != 0)
			continue;
		if (second && (argc < 3 || strcmp(argv[2], second) != 0))
			continue;
		*ret_last = second ? 2 : 1;
		return v;
	}
	return NULL;
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

static int run(struct cmd *c, int argc, char **argv)
{
	int last = 0;
	if (argc < 2)
		return err_set(&c->err, -EINVAL, "a verb is missing: see 'tenantctl --help'");
	c->verb = find_verb(argc, argv, &last);
	if (!c->verb)
		return err_set(&c->err, -EINVAL,
			"there is no verb '%s%s%s': see 'tenantctl --help'", argv[1],
			argc > 2 ? " " : "", argc > 2 ? argv[2] : "");
	int r = start(c);
	return r ? r : c->verb->run(c, argc - last, argv + last);
}

int main(int argc, char **argv)
{
	struct cmd c = {.secret = SOURCE_TERMINAL, .layout = LAYOUT_NONE, .keys_fd = -1};
	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		print_help();
		return EXIT_OK;
	}
	if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
		printf("tenantctl %s\n", TENANTFS_VERSION);
		return EXIT_OK;
	}
	int r = run(&c, argc, argv);
	cmd_common_done(&c);
	if (r == -ECANCELED && !c.err.code)
		r = 0;
	if (r < 0) {
		err_default(&c.err, r, "%s", strerror(-r));
		fprintf(stderr, "tenantctl: %s\n", c.err.text);
	}
	if (fflush(stdout) != 0 && r == 0) {
		fprintf(stderr, "tenantctl: cannot write to standard output\n");
		return EXIT_FAILED;
	}
	return r > 0 ? r : err_exit_status(r);
}
