/* Who may do what: every mode of every class, of files and directories, by the calls that ask for
 * it. */
#include "tests/posix/suite.h"

#include <dirent.h>
#include <sys/xattr.h>

/* Which class of a node's mode is Ann's. */
static const struct {
	const char *name;
	uid_t uid;
	gid_t gid;
	int shift;
} classes[] = {{"owner", ANN_ID, BEN_ID, 6}, {"group", BEN_ID, ANN_ID, 3},
	{"supplementary group", BEN_ID, SHARED, 3}, {"others", BEN_ID, BEN_ID, 0}};

static long do_access_r(const char *p)
{
	return access(p, R_OK);
}
static long do_access_w(const char *p)
{
	return access(p, W_OK);
}
static long do_access_x(const char *p)
{
	return access(p, X_OK);
}
static long do_access_rw(const char *p)
{
	return access(p, R_OK | W_OK);
}
static long do_eaccess(const char *p)
{
	return faccessat(AT_FDCWD, p, R_OK | W_OK | X_OK, AT_EACCESS);
}
static long do_read(const char *p)
{
	int fd = open(p, O_RDONLY);
	char c;
	long r = fd < 0 ? fd : read(fd, &c, 1);
	if (fd >= 0)
		close(fd);
	return r;
}
static long do_write(const char *p)
{
	int fd = open(p, O_WRONLY);
	long r = fd < 0 ? fd : pwrite(fd, "b", 1, 0);
	if (fd >= 0)
		close(fd);
	return r;
}
static long do_both(const char *p)
{
	int fd = open(p, O_RDWR);
	return fd < 0 ? fd : close(fd);
}
static long do_truncating(const char *p)
{
	int fd = open(p, O_WRONLY | O_TRUNC);
	return fd < 0 ? fd : close(fd);
}
static long do_append(const char *p)
{
	int fd = open(p, O_WRONLY | O_APPEND | O_CREAT, 0666);
	return fd < 0 ? fd : close(fd);
}
static long do_truncate(const char *p)
{
	return truncate(p, 3);
}
static long do_touch(const char *p)
{
	return utimensat(AT_FDCWD, p, NULL, 0);
}
static long do_set(const char *p)
{
	return setxattr(p, "user.a", "v", 1, 0);
}
static long do_get(const char *p)
{
	char b[8];
	return getxattr(p, "user.a", b, sizeof(b));
}
static long do_remove(const char *p)
{
	return removexattr(p, "user.a");
}

/* Ordered so that what is read is there. Touching is the owner's whatever the mode. */
static const struct {
	const char *name;
	long (*call)(const char *path);
	int needs;
	bool owner_may;
} on_file[] = {
	{"access(R_OK)", do_access_r, 4, false},
	{"access(W_OK)", do_access_w, 2, false},
	{"access(X_OK)", do_access_x, 1, false},
	{"access(R_OK|W_OK)", do_access_rw, 6, false},
	{"faccessat(R_OK|W_OK|X_OK, AT_EACCESS)", do_eaccess, 7, false},
	{"open(O_RDONLY), read", do_read, 4, false},
	{"open(O_WRONLY), write", do_write, 2, false},
	{"open(O_RDWR)", do_both, 6, false},
	{"open(O_TRUNC)", do_truncating, 2, false},
	{"open(O_APPEND|O_CREAT)", do_append, 2, false},
	{"truncate", do_truncate, 2, false},
	{"utimensat(NULL)", do_touch, 2, true},
	{"setxattr", do_set, 2, false},
	{"getxattr", do_get, 4, false},
	{"removexattr", do_remove, 2, false},
};

