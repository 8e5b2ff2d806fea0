/*
 * Calls the eraser on plain directories, without a mount, and can end the process at its n-th
 * system call on them.
 *
 *     erase_tool [-c N] [-s] DIR VERB [NAME…]    DIR holds root/ and trash/
 *       unlink NAME…        moves root/NAME to the trash and erases it
 *       replace NEW NAME    renames root/NEW over root/NAME, erases what was NAME
 *       move NAME…          moves to the trash only, as a file that is still open
 *       resume              erases what the trash holds
 *     -c N   _exit(9) instead of the N-th call, counted over everything behind trash_open
 *     -s     erase=sync
 *
 * Prints a line "receipt FILE_ID BYTES METHOD ASSURANCE ERROR" each, at the end "calls N" and
 * "status WAITING FAILED DONE ASSURANCE WHY". The method's spaces become underscores.
 */
#include "fs/erase/trash.h"
#include "keymgmt/crypto.h"
#include "tests/unit/fail_lower.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#define DRAIN_MS 60000

static void crash(void)
{
	_exit(9);
}

static void print_receipt(void *context, const struct trash_receipt *r)
{
	(void)context;
	char method[64];
	snprintf(method, sizeof(method), "%s", r->method);
	for (char *p = method; *p; p++)
		*p = *p == ' ' ? '_' : *p;
	printf("receipt ");
	for (size_t i = 0; i < sizeof(r->file_id); i++)
		printf("%02x", r->file_id[i]);
	printf(" %llu %s %c %d\n", (unsigned long long)r->bytes, method, r->assurance, r->error);
	fflush(stdout);
}

static int open_dir(const char *dir, const char *name)
{
	char path[4096];
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int unlink_names(struct trash *t, int root, bool erase, char **names)
{
	for (; *names; names++) {
		char there[TRASH_NAME_LEN];
		int r = trash_move(t, root, *names, there);
		if (r < 0)
			return r;
		if (erase)
			trash_erase(t, there, root);
	}
	return 0;
}

static int replace(struct trash *t, struct lower *l, int root, char **names)
{
	if (!names[0] || !names[1])
		return -EINVAL;
	char there[TRASH_NAME_LEN];
	int r = trash_link(t, root, names[1], there);
	if (r < 0)
		return r;
	r = l->ops->renameat(l, root, names[0], root, names[1], 0);
	if (r < 0)
		trash_unlink(t, there);
	else
		trash_erase(t, there, root);
	return r;
}

static int act(struct trash *t, struct lower *l, int root, const char *verb, char **names)
{
	if (strcmp(verb, "resume") == 0) {
		int r = trash_resume(t);
		return r < 0 ? r : trash_drain(t, DRAIN_MS);
	}
	int r = trash_resume(t);
	if (r < 0)
		return r;
	if (strcmp(verb, "unlink") == 0)
		r = unlink_names(t, root, true, names);
	else if (strcmp(verb, "move") == 0)
		r = unlink_names(t, root, false, names);
	else if (strcmp(verb, "replace") == 0)
		r = replace(t, l, root, names);
	else
		return -EINVAL;
	return r < 0 ? r : trash_drain(t, DRAIN_MS);
}

int main(int argc, char **argv)
{
	unsigned crash_at = 0;
	struct trash_options options = {.require = TRASH_C, .receipt = print_receipt};
	for (int c; (c = getopt(argc, argv, "+c:s")) != -1;) {
		if (c == 'c')
			crash_at = (unsigned)strtoul(optarg, NULL, 10);
		else if (c == 's')
			options.sync = true;
		else
			return 2;
	}
	if (argc - optind < 2 || crypto_init() < 0)
		return 2;
	char *dir = argv[optind], *verb = argv[optind + 1];
	int root = open_dir(dir, "root"), trash_fd = open_dir(dir, "trash");
	if (root < 0 || trash_fd < 0)
		return 2;

	struct fail_lower lower;
	fail_lower_init(&lower, lower_posix());
	struct trash *t = NULL;
	struct err e = {0};
	int r = trash_open(&lower.base, trash_fd, &options, &t, &e);
	if (r < 0) {
		fprintf(stderr, "%s\n", e.text);
		return 1;
	}
	lower.instead = crash;
	fail_lower_arm(&lower, FAIL_LOWER_ANY, crash_at, -EIO, true);
	r = act(t, &lower.base, root, verb, argv + optind + 2);
	struct trash_status s;
	trash_status(t, &s);
	lower.at = 0;
	printf("calls %u\n", atomic_load(&lower.counted));
	printf("status %llu %llu %llu %c %s\n", (unsigned long long)s.files,
		(unsigned long long)s.failed_files, (unsigned long long)s.done_files, s.assurance,
		s.why);
	trash_close(t, 0);
	if (r < 0)
		fprintf(stderr, "%s\n", strerror(-r));
	return r < 0;
}
