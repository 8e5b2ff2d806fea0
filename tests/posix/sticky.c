/* Whose names may go from a sticky directory: the file's owner's, the directory's owner's, and
 * whoever has CAP_FOWNER. And what proc(5) protects in one that everybody may write to. */
#include "tests/posix/suite.h"

#include <sys/xattr.h>

static long do_unlink(void)
{
	return unlink("s/file");
}
static long do_rmdir(void)
{
	return rmdir("s/folder");
}
static long do_rename(void)
{
	return rename("s/file", "s/moved");
}
static long do_move(void)
{
	return rename("s/file", "moved");
}
static long do_rename_folder(void)
{
	return rename("s/folder", "s/moved-folder");
}
static long do_replace(void)
{
	return rename("mine", "s/file");
}
static long do_replace_folder(void)
{
	return rename("mine-folder", "s/folder");
}
static long do_exchange(void)
{
	return renameat2(AT_FDCWD, "mine", AT_FDCWD, "s/file", RENAME_EXCHANGE);
}
static long do_link(void)
{
	return link("mine", "s/linked");
}
static long do_unlink_symlink(void)
{
	return unlink("s/link");
}

static const struct {
	const char *name;
	long (*call)(void);
	bool takes; /* a name from the folder */
} calls[] = {{"unlink", do_unlink, true}, {"unlink: a symlink", do_unlink_symlink, true},
	{"rmdir", do_rmdir, true}, {"rename: in it", do_rename, true},
	{"rename: out of it", do_move, true}, {"rename: a directory in it", do_rename_folder, true},
	{"rename: over one in it", do_replace, true},
	{"rename: a directory over one in it", do_replace_folder, true},
	{"renameat2: RENAME_EXCHANGE", do_exchange, true}, {"link", do_link, false}};

static void whose(void)
{
	static const mode_t modes[] = {01777, 0777, 01770};
	for (size_t m = 0; m < COUNT(modes); m++)
		for (enum who folder = ROOT; folder < USERS; folder++)
			for (enum who file = ROOT; file < USERS; file++)
				for (enum who who = ROOT; who < USERS; who++)
					for (size_t i = 0; i < COUNT(calls); i++) {
						/* The other modes: only a part. */
						if (m > 0 && (i % 3 || folder == ROOT))
							continue;
						bool reaches = who == ROOT || (modes[m] & 3) == 3 ||
							       who == folder || who == ANN;
						bool may = !(modes[m] & 01000) || who == ROOT ||
							   who == folder || who == file ||
							   !calls[i].takes;
						fresh(0777);
						gid_t gid = m == 2 ? SHARED : who_id[folder];
						make_for(
							FOLDER, "s", modes[m], who_id[folder], gid);
						make_for(REG, "s/file", 0666, who_id[file], 0);
						make_for(FOLDER, "s/folder", 0777, who_id[file], 0);
						make_for(LINK, "s/link", 0777, who_id[file], 0);
						be(who);
						make(REG, "mine", 0666);
						make(FOLDER, "mine-folder", 0777);
						const char *want = !reaches ? "EACCES"
								   : may    ? "ok"
									    : "EPERM|EACCES";
						say(want, answer(calls[i].call()),
							"%s: %s's in %s's directory of mode %04o, "
							"as %s",
							calls[i].name, who_name[file],
							who_name[folder], modes[m], who_name[who]);
					}
}

static bool setting(const char *name)
{
	char c = '0';
	int fd = open(str("/proc/sys/fs/protected_%s", name), O_RDONLY);
	if (fd >= 0) {
		must(read(fd, &c, 1), "reads a setting");
		close(fd);
	}
	return c != '0';
}

/* proc(5): protected_symlinks, protected_regular, protected_fifos. */
static void protection(void)
{
	for (enum who folder = ROOT; folder < USERS; folder++)
		for (enum who owner = ROOT; owner < USERS; owner++)
			for (enum who who = ROOT; who < USERS; who++)
				for (int sticky = 0; sticky < 2; sticky++) {
					const char *n = str("%s's in %s's %sdirectory, as %s",
						who_name[owner], who_name[folder],
						sticky ? "sticky " : "", who_name[who]);
					fresh(0777);
					make_for(FOLDER, "s", sticky ? 01777 : 0777, who_id[folder],
						0);
					make_for(REG, "target", 0666, 0, 0);
					make_for(REG, "s/file", 0666, who_id[owner], 0);
					make_for(FIFO, "s/fifo", 0666, who_id[owner], 0);
					be(ROOT);
					must(symlink("../target", "s/link"), "makes a link");
					must(lchown("s/link", who_id[owner], 0), "gives");
					be(who);
					/* Whoever owns the link, or the folder where he put it. */
					bool follows = !sticky || who == owner || folder == owner ||
						       !setting("symlinks");
					bool opens = !sticky || who == owner || folder == owner;
					say(follows ? "ok" : "EACCES",
						opened(open("s/link", O_RDONLY)),
						"open: through a symlink: %s", n);
					struct stat st;
					say(follows ? "ok" : "EACCES", answer(stat("s/link", &st)),
						"stat: through a symlink: %s", n);
					say("ok", answer(lstat("s/link", &st)),
						"lstat: a symlink: %s", n);
					say(opens || !setting("regular") ? "ok" : "EACCES",
						opened(open("s/file", O_RDWR | O_CREAT, 0600)),
						"open: O_CREAT of a file: %s", n);
					say("ok", opened(open("s/file", O_RDWR)),
						"open: a file: %s", n);
					say(opens || !setting("fifos") ? "ok" : "EACCES",
						opened(open("s/fifo", O_RDWR | O_CREAT | O_NONBLOCK,
							0600)),
						"open: O_CREAT of a fifo: %s", n);
				}
}

void sticky_run(void)
{
	group("sticky directories");
	whose();
	protection();
}