static void files(void)
{
	for (size_t c = 0; c < COUNT(classes); c++)
		for (int mode = 0; mode < 8; mode++) {
			const char *path = str("f%zu-%d", c, mode);
			be(ROOT);
			put(path, "bytes", 5, 0600);
			/* Every other class may do the opposite. */
			mode_t all = (0777 & ~(7 << classes[c].shift) & ((7 ^ mode) * 0111)) |
				     mode << classes[c].shift;
			must(chown(path, classes[c].uid, classes[c].gid), path);
			must(chmod(path, all), path);
			for (size_t i = 0; i < COUNT(on_file); i++) {
				be(ROOT);
				must(setxattr(path, "user.a", "v", 1, 0), path);
				be(ANN);
				bool may = (on_file[i].needs & ~mode) == 0 ||
					   (c == 0 && on_file[i].owner_may);
				say(may ? "ok" : "EACCES", answer(on_file[i].call(path)),
					"%s: file of mode %04o, class %s", on_file[i].name, all,
					classes[c].name);
			}
		}
}

static long do_list(const char *p)
{
	DIR *d = opendir(p);
	return d ? closedir(d) : -1;
}
static long do_enter(const char *p)
{
	int r = chdir(p), saved = errno;
	if (r == 0)
		must(chdir(".."), "goes back");
	errno = saved;
	return r;
}
static long do_find(const char *p)
{
	struct stat st;
	return lstat(str("%s/file", p), &st);
}
static long do_not_find(const char *p)
{
	struct stat st;
	return lstat(str("%s/absent", p), &st) == 0 || errno != ENOENT ? -1 : 0;
}
static long do_open_in(const char *p)
{
	int fd = open(str("%s/file", p), O_RDWR);
	return fd < 0 ? fd : close(fd);
}
static long do_create(const char *p)
{
	int fd = open(str("%s/new", p), O_WRONLY | O_CREAT | O_EXCL, 0600);
	return fd < 0 ? fd : close(fd);
}
static long do_mkdir(const char *p)
{
	return mkdir(str("%s/d", p), 0700);
}
static long do_symlink(const char *p)
{
	return symlink("t", str("%s/s", p));
}
static long do_mkfifo(const char *p)
{
	return mkfifo(str("%s/p", p), 0600);
}
static long do_link(const char *p)
{
	return link("own", str("%s/l", p));
}
static long do_rename_in(const char *p)
{
	return rename(str("%s/file", p), str("%s/other", p));
}
static long do_rename_back(const char *p)
{
	return rename(str("%s/other", p), str("%s/file", p));
}
static long do_unlink(const char *p)
{
	return unlink(str("%s/gone", p));
}
static long do_rmdir(const char *p)
{
	return rmdir(str("%s/empty", p));
}
static long do_chmod_in(const char *p)
{
	return chmod(str("%s/mine", p), 0640);
}
static long do_truncate_in(const char *p)
{
	return truncate(str("%s/mine", p), 1);
}

static const struct {
	const char *name;
	long (*call)(const char *path);
	int needs;
	const char *otherwise; /* where a missing permission is not all that may be wrong */
} on_folder[] = {
	{"access(R_OK)", do_access_r, 4, NULL},
	{"access(W_OK)", do_access_w, 2, NULL},
	{"access(X_OK)", do_access_x, 1, NULL},
	{"opendir", do_list, 4, NULL},
	{"chdir", do_enter, 1, NULL},
	{"lstat of a file in it", do_find, 1, NULL},
	{"lstat of an absent name in it", do_not_find, 1, NULL},
	{"open(O_RDWR) in it", do_open_in, 1, NULL},
	{"chmod in it", do_chmod_in, 1, NULL},
	{"truncate in it", do_truncate_in, 1, NULL},
	{"open(O_CREAT|O_EXCL) in it", do_create, 3, NULL},
	{"mkdir in it", do_mkdir, 3, NULL},
	{"symlink in it", do_symlink, 3, NULL},
	{"mkfifo in it", do_mkfifo, 3, NULL},
	{"link into it", do_link, 3, NULL},
	{"rename in it", do_rename_in, 3, NULL},
	{"rename in it, back", do_rename_back, 3, "EACCES|ENOENT"},
	{"unlink in it", do_unlink, 3, NULL},
	{"rmdir in it", do_rmdir, 3, NULL},
};

