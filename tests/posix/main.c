/* posix-suite DIRECTORY [GROUP...], posix-suite --read-only DIRECTORY: see suite.h. Needs root, for
 * the other users' sake, and a mount namespace of its own. With --read-only the directory is one
 * that an earlier run has left, on a filesystem that is mounted read-only now.
 *
 *     suite.c      who acts, what is made, how an answer is told
 *     paths.c      every call on every kind of wrong path
 *     create.c     what makes nodes: modes and umask, owners, times, counts
 *     permission.c who may open, list, change what, by mode and class
 *     open.c       open's flags; what writing does to set-id bits and times
 *     names.c      link, unlink, rmdir, symlink, readlink
 *     rename.c     rename and renameat2, every kind over every kind
 *     sticky.c     whose names may go from a sticky directory
 *     modes.c owners.c sizes.c times.c     chmod; chown; truncate and allocation; utimensat
 *     lists.c attributes.c acls.c locks.c  readdir; extended attributes; ACLs; locks
 *     busy.c       mount points, running programs, other filesystems
 *     limits.c     of a process; what a signal ends */
#include "tests/posix/suite.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = {{"paths", paths_run}, {"create", create_run}, {"permission", permission_run},
	{"open", open_run}, {"names", names_run}, {"rename", rename_run}, {"sticky", sticky_run},
	{"modes", modes_run}, {"owners", owners_run}, {"sizes", sizes_run}, {"times", times_run},
	{"lists", lists_run}, {"attributes", attributes_run}, {"acls", acls_run},
	{"locks", locks_run}, {"busy", busy_run}, {"limits", limits_run}};

static bool wanted(const char *name, char **words)
{
	for (char **w = words; *w; w++)
		if (strcmp(*w, name) == 0)
			return true;
	return !*words;
}

int main(int count, char **list)
{
	bool read_only = count == 3 && strcmp(list[1], "--read-only") == 0;
	/* As busy.c runs it. */
	if (count == 2 && strcmp(list[1], "--wait") == 0) {
		char c;
		return read(0, &c, 1) < 0;
	}
	if (count < 2 || list[1 + read_only][0] == '-') {
		fprintf(stderr, "usage: posix-suite DIRECTORY [GROUP...]\n"
				"       posix-suite --read-only DIRECTORY\n");
		return 2;
	}
	/* So that a file size limit that is tested does not meet it. */
	static char bytes[1 << 20];
	setvbuf(stdout, bytes, _IOFBF, sizeof(bytes));
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	must(unshare(CLONE_NEWNS), "makes a mount namespace");
	must(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "keeps mounts to itself");
	must(chdir(list[1 + read_only]), list[1 + read_only]);
	if (read_only)
		paths_read_only();
	for (size_t i = 0; i < COUNT(groups) && !read_only; i++)
		if (wanted(groups[i].name, list + 2))
			groups[i].run();
	return fflush(stdout) == 0 ? 0 : 2;
}
