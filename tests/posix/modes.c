/* chmod, fchmod, fchmodat: what becomes of the mode, by whom, and the times. */
#include "tests/posix/suite.h"

static const mode_t list[] = {0, 0001, 0070, 0077, 0400, 0600, 0644, 0755, 0777, 01777, 02644,
	02755, 04755, 06755, 07777, 07000};

static int by_chmod(const char *p, mode_t mode)
{
	return chmod(p, mode);
}
static int by_fchmodat(const char *p, mode_t mode)
{
	return fchmodat(AT_FDCWD, p, mode, 0);
}
static int by_path(const char *p, mode_t mode)
{
	int fd = open(p, O_PATH | O_NOFOLLOW);
	int r = chmod(str("/proc/self/fd/%d", fd), mode), saved = errno;
	close(fd);
	errno = saved;
	return r;
}
static const struct {
	const char *name;
	int (*call)(const char *path, mode_t mode);
} ways[] = {{"chmod", by_chmod}, {"fchmodat", by_fchmodat}, {"chmod: /proc/self/fd", by_path}};

static const enum kind kinds[] = {REG, FOLDER, FIFO, SOCKET};

/* chmod(2): the set-group-id bit goes when the caller is not in the file's group and may not. */
static void modes(void)
{
	static const gid_t groups[] = {ANN_ID, SHARED, 61099};
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (size_t g = 0; g < COUNT(groups); g++)
			for (enum who who = ROOT; who <= ANN; who++) {
				fresh(0777);
				make_for(kinds[k], "n", 0600, ANN_ID, groups[g]);
				be(who);
				for (size_t i = 0; i < COUNT(list); i++) {
					bool foreign = who == ANN && groups[g] == 61099;
					mode_t want = foreign ? list[i] & ~02000 : list[i];
					size_t way = i % COUNT(ways);
					int r = ways[way].call("n", list[i]);
					say(str("%04o", want), r < 0 ? answer(r) : mode_of("n"),
						"%s: %s of ann and %s to %04o, as %s",
						ways[way].name, kind_name[kinds[k]],
						id_name(groups[g]), list[i], who_name[who]);
				}
			}
}

static void others(void)
{
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (size_t i = 0; i < COUNT(list); i++) {
			fresh(0777);
			make_for(kinds[k], "n", list[i], ANN_ID, BEN_ID);
			be(BEN);
			say("EPERM", answer(chmod("n", 0666)),
				"chmod: ann's %s of mode %04o, as ben", kind_name[kinds[k]],
				list[i]);
			say(str("%04o", list[i]), mode_of("n"),
				"chmod: ann's %s of mode %04o then, as ben", kind_name[kinds[k]],
				list[i]);
		}
}

static void times(void)
{
	for (enum who who = ROOT; who <= ANN; who++)
		for (size_t k = 0; k < COUNT(kinds); k++) {
			const char *n = kind_name[kinds[k]], *as = who_name[who];
			fresh(0777);
			be(who);
			make(kinds[k], "n", 0640);
			struct stat before = look("n"), folder = look("."), now;
			tick();
			must(chmod("n", 0600), "sets the mode");
			now = look("n");
			say("--c", advanced(&before, &now), "chmod: times: %s, as %s", n, as);
			before = now;
			tick();
			must(chmod("n", 0600), "sets the mode");
			now = look("n");
			say("--c", advanced(&before, &now),
				"chmod: times with the same mode: %s, as %s", n, as);
			now = look(".");
			say("---", advanced(&folder, &now),
				"chmod: times of the directory: %s, as %s", n, as);
			before = look("n");
			tick();
			be(BEN);
			if (who != BEN)
				say("EPERM", answer(chmod("n", 0)), "chmod: %s's %s, as ben", as,
					n);
			be(who);
			now = look("n");
			say("---", advanced(&before, &now),
				"chmod: times after ben failed: %s, as %s", n, as);
		}
}

static void special(void)
{
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		fresh(0777);
		be(who);
		put("f", "bytes", 5, 0600);
		must(symlink("f", "l"), "makes a link");
		say("ok", answer(chmod("l", 0640)), "chmod: through a symlink, as %s", as);
		say("0640", mode_of("f"), "chmod: through a symlink it is the file's mode, as %s",
			as);
		say("0777", mode_of("l"), "chmod: and not the symlink's, as %s", as);
		say("EOPNOTSUPP", answer(fchmodat(AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW)),
			"fchmodat: AT_SYMLINK_NOFOLLOW of a symlink, as %s", as);
		say("ok", answer(fchmodat(AT_FDCWD, "f", 0604, AT_SYMLINK_NOFOLLOW)),
			"fchmodat: AT_SYMLINK_NOFOLLOW of a file, as %s", as);
		say("EINVAL", answer(fchmodat(AT_FDCWD, "f", 0600, 0x4000000)),
			"fchmodat: a wrong flag, as %s", as);
		say("EBADF", answer(fchmod(9999, 0600)), "fchmod: a closed descriptor, as %s", as);
		/* Who has it open goes on. */
		int fd = open("f", O_RDWR);
		must(fchmod(fd, 0), "sets the mode");
		say("ok", answer(write(fd, "more", 4)), "write: after fchmod to 0, as %s", as);
		say(who == ROOT ? "ok" : "EACCES", opened(open("f", O_RDONLY)),
			"open: after fchmod to 0, as %s", as);
		say("ok", answer(fchmod(fd, 0600)), "fchmod: back, as %s", as);
		close(fd);
		say("ok", answer(chmod("f", 0100644)), "chmod: with a file type in the mode, as %s",
			as);
		say("file 0644", str("%.9s", what("f")),
			"chmod: of which only the mode counts, as %s", as);
		say(who == ROOT ? "ok" : "EPERM", answer(chmod(".", 0777)),
			"chmod: root's directory, by its name ., as %s", as);
	}
}

void modes_run(void)
{
	group("modes");
	modes();
	others();
	times();
	special();
}