static void folders(void)
{
	be(ANN);
	put("own", "", 0, 0600);
	for (size_t c = 0; c < COUNT(classes); c++)
		for (int mode = 0; mode < 8; mode++) {
			const char *path = str("d%zu-%d", c, mode);
			mode_t all = (0777 & ~(7 << classes[c].shift) & ((7 ^ mode) * 0111)) |
				     mode << classes[c].shift;
			be(ROOT);
			must(mkdir(path, 0777), path);
			must(chmod(path, 0777), path);
			make(REG, str("%s/file", path), 0666);
			make(REG, str("%s/gone", path), 0666);
			make(FOLDER, str("%s/empty", path), 0777);
			be(ANN);
			put(str("%s/mine", path), "bytes", 5, 0600);
			be(ROOT);
			must(chown(path, classes[c].uid, classes[c].gid), path);
			must(chmod(path, all), path);
			be(ANN);
			for (size_t i = 0; i < COUNT(on_folder); i++) {
				bool may = (on_folder[i].needs & ~mode) == 0;
				const char *no =
					on_folder[i].otherwise ? on_folder[i].otherwise : "EACCES";
				say(may ? "ok" : no, answer(on_folder[i].call(path)),
					"%s: directory of mode %04o, class %s", on_folder[i].name,
					all, classes[c].name);
			}
		}
}

/* Root may read and write all, and execute what anybody may. */
static void root(void)
{
	static const mode_t list[] = {0, 0001, 0010, 0100, 0444, 0222, 0666, 0777};
	for (size_t i = 0; i < COUNT(list); i++) {
		const char *path = str("r%03o", list[i]), *folder = str("rd%03o", list[i]);
		make_for(REG, path, list[i], ANN_ID, ANN_ID);
		make_for(FOLDER, folder, list[i], ANN_ID, ANN_ID);
		say("ok", answer(access(path, R_OK | W_OK)),
			"access(R_OK|W_OK): file of mode %04o, root", list[i]);
		say(list[i] & 0111 ? "ok" : "EACCES", answer(access(path, X_OK)),
			"access(X_OK): file of mode %04o, root", list[i]);
		say("ok", answer(do_both(path)), "open(O_RDWR): file of mode %04o, root", list[i]);
		say("ok", answer(access(folder, R_OK | W_OK | X_OK)),
			"access(R_OK|W_OK|X_OK): directory of mode %04o, root", list[i]);
		say("ok", answer(do_list(folder)), "opendir: directory of mode %04o, root",
			list[i]);
		say("ok", answer(do_create(folder)), "open(O_CREAT): directory of mode %04o, root",
			list[i]);
	}
}

/* access(2) asks for the real ids, AT_EACCESS for the effective ones; open goes by the latter. */
static void real_ids(void)
{
	make_for(REG, "anns", 0600, ANN_ID, ANN_ID);
	be(ROOT);
	be_effective(ANN);
	say("ok", answer(access("anns", R_OK)), "access: real root, effective ann, ann's 0600");
	say("ok", answer(faccessat(AT_FDCWD, "anns", R_OK, AT_EACCESS)),
		"faccessat(AT_EACCESS): real root, effective ann, ann's 0600");
	be(ROOT);
	be_effective(BEN);
	say("ok", answer(access("anns", R_OK)), "access: real root, effective ben, ann's 0600");
	say("EACCES", answer(faccessat(AT_FDCWD, "anns", R_OK, AT_EACCESS)),
		"faccessat(AT_EACCESS): real root, effective ben, ann's 0600");
	say("EACCES", answer(do_read("anns")), "open: real root, effective ben, ann's 0600");
	be(ROOT);
	say("EINVAL", answer(faccessat(AT_FDCWD, "anns", 010, 0)), "faccessat: a wrong mode");
	say("EINVAL", answer(faccessat(AT_FDCWD, "anns", F_OK, 0x8000000)),
		"faccessat: a wrong flag");
}

void permission_run(void)
{
	group("permission");
	files();
	folders();
	root();
	real_ids();
}
