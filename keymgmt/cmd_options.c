#include "config.h"
#include "fs/store/layout_create.h"
#include "keymgmt/cmd.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum {
	OPTION_KEYS = 256,
	OPTION_SECRET,     /* a source's own names */
	OPTION_NEW_SECRET, /* the same behind "new-" */
	OPTION_OWNER,
	OPTION_SUITE,
	OPTION_JOURNAL,
	OPTION_ITER_TIME,
	OPTION_MEMORY,
	OPTION_ITERATIONS,
	OPTION_SLOT,
	OPTION_JSON,
	OPTION_NO_PROGRESS,
};

static const struct option options[] = {
	{"keys", required_argument, NULL, OPTION_KEYS},
	{"passphrase-file", required_argument, NULL, OPTION_SECRET},
	{"passphrase-fd", required_argument, NULL, OPTION_SECRET},
	{"passphrase-command", required_argument, NULL, OPTION_SECRET},
	{"key-file", required_argument, NULL, OPTION_SECRET},
	{"new-passphrase-file", required_argument, NULL, OPTION_NEW_SECRET},
	{"new-passphrase-fd", required_argument, NULL, OPTION_NEW_SECRET},
	{"new-passphrase-command", required_argument, NULL, OPTION_NEW_SECRET},
	{"new-key-file", required_argument, NULL, OPTION_NEW_SECRET},
	{"owner", required_argument, NULL, OPTION_OWNER},
	{"suite", required_argument, NULL, OPTION_SUITE},
	{"journal-size", required_argument, NULL, OPTION_JOURNAL},
	{"iter-time", required_argument, NULL, OPTION_ITER_TIME},
	{"pbkdf-memory", required_argument, NULL, OPTION_MEMORY},
	{"pbkdf-force-iterations", required_argument, NULL, OPTION_ITERATIONS},
	{"slot", required_argument, NULL, OPTION_SLOT},
	{"json", no_argument, NULL, OPTION_JSON},
	{"no-progress", no_argument, NULL, OPTION_NO_PROGRESS},
	{"quiet", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{0},
};

static void print_help(const struct cmd_verb *verbs)
{
	printf("usage: tenantkey VERB STORE[#TENANT] [options]\n\n");
	for (const struct cmd_verb *v = verbs; v->name; v++)
		printf("  %-13s %-18s %s\n", v->name, v->operands, v->summary);
	printf("\nEvery verb:\n"
	       "  --keys DIR                    key directory (default: /var/lib/tenantfs/keys, "
	       "for a user\n"
	       "                                ~/.local/share/tenantfs/keys)\n"
	       "  -q, --quiet  --help  --version\n"
	       "The secret that opens the keyring, otherwise asked for on the terminal:\n"
	       "  --passphrase-file FILE  --passphrase-fd N  --passphrase-command COMMAND  "
	       "--key-file FILE\n"
	       "The secret of a new slot (create, slot add, passwd): the same with --new- in "
	       "front, and\n"
	       "  --iter-time MS  --pbkdf-memory KIB  --pbkdf-force-iterations N     cost of "
	       "Argon2id\n"
	       "create:\n"
	       "  --owner USER                  who owns the tenant's files; writes a first policy "
	       "for USER alone\n"
	       "  --suite aes-256-gcm|xchacha20-poly1305\n"
	       "  --journal-size SIZE           1M to 1G, default 16M\n"
	       "  --slot NAME                   name of the first slot (default: main)\n"
	       "passwd: --slot NAME    rotate: --no-progress    info, slot list: --json\n\n"
	       "Exit status: 0 done; 1 a system call failed, or interrupted; 2 usage; 3 not "
	       "permitted;\n"
	       "  4 not found; 5 in use or exists already; 6 wrong passphrase or key; 7 damaged or "
	       "foreign;\n"
	       "  8 a newer format; 9 mistakes in a policy; 10 no FUSE; 11 no space left\n");
}

/* A decimal number of at most max, with K, M or G where sizes are meant. */
static int parse_number(const char *text, bool size, uint64_t max, uint64_t *ret)
{
	static const char units[] = "KMG";
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (errno || end == text || text[0] < '0' || text[0] > '9')
		return -EINVAL;
	const char *unit = size && *end ? strchr(units, *end) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	if (unit)
		end++;
	if (*end || n > max >> shift)
		return -EINVAL;
	*ret = (uint64_t)n << shift;
	return 0;
}

static int number(struct cmd *c, const char *name, const char *text, bool size, uint64_t min,
	uint64_t max, uint64_t *ret)
{
	if (parse_number(text, size, max, ret) < 0 || *ret < min)
		return err_set(&c->err, -EINVAL, "--%s: '%s' is not a number from %llu to %llu",
			name, text, (unsigned long long)min, (unsigned long long)max);
	return 0;
}

static int take_secret(struct cmd *c, const char *name, const char *value)
{
	bool is_new = strncmp(name, "new-", 4) == 0;
	int r = source_option(
		is_new ? &c->new_secret : &c->secret, is_new ? name + 4 : name, value, &c->err);
	return r < 0 ? r : 0;
}

/* What an option needs a verb to have; 0: every verb. */
static unsigned group_of(int option)
{
	switch (option) {
	case OPTION_SECRET:
		return CMD_SECRET;
	case OPTION_NEW_SECRET:
	case OPTION_ITER_TIME:
	case OPTION_MEMORY:
	case OPTION_ITERATIONS:
		return CMD_NEW_SECRET;
	case OPTION_OWNER:
	case OPTION_SUITE:
	case OPTION_JOURNAL:
		return CMD_CREATE;
	case OPTION_SLOT:
		return CMD_SLOT;
	case OPTION_JSON:
		return CMD_JSON;
	case OPTION_NO_PROGRESS:
		return CMD_PROGRESS;
	default:
		return 0;
	}
}

static int take(struct cmd *c, int option, const char *name, const char *value)
{
	uint64_t n = 0;
	int r;
	switch (option) {
	case OPTION_KEYS:
		c->keys_dir = value;
		return 0;
	case OPTION_SECRET:
	case OPTION_NEW_SECRET:
		return take_secret(c, name, value);
	case OPTION_OWNER:
		c->owner = value;
		return 0;
	case OPTION_SUITE:
		r = layout_suite(value);
		if (!r)
			return err_set(&c->err, -EINVAL,
				"--suite: '%s' is neither aes-256-gcm nor xchacha20-poly1305",
				value);
		c->suite = (enum crypto_suite)r;
		return 0;
	case OPTION_JOURNAL:
		r = number(c, name, value, true, JOURNAL_BYTES_MIN, JOURNAL_BYTES_MAX,
			&c->journal_bytes);
		if (r == 0 && c->journal_bytes % 4096)
			return err_set(
				&c->err, -EINVAL, "--%s: '%s' is no multiple of 4096", name, value);
		return r;
	case OPTION_ITER_TIME:
		r = number(c, name, value, false, 1, 600000, &n);
		c->cost.milliseconds = (unsigned)n;
		return r;
	case OPTION_MEMORY:
		return number(c, name, value, false, 8, 4u << 20, &c->cost.memory_kib);
	case OPTION_ITERATIONS:
		return number(c, name, value, false, 1, UINT32_MAX, &c->cost.iterations);
	case OPTION_SLOT:
		c->slot = value;
		return 0;
	case OPTION_JSON:
		c->json = true;
		return 0;
	case OPTION_NO_PROGRESS:
		c->no_progress = true;
		return 0;
	default: /* 'q' */
		c->quiet = true;
		return 0;
	}
}

/* One or two words; *ret_words: how many. */
static const struct cmd_verb *find_verb(
	const struct cmd_verb *verbs, char **words, int n, int *ret_words)
{
	for (const struct cmd_verb *v = verbs; v->name; v++) {
		size_t first = strcspn(v->name, " ");
		const char *second = v->name[first] ? v->name + first + 1 : NULL;
		if (strlen(words[0]) != first || strncmp(words[0], v->name, first) != 0)
			continue;
		if (second && (n < 2 || strcmp(words[1], second) != 0))
			continue;
		*ret_words = second ? 2 : 1;
		return v;
	}
	return NULL;
}

static int take_words(struct cmd *c, const struct cmd_verb *verbs, char **words, int n,
	unsigned used, const struct cmd_verb **ret)
{
	int verb_words = 0;
	if (n == 0)
		return err_set(&c->err, -EINVAL, "a verb is missing: see 'tenantkey --help'");
	const struct cmd_verb *v = find_verb(verbs, words, n, &verb_words);
	if (!v)
		return err_set(&c->err, -EINVAL, "there is no verb '%s': see 'tenantkey --help'",
			words[0]);
	if (n - verb_words != (v->operand ? 2 : 1))
		return err_set(
			&c->err, -EINVAL, "usage: tenantkey %s %s [options]", v->name, v->operands);
	if (used & ~v->options)
		return err_set(&c->err, -EINVAL,
			"an option does not apply to '%s': see 'tenantkey --help'", v->name);
	c->verb = v->name;
	c->argument = words[verb_words];
	c->operand = v->operand ? words[verb_words + 1] : NULL;
	*ret = v;
	return 0;
}

int cmd_options_parse(int argc, char **argv, const struct cmd_verb *verbs, struct cmd *c,
	const struct cmd_verb **ret)
{
	unsigned used = 0;
	int option, index = -1;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":qhV", options, &index)) != -1) {
		if (option == 'h') {
			print_help(verbs);
			return 1;
		}
		if (option == 'V') {
			printf("tenantkey %s\n", TENANTFS_VERSION);
			return 1;
		}
		if (option == '?' || option == ':')
			return err_set(&c->err, -EINVAL, "%s '%s': see 'tenantkey --help'",
				option == '?' ? "unknown or ambiguous option"
					      : "a value is missing behind",
				argv[optind - 1]);
		int r = take(c, option, index >= 0 ? options[index].name : "", optarg);
		if (r < 0)
			return r;
		used |= group_of(option);
		index = -1;
	}
	return take_words(c, verbs, argv + optind, argc - optind, used, ret);
}
