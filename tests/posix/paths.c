/* Every call on every kind of wrong path, as each user. */
#include "tests/posix/suite.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <sys/inotify.h>

static long open_r(const char *p)
{
	int fd = open(p, O_RDONLY | O_NONBLOCK);
	return fd < 0 ? fd : close(fd);
}
static long open_w(const char *p)
{
	int fd = open(p, O_RDWR | O_NONBLOCK);
	return fd < 0 ? fd : close(fd);
}
static long open_create(const char *p)
{
	int fd = open(p, O_RDWR | O_CREAT | O_NONBLOCK, 0666);
	return fd < 0 ? fd : close(fd);
}
static long open_exclusive(const char *p)
{
	int fd = open(p, O_RDWR | O_CREAT | O_EXCL, 0666);
	return fd < 0 ? fd : close(fd);
}
static long open_folder(const char *p)
{
	int fd = open(p, O_RDONLY | O_DIRECTORY);
	return fd < 0 ? fd : close(fd);
}
static long open_nofollow(const char *p)
{
	int fd = open(p, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
	return fd < 0 ? fd : close(fd);
}
static long open_path(const char *p)
{
	int fd = open(p, O_PATH);
	return fd < 0 ? fd : close(fd);
}
static long do_creat(const char *p)
{
	int fd = creat(p, 0666);
	return fd < 0 ? fd : close(fd);
}
static long do_mkdir(const char *p)
{
	return mkdir(p, 0777);
}
static long do_mkfifo(const char *p)
{
	return mkfifo(p, 0666);
}
static long do_mknod(const char *p)
{
	return mknod(p, S_IFREG | 0666, 0);
}
static long do_mknod_socket(const char *p)
{
	return mknod(p, S_IFSOCK | 0666, 0);
}
static long do_symlink(const char *p)
{
	return symlink("target", p);
}
static long link_from(const char *p)
{
	return link(p, "linked");
}
static long link_to(const char *p)
{
	return link("source", p);
}
static long do_unlink(const char *p)
{
	return unlink(p);
}
static long do_rmdir(const char *p)
{
	return rmdir(p);
}
static long rename_from(const char *p)
{
	return rename(p, "renamed");
}
static long rename_to(const char *p)
{
	return rename("source", p);
}
static long rename_noreplace(const char *p)
{
	return renameat2(AT_FDCWD, "source", AT_FDCWD, p, RENAME_NOREPLACE);
}
static long rename_exchange(const char *p)
{
	return renameat2(AT_FDCWD, "source", AT_FDCWD, p, RENAME_EXCHANGE);
}
static long do_stat(const char *p)
{
	struct stat st;
	return stat(p, &st);
}
static long do_lstat(const char *p)
{
	struct stat st;
	return lstat(p, &st);
}
static long do_statx(const char *p)
{
	struct statx st;
	return statx(AT_FDCWD, p, 0, STATX_BTIME, &st);
}
static long do_statvfs(const char *p)
{
	struct statvfs st;
	return statvfs(p, &st);
}
static long do_access(const char *p)
{
	return access(p, F_OK);
}
static long do_chdir(const char *p)
{
	int here = open(".", O_PATH | O_DIRECTORY);
	int r = chdir(p), saved = errno;
	must(fchdir(here), "goes back");
	close(here);
	errno = saved;
	return r;
}
static long do_readlink(const char *p)
{
	char b[10];
	return readlink(p, b, sizeof(b));
}
static long do_chmod(const char *p)
{
	return chmod(p, 0666);
}
static long do_chown(const char *p)
{
	return chown(p, (uid_t)-1, (gid_t)-1);
}
static long do_lchown(const char *p)
{
	return lchown(p, (uid_t)-1, (gid_t)-1);
}
static long do_truncate(const char *p)
{
	return truncate(p, 0);
}
static long do_utimensat(const char *p)
{
	return utimensat(AT_FDCWD, p, NULL, 0);
}
static long do_lutimens(const char *p)
{
	return utimensat(AT_FDCWD, p, NULL, AT_SYMLINK_NOFOLLOW);
}
static long do_getxattr(const char *p)
{
	char b[10];
	return getxattr(p, "user.a", b, sizeof(b));
}
static long do_lgetxattr(const char *p)
{
	char b[10];
	return lgetxattr(p, "user.a", b, sizeof(b));
}
static long do_setxattr(const char *p)
{
	return setxattr(p, "user.a", "v", 1, 0);
}
static long do_listxattr(const char *p)
{
	char b[10];
	return listxattr(p, b, sizeof(b));
}
static long do_removexattr(const char *p)
{
	return removexattr(p, "user.a");
}
static long do_acl(const char *p)
{
	return removexattr(p, "system.posix_acl_access");
}
static long do_watch(const char *p)
{
	int fd = inotify_init1(IN_CLOEXEC), r = inotify_add_watch(fd, p, IN_MODIFY), saved = errno;
	close(fd);
	errno = saved;
	return r;
}

/* What is documented where the last component is special; "." where the call would succeed and
 * change what the others need, or where other groups ask. */
enum last { ABSENT, DANGLING, LOOP, FILE_SLASH, ABSENT_SLASH, IS_FOLDER, DOT, DOTDOT, LASTS };
static const char *const last_path[LASTS] = {
	"absent", "dangling", "loop-1", "file/", "absent/", "folder", ".", "folder/.."};

static const struct call {
	const char *name;
	long (*call)(const char *path);
	bool makes; /* a name that must not exist */
	bool keeps; /* changes nothing */
	const char *last[LASTS];
	const char *read_only; /* on a file of a read-only filesystem */
} calls[] = {
	{"open(O_RDONLY)", open_r, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"open(O_RDWR)", open_w, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "EISDIR", "EISDIR", "EISDIR"},
		"EROFS"},
	{"open(O_CREAT)", open_create, false, false,
		{".", ".", "ELOOP", "EISDIR", "EISDIR", "EISDIR", "EISDIR", "EISDIR"}, "EROFS"},
	{"open(O_CREAT|O_EXCL)", open_exclusive, true, false,
		{".", "EEXIST", "EEXIST", "EISDIR", "EISDIR", "EEXIST", "EISDIR|EEXIST",
			"EISDIR|EEXIST"},
		"EEXIST"},
	{"open(O_DIRECTORY)", open_folder, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ENOTDIR"},
	{"open(O_NOFOLLOW)", open_nofollow, false, true,
		{"ENOENT", "ELOOP", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"open(O_PATH)", open_path, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"creat", do_creat, false, false,
		{".", ".", "ELOOP", "EISDIR", "EISDIR", "EISDIR", "EISDIR", "EISDIR"}, "EROFS"},
	{"mkdir", do_mkdir, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", ".", "EEXIST", "EEXIST", "EEXIST"}, "EEXIST"},
	{"mkfifo", do_mkfifo, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", "ENOENT", "EEXIST", "EEXIST", "EEXIST"},
		"EEXIST"},
	{"mknod(S_IFREG)", do_mknod, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", "ENOENT", "EEXIST", "EEXIST", "EEXIST"},
		"EEXIST"},
	{"mknod(S_IFSOCK)", do_mknod_socket, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", "ENOENT", "EEXIST", "EEXIST", "EEXIST"},
		"EEXIST"},
	{"symlink", do_symlink, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", "ENOENT", "EEXIST", "EEXIST", "EEXIST"},
		"EEXIST"},
	{"link(from)", link_from, false, false,
		{"ENOENT", ".", ".", "ENOTDIR", "ENOENT", "EPERM", "EPERM", "EPERM"}, "EROFS"},
	{"link(to)", link_to, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST", "ENOENT", "EEXIST", "EEXIST", "EEXIST"},
		"EEXIST"},
	{"unlink", do_unlink, false, false,
		{"ENOENT", ".", ".", "ENOTDIR", "ENOENT", "EISDIR", "EISDIR", "EISDIR"}, "EROFS"},
	{"rmdir", do_rmdir, false, false,
		{"ENOENT", "ENOTDIR", "ENOTDIR", "ENOTDIR", "ENOENT", ".", "EINVAL", "ENOTEMPTY"},
		"EROFS"},
	{"rename(from)", rename_from, false, false,
		{"ENOENT", ".", ".", "ENOTDIR", "ENOENT", ".", "EBUSY|EINVAL", "EBUSY|EINVAL"},
		"EROFS"},
	{"rename(to)", rename_to, false, false,
		{".", ".", ".", "ENOTDIR", "ENOTDIR", "EISDIR", "EBUSY|EINVAL", "EBUSY|EINVAL"},
		"EROFS"},
	{"renameat2(to, RENAME_NOREPLACE)", rename_noreplace, true, false,
		{".", "EEXIST", "EEXIST", "EEXIST|ENOTDIR", "ENOTDIR", "EEXIST",
			"EBUSY|EINVAL|EEXIST", "EBUSY|EINVAL|EEXIST"},
		"EROFS"},
	{"renameat2(to, RENAME_EXCHANGE)", rename_exchange, false, false,
		{"ENOENT", ".", ".", "ENOTDIR", "ENOENT", ".", "EBUSY|EINVAL", "EBUSY|EINVAL"},
		"EROFS"},
	{"stat", do_stat, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"lstat", do_lstat, false, true,
		{"ENOENT", "ok", "ok", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"statx", do_statx, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"statvfs", do_statvfs, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"access(F_OK)", do_access, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"chdir", do_chdir, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ENOTDIR"},
	{"readlink", do_readlink, false, true,
		{"ENOENT", "ok", "ok", "ENOTDIR", "ENOENT", "EINVAL", "EINVAL", "EINVAL"},
		"EINVAL"},
	{"chmod", do_chmod, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"chown", do_chown, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"lchown", do_lchown, false, false,
		{"ENOENT", ".", ".", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"truncate", do_truncate, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "EISDIR", "EISDIR", "EISDIR"},
		"EROFS"},
	{"utimensat", do_utimensat, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "EROFS"},
	{"utimensat(AT_SYMLINK_NOFOLLOW)", do_lutimens, false, false,
		{"ENOENT", "ok", "ok", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "EROFS"},
	{"getxattr", do_getxattr, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ENODATA", "ENODATA", "ENODATA"},
		"ENODATA"},
	{"lgetxattr", do_lgetxattr, false, true,
		{"ENOENT", "ENODATA", "ENODATA", "ENOTDIR", "ENOENT", "ENODATA", "ENODATA",
			"ENODATA"},
		"ENODATA"},
	{"setxattr", do_setxattr, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"listxattr", do_listxattr, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
	{"removexattr", do_removexattr, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"removexattr(ACL)", do_acl, false, false,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", ".", ".", "."}, "EROFS"},
	{"inotify_add_watch", do_watch, false, true,
		{"ENOENT", "ENOENT", "ELOOP", "ENOTDIR", "ENOENT", "ok", "ok", "ok"}, "ok"},
};

static char long_name[257], long_path[PATH_MAX + 1];

/* What is wrong before the last component is reached is the same for all calls. */
static const struct wrong {
	const char *name, *path;
	const char *want, *root; /* root's, if it differs; "." is not asked */
} wrong[] = {
	{"an empty path", "", "ENOENT", NULL},
	{"in an absent directory", "absent/x", "ENOENT", NULL},
	{"below a file", "file/x", "ENOTDIR", NULL},
	{"below a fifo", "fifo/x", "ENOTDIR", NULL},
	{"below a symlink to a file", "to-file/x", "ENOTDIR", NULL},
	{"below a symlink to nothing", "dangling/x", "ENOENT", NULL},
	{"below a symlink that loops", "loop-1/x", "ELOOP", NULL},
	{"below a file, and up again", "file/../file", "ENOTDIR", NULL},
	{"below 41 symlinks", "chain-40/x", "ELOOP", NULL},
	{"a name of 256 bytes", long_name, "ENAMETOOLONG", NULL},
	{"a path of 4096 bytes", long_path, "ENAMETOOLONG", NULL},
	{"in a directory without search permission", "closed/x", "EACCES", "."},
	{"a file in a directory without search permission", "closed/file", "EACCES", "."},
	{"in a directory that may only be listed", "listed/file", "EACCES", "."},
	{"up from a directory without search permission", "closed/../file", "EACCES", "."},
	{"a symlink through one without search permission", "to-closed/file", "EACCES", "."},
	{"a bad address", NULL, "EFAULT", NULL},
};

static void furnish(void)
{
	be(ROOT);
	memset(long_name, 'n', 256);
	for (size_t i = 0; i + 4 < PATH_MAX; i += 2)
		memcpy(long_path + i, "./", 2);
	memcpy(long_path + PATH_MAX - 4, "file", 4);
	make(REG, "file", 0666);
	make(REG, "source", 0666);
	make(FIFO, "fifo", 0666);
	make(FOLDER, "folder", 0777);
	make(FOLDER, "closed", 0777);
	make(REG, "closed/file", 0666);
	make(FOLDER, "listed", 0777);
	make(REG, "listed/file", 0666);
	must(chmod("closed", 0700), "closes a folder");
	must(chmod("listed", 0744), "closes a folder");
	static const char *const links[][2] = {{"to-file", "file"}, {"dangling", "nowhere"},
		{"loop-1", "loop-2"}, {"loop-2", "loop-1"}, {"to-closed", "closed"},
		{"chain-0", "folder"}};
	for (size_t i = 0; i < COUNT(links); i++)
		must(symlink(links[i][1], links[i][0]), "makes a link");
	for (int i = 1; i <= 40; i++)
		must(symlink(str("chain-%d", i - 1), str("chain-%d", i)), "makes a link");
}

/* The names, so that a call that failed is seen to have changed none. */
static const char *names(void)
{
	struct dirent **list;
	int n = scandir(".", &list, NULL, alphasort);
	unsigned long sum = 5381;
	must(n, "lists");
	for (int i = 0; i < n; i++) {
		for (const char *p = list[i]->d_name; *p; p++)
			sum = sum * 33 + (unsigned char)*p;
		free(list[i]);
	}
	free(list);
	return str("%d names, %lx", n, sum);
}

static void wrong_paths(enum who who)
{
	be(who);
	for (size_t c = 0; c < COUNT(calls); c++)
		for (size_t i = 0; i < COUNT(wrong); i++) {
			const char *want =
				who == ROOT && wrong[i].root ? wrong[i].root : wrong[i].want;
			const char *path = wrong[i].path ? wrong[i].path : (char *)1;
			if (*want != '.')
				say(want, answer(calls[c].call(path)), "%s: %s, as %s",
					calls[c].name, wrong[i].name, who_name[who]);
		}
}

static void last_components(enum who who)
{
	for (size_t c = 0; c < COUNT(calls); c++)
		for (size_t i = 0; i < LASTS; i++) {
			const char *want = calls[c].last[i];
			/* Times of root's links, and of nobody's folder, are root's. */
			if (*want == '.')
				continue;
			be(who);
			say(want, answer(calls[c].call(last_path[i])), "%s: %s, as %s",
				calls[c].name, last_path[i], who_name[who]);
		}
}

static void forty_links(void)
{
	be(BEN);
	say("ok", answer(do_stat("chain-38")), "stat: 39 symlinks to a directory");
	say("ok", answer(do_stat("chain-38/..")), "stat: through 39 symlinks");
	say("ok", answer(do_stat("chain-39")), "stat: 40 symlinks to a directory");
	say("ELOOP", answer(do_stat("chain-40")), "stat: 41 symlinks to a directory");
	say("ok", answer(do_lstat("chain-40")), "lstat: 41 symlinks to a directory");
	say("ok", answer(do_lstat(long_path + 2)), "lstat: a path of 4094 bytes");
	long_name[255] = 0;
	say("ENOENT", answer(do_lstat(long_name)), "lstat: an absent name of 255 bytes");
	say("ok", answer(do_mkdir(long_name)), "mkdir: a name of 255 bytes");
	say("ok", answer(do_lstat(long_name)), "lstat: a name of 255 bytes");
	say("ok", answer(do_rmdir(long_name)), "rmdir: a name of 255 bytes");
	long_name[255] = 'n';
	say("ENOENT", answer(symlink("", "empty")), "symlink: an empty target");
	long_path[PATH_MAX] = 0;
	say("ENAMETOOLONG", answer(symlink(long_path, "long")), "symlink: a target of 4096 bytes");
	say("EFAULT", answer(symlink((char *)1, "bad")), "symlink: a target at a bad address");
}

/* Permissions on the parent and on the node, of users that own neither. */
static const struct {
	const char *call;
	long (*run)(const char *path);
	const char *in_shut; /* for a name that is absent from a folder of mode 0755 */
	const char *at_shut; /* for the file in it, mode 0644, root's */
	const char *at_none; /* for a file of mode 0600 in a folder of mode 0777 */
} denied[] = {
	{"open(O_RDONLY)", open_r, "ENOENT", "ok", "EACCES"},
	{"open(O_RDWR)", open_w, "ENOENT", "EACCES", "EACCES"},
	{"open(O_CREAT)", open_create, "EACCES", "EACCES", "EACCES"},
	{"open(O_CREAT|O_EXCL)", open_exclusive, "EACCES", "EEXIST", "EEXIST"},
	{"open(O_PATH)", open_path, "ENOENT", "ok", "ok"},
	{"creat", do_creat, "EACCES", "EACCES", "EACCES"},
	{"mkdir", do_mkdir, "EACCES", "EEXIST", "EEXIST"},
	{"mkfifo", do_mkfifo, "EACCES", "EEXIST", "EEXIST"},
	{"mknod(S_IFREG)", do_mknod, "EACCES", "EEXIST", "EEXIST"},
	{"symlink", do_symlink, "EACCES", "EEXIST", "EEXIST"},
	{"link(to)", link_to, "EACCES|EPERM", "EEXIST", "EEXIST"},
	{"unlink", do_unlink, "ENOENT", "EACCES", "."},
	{"rmdir", do_rmdir, "ENOENT", "EACCES|ENOTDIR", "ENOTDIR"},
	{"rename(from)", rename_from, "ENOENT", "EACCES", "."},
	{"rename(to)", rename_to, "EACCES", "EACCES", "."},
	{"renameat2(to, RENAME_NOREPLACE)", rename_noreplace, "EACCES", "EEXIST", "EEXIST"},
	{"renameat2(to, RENAME_EXCHANGE)", rename_exchange, "ENOENT", "EACCES", "."},
	{"stat", do_stat, "ENOENT", "ok", "ok"},
	{"chmod", do_chmod, "ENOENT", "EPERM", "EPERM"},
	{"truncate", do_truncate, "ENOENT", "EACCES", "EACCES"},
	{"utimensat", do_utimensat, "ENOENT", "EACCES", "EACCES"},
	{"getxattr", do_getxattr, "ENOENT", "ENODATA", "EACCES"},
	{"setxattr", do_setxattr, "ENOENT", "EACCES", "EACCES"},
	{"removexattr", do_removexattr, "ENOENT", "EACCES", "EACCES"},
	{"removexattr(ACL)", do_acl, "ENOENT", "EPERM", "EPERM"},
	{"listxattr", do_listxattr, "ENOENT", "ok", "ok"},
	{"inotify_add_watch", do_watch, "ENOENT", "ok", "EACCES"},
};

static void denials(void)
{
	group("permission to change");
	make(FOLDER, "shut", 0755);
	make(REG, "shut/file", 0644);
	make(FOLDER, "open", 0777);
	make(REG, "open/file", 0600);
	for (enum who who = ANN; who < USERS; who++) {
		be(who);
		put("source", "", 0, 0666);
		for (size_t i = 0; i < COUNT(denied); i++) {
			say(denied[i].in_shut, answer(denied[i].run("shut/absent")),
				"%s: an absent name, no write permission for the directory, as %s",
				denied[i].call, who_name[who]);
			say(denied[i].at_shut, answer(denied[i].run("shut/file")),
				"%s: root's 0644 in root's 0755, as %s", denied[i].call,
				who_name[who]);
			if (*denied[i].at_none != '.')
				say(denied[i].at_none, answer(denied[i].run("open/file")),
					"%s: root's 0600 in root's 0777, as %s", denied[i].call,
					who_name[who]);
		}
		be(ROOT);
		must(unlink("source"), "removes");
	}
	say("file 0644 root:root links 1 size 0", what("shut/file"), "the file is as it was");
	say("file 0600 root:root links 1 size 0", what("open/file"), "the other is, too");
}

void paths_run(void)
{
	group("paths");
	furnish();
	const char *before = names();
	struct stat folder = look("folder"), link = look("dangling"), now;
	for (enum who who = ROOT; who < USERS; who++)
		wrong_paths(who);
	forty_links();
	be(ROOT);
	say(before, names(), "nothing was made and nothing removed");
	tick();
	/* Whose times are set must be everybody's. */
	must(chmod(".", 0777), "opens the folder");
	last_components(ROOT);
	be(ROOT);
	say(before, names(), "nothing was made and nothing removed by root");
	now = look("folder");
	say("amc", advanced(&folder, &now), "utimensat(folder) set its times");
	now = look("dangling");
	say("amc", advanced(&link, &now), "utimensat(AT_SYMLINK_NOFOLLOW) set the symlink's times");
	for (enum who who = ANN; who < USERS; who++) {
		must(lchown("loop-1", who_id[who], who_id[who]), "gives");
		must(lchown("dangling", who_id[who], who_id[who]), "gives");
		last_components(who);
		be(ROOT);
		say(before, names(), "nothing was made and nothing removed by %s", who_name[who]);
	}
	denials();
}

/* In the folder that paths_run has furnished. */
void paths_read_only(void)
{
	group_here("read-only");
	must(chdir("1"), "goes where the other run was");
	memset(long_name, 'n', 256);
	for (enum who who = ROOT; who < USERS; who++) {
		be(who);
		for (size_t c = 0; c < COUNT(calls); c++) {
			say(calls[c].read_only, answer(calls[c].call("file")), "%s: a file, as %s",
				calls[c].name, who_name[who]);
			const char *want = calls[c].keeps || !strcmp(calls[c].last[0], "ENOENT")
						   ? calls[c].last[0]
						   : "EROFS";
			/* Nothing says which comes first. */
			want = calls[c].keeps ? want : str("%s|EROFS", want);
			say(want, answer(calls[c].call("absent")), "%s: an absent name, as %s",
				calls[c].name, who_name[who]);
			say("ENAMETOOLONG|EROFS", answer(calls[c].call(long_name)),
				"%s: a name of 256 bytes, as %s", calls[c].name, who_name[who]);
		}
		say("EROFS", answer(do_mkdir("folder/new")), "mkdir: in a directory, as %s",
			who_name[who]);
		say("EROFS", answer(do_chmod("folder")), "chmod: a directory, as %s",
			who_name[who]);
		say("EROFS", answer(access("file", W_OK)), "access(W_OK): a file, as %s",
			who_name[who]);
		say("EROFS", answer(access("folder", W_OK)), "access(W_OK): a directory, as %s",
			who_name[who]);
		say("ok", answer(access("fifo", W_OK)), "access(W_OK): a fifo, as %s",
			who_name[who]);
		say("ok", answer(open_w("fifo")), "open(O_RDWR): a fifo, as %s", who_name[who]);
		say("EROFS", opened(open("file", O_RDONLY | O_TRUNC)),
			"open(O_RDONLY|O_TRUNC): a file, as %s", who_name[who]);
		say("ok", opened(open("file", O_RDONLY | O_CREAT, 0666)),
			"open(O_RDONLY|O_CREAT): a file, as %s", who_name[who]);
	}
}
