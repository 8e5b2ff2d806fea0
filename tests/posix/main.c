/* posix-suite [--read-only] DIRECTORY: see suite.h. Needs root, for the other users' sake, and
 * a mount namespace of its own. With --read-only the directory is one that an earlier run has left,
 * on a filesystem that is mounted read-only now.
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
 *     busy.c       mount points, running programs, other filesystems */
#include "tests/posix/suite.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>

int main(int count, char **list)
{
	bool read_only = count == 3 && strcmp(list[1], "--read-only") == 0;
	/* As busy.c runs it. */
	if (count == 2 && strcmp(list[1], "--wait") == 0) {
		char c;
		return read(0, &c, 1) < 0;
	}
	if (count != 2 + read_only) {
		fprintf(stderr, "usage: posix-suite [--read-only] DIRECTORY\n");
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
	if (read_only) {
		paths_read_only();
		return fflush(stdout) == 0 ? 0 : 2;
	}
	static void (*const runs[])(void) = {paths_run, create_run, permission_run, open_run,
		names_run, rename_run, sticky_run, modes_run, owners_run, sizes_run, times_run,
		lists_run, attributes_run, acls_run, locks_run, busy_run};
	for (size_t i = 0; i < COUNT(runs); i++)
		runs[i]();
	return fflush(stdout) == 0 ? 0 : 2;
}
