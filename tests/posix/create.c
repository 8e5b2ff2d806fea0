/* What makes nodes: modes and umask, owners, times, counts, and what may be done with a node whose
 * mode forbids it to its owner. */
#include "tests/posix/suite.h"

#include <dirent.h>
#include <stdlib.h>
#include <sys/sysmacros.h>

static int by_open(const char *p, mode_t mode)
{
	int fd = open(p, O_RDWR | O_CREAT | O_EXCL, mode);
	return fd < 0 ? fd : close(fd);
}
static int by_creat(const char *p, mode_t mode)
{
	int fd = creat(p, mode);
	return fd < 0 ? fd : close(fd);
}
static int by_mkdir(const char *p, mode_t mode)
{
	return mkdir(p, mode);
}
static int by_mkfifo(const char *p, mode_t mode)
{
	return mkfifo(p, mode);
}
static int by_mknod(const char *p, mode_t mode)
{
	return mknod(p, S_IFREG | mode, 0);
}
static int by_mknod_plain(const char *p, mode_t mode)
{
	return mknod(p, mode, 0);
}
static int by_mknod_fifo(const char *p, mode_t mode)
{
	return mknod(p, S_IFIFO | mode, 0);
}
static int by_mknod_socket(const char *p, mode_t mode)
{
	return mknod(p, S_IFSOCK | mode, 0);
}
static int by_mknod_char(const char *p, mode_t mode)
{
	return mknod(p, S_IFCHR | mode, makedev(1, 3));
}
static int by_mknod_block(const char *p, mode_t mode)
{
	return mknod(p, S_IFBLK | mode, makedev(259, 70000));
}
static int by_symlink(const char *p, mode_t mode)
{
	(void)mode;
	return symlink("where it points", p);
}

static const struct maker {
	const char *name;
	int (*make)(const char *path, mode_t mode);
	enum kind kind;
	mode_t honours; /* of the mode: mkdir(2) leaves out the set-id bits */
	bool by_root;
} makers[] = {
	{"open", by_open, REG, 07777, false},
	{"creat", by_creat, REG, 07777, false},
	{"mkdir", by_mkdir, FOLDER, 01777, false},
	{"mkfifo", by_mkfifo, FIFO, 07777, false},
	{"mknod(S_IFREG)", by_mknod, REG, 07777, false},
	{"mknod(0)", by_mknod_plain, REG, 07777, false},
	{"mknod(S_IFIFO)", by_mknod_fifo, FIFO, 07777, false},
	{"mknod(S_IFSOCK)", by_mknod_socket, SOCKET, 07777, false},
	{"mknod(S_IFCHR)", by_mknod_char, CHAR, 07777, true},
	{"mknod(S_IFBLK)", by_mknod_block, BLOCK, 07777, true},
	{"symlink", by_symlink, LINK, 0, false},
};

static void modes(const struct maker *m, enum who who)
{
	static const mode_t list[] = {0, 0077, 0007, 0070, 0177, 0200, 0400, 0600, 0644, 0666, 0755,
		0777, 01755, 02755, 04755, 07777};
	static const mode_t masks[] = {0, 022, 077, 0700, 0777};
	for (size_t u = 0; u < COUNT(masks); u++)
		for (size_t i = 0; i < COUNT(list); i++) {
			const char *path = str("%s-%o-%o", m->name, masks[u], list[i]);
			mode_t want = m->kind == LINK ? 0777 : list[i] & m->honours & ~masks[u];
			umask(masks[u]);
			int r = m->make(path, list[i]);
			umask(0);
			say(str("%04o", want), r < 0 ? answer(r) : mode_of(path),
				"%s: mode %04o, umask %03o, as %s", m->name, list[i], masks[u],
				who_name[who]);
			if (m->kind == LINK)
				return;
		}
}

/* A symlink has no mode, and a device is only root's. */
static void all_modes(void)
{
	for (enum who who = ROOT; who < USERS; who++) {
		fresh(0777);
		be(who);
		for (size_t i = 0; i < COUNT(makers); i++) {
			if (!makers[i].by_root || who == ROOT)
				modes(&makers[i], who);
			else
				say("EPERM", answer(makers[i].make("device", 0666)), "%s: as %s",
					makers[i].name, who_name[who]);
		}
	}
}

/* Whose it is, in folders with and without the set-group-id bit; and the whole answer of lstat. */
static void owners(void)
{
	static const struct {
		const char *name;
		mode_t mode;
		gid_t gid;
	} folders[] = {{"a plain folder", 0777, 0}, {"a folder of another group", 0777, SHARED},
		{"a set-group-id folder", 02777, SHARED},
		{"a set-group-id folder of a group that nobody has", 02777, 61099}};
	for (size_t f = 0; f < COUNT(folders); f++)
		for (enum who who = ROOT; who < USERS; who++) {
			fresh(0711);
			make_for(FOLDER, "in", folders[f].mode, 0, folders[f].gid);
			be(who);
			for (size_t i = 0; i < COUNT(makers); i++) {
				const struct maker *m = &makers[i];
				const char *path = str("in/%s", m->name);
				if (m->by_root && who != ROOT)
					continue;
				bool inherits = folders[f].mode & 02000;
				gid_t gid = inherits ? folders[f].gid : who_id[who];
				bool folder = m->kind == FOLDER;
				mode_t mode = m->kind == LINK ? 0777 : 0751;
				if (folder && inherits)
					mode |= 02000;
				const char *want =
					str("%s %04o %s:%s links %d%s", kind_name[m->kind], mode,
						id_name(who_id[who]), id_name(gid), folder ? 2 : 1,
						folder            ? ""
						: m->kind == LINK ? " size 15"
								  : " size 0");
				int r = m->make(path, 0751);
				say(want, r < 0 ? answer(r) : what(path), "%s: in %s, as %s",
					m->name, folders[f].name, who_name[who]);
				/* open(2), inode(7): nobody makes himself a program of a group that
				 * is not his. */
				path = str("in/s-%s", m->name);
				if (m->kind == LINK || folder)
					continue;
				bool in = who == ROOT || (who == ANN && gid == SHARED) || !inherits;
				r = m->make(path, 02755);
				say(in ? "2755" : "0755", r < 0 ? answer(r) : mode_of(path),
					"%s: mode 2755 in %s, as %s", m->name, folders[f].name,
					who_name[who]);
			}
		}
}

static const char *times_are_one(const struct stat *st)
{
	bool same = memcmp(&st->st_atim, &st->st_mtim, sizeof(st->st_atim)) == 0 &&
		    memcmp(&st->st_atim, &st->st_ctim, sizeof(st->st_atim)) == 0;
	return same ? "all the same" : "not the same";
}

static void effects(enum who who)
{
	for (size_t i = 0; i < COUNT(makers); i++) {
		const struct maker *m = &makers[i];
		if (m->by_root && who != ROOT)
			continue;
		fresh(0777);
		be(who);
		struct stat before = look("."), st, again;
		tick();
		must(m->make("new", 0600), m->name);
		st = look(".");
		again = look("new");
		say("-mc", advanced(&before, &st), "%s: times of the parent, as %s", m->name,
			who_name[who]);
		say("amc", advanced(&before, &again), "%s: times of the new one, as %s", m->name,
			who_name[who]);
		if (m->kind != FOLDER)
			say("all the same", times_are_one(&again), "%s: its three times, as %s",
				m->name, who_name[who]);
		say(m->kind == FOLDER ? "3" : "2", str("%lu", (unsigned long)st.st_nlink),
			"%s: links of the parent, as %s", m->name, who_name[who]);
		before = st;
		tick();
		int r = m->make("new", 0777);
		/* creat(2) takes what is there. */
		const char *want = m->make == by_creat ? "ok" : "EEXIST";
		say(want, answer(r), "%s: once more, as %s", m->name, who_name[who]);
		st = look(".");
		say("---", advanced(&before, &st), "%s: times of the parent then, as %s", m->name,
			who_name[who]);
		st = look("new");
		say(m->make == by_creat ? "-mc" : "---", advanced(&again, &st),
			"%s: times of what is there, as %s", m->name, who_name[who]);
		say(m->kind == LINK ? "0777" : "0600", mode_of("new"),
			"%s: mode of what is there, as %s", m->name, who_name[who]);
	}
}

/* The mode counts from the next open on. */
static void without_owner_bits(enum who who)
{
	static const mode_t list[] = {0, 0004, 0040, 0044, 0077, 0200, 0222, 0400, 0444};
	char b[8] = "";
	fresh(0777);
	be(who);
	for (size_t i = 0; i < COUNT(list); i++) {
		const char *path = str("f%03o", list[i]), *as = who_name[who];
		const char *name = str("a new file of mode %04o", list[i]);
		int fd = open(path, O_CREAT | O_RDWR | O_EXCL, list[i]);
		say("ok", answer(fd), "open: %s, as %s", name, as);
		say("ok", answer(pwrite(fd, "bytes", 5, 0)), "pwrite: %s, as %s", name, as);
		say("5", str("%zd", pread(fd, b, 8, 0)), "pread: %s, as %s", name, as);
		say("ok", answer(ftruncate(fd, 3)), "ftruncate: %s, as %s", name, as);
		say("ok", answer(fsync(fd)), "fsync: %s, as %s", name, as);
		close(fd);
		say(str("file %04o %s:%s links 1 size 3", list[i], as, as), what(path),
			"lstat: %s, as %s", name, as);
		bool r = who == ROOT || (list[i] & 0400), w = who == ROOT || (list[i] & 0200);
		say(r ? "ok" : "EACCES", opened(open(path, O_RDONLY)), "open: %s, to read, as %s",
			name, as);
		say(w ? "ok" : "EACCES", opened(open(path, O_WRONLY)), "open: %s, to write, as %s",
			name, as);
		say(w ? "ok" : "EACCES", answer(truncate(path, 1)), "truncate: %s, as %s", name,
			as);
		say("ok", answer(chmod(path, 0600)), "chmod: %s, as %s", name, as);
		fd = open(path, O_RDONLY);
		say(w ? "b" : "byt", str("%.*s", (int)read(fd, b, 8), b), "read: %s, as %s", name,
			as);
		close(fd);
	}
	static const mode_t folders[] = {0, 0077, 0007, 0100, 0200, 0300, 0400, 0500, 0477};
	for (size_t i = 0; i < COUNT(folders); i++) {
		const char *path = str("d%03o", folders[i]), *as = who_name[who];
		mode_t mode = who == ROOT ? 0700 : folders[i];
		const char *name = str("a new directory of mode %04o", folders[i]);
		say("ok", answer(mkdir(path, folders[i])), "mkdir: %s, as %s", name, as);
		say(str("%04o", folders[i]), mode_of(path), "lstat: %s, as %s", name, as);
		say(mode & 0400 ? "ok" : "EACCES", opened(open(path, O_RDONLY)), "open: %s, as %s",
			name, as);
		say((mode & 0300) == 0300 ? "ok" : "EACCES", answer(mkdir(str("%s/x", path), 0)),
			"mkdir: in %s, as %s", name, as);
		say(mode & 0100 ? "ok" : "EACCES", answer(chdir(str("%s/.", path))),
			"chdir: into %s, as %s", name, as);
		if (mode & 0100)
			must(chdir(".."), "goes back");
		say("ok", answer(chmod(path, 0700)), "chmod: %s, as %s", name, as);
		if ((mode & 0300) == 0300)
			must(rmdir(str("%s/x", path)), "removes");
		must(chmod(path, folders[i]), "changes back");
		say("ok", answer(rmdir(path)), "rmdir: %s, as %s", name, as);
	}
}

static void device_numbers(void)
{
	static const unsigned list[][2] = {
		{0, 0}, {1, 3}, {8, 255}, {8, 256}, {259, 1048575}, {4095, 1}, {4095, 1048575}};
	fresh(0777);
	for (size_t i = 0; i < COUNT(list); i++)
		for (int block = 0; block < 2; block++) {
			const char *path = str("%d-%zu", block, i);
			int r = mknod(path, (block ? S_IFBLK : S_IFCHR) | 0600,
				makedev(list[i][0], list[i][1]));
			struct stat st = {0};
			if (r == 0)
				st = look(path);
			const char *want = str("%u:%u", list[i][0], list[i][1]);
			say(want,
				r < 0 ? answer(r)
				      : str("%u:%u", major(st.st_rdev), minor(st.st_rdev)),
				"mknod: %s device %s", block ? "block" : "character", want);
		}
	be(ANN);
	/* mknod(2): a whiteout, 0:0, is no device; Linux lets anybody make it. */
	say("EPERM|ok", answer(mknod("zero", S_IFCHR | 0600, 0)), "mknod: 0:0, as ann");
	say("EPERM", answer(mknod("disk", S_IFBLK | 0600, makedev(8, 0))), "mknod: 8:0, as ann");
	say("EPERM|EINVAL", answer(mknod("folder", S_IFDIR | 0700, 0)), "mknod: S_IFDIR, as ann");
	say("EINVAL", answer(mknod("link", S_IFLNK | 0700, 0)), "mknod: S_IFLNK, as ann");
	be(ROOT);
	say("EPERM|EINVAL", answer(mknod("folder", S_IFDIR | 0700, 0)), "mknod: S_IFDIR");
	say("EINVAL", answer(mknod("wrong", 0110000 | 0700, 0)), "mknod: no type");
}

void create_run(void)
{
	group("create");
	all_modes();
	owners();
	for (enum who who = ROOT; who < USERS; who++)
		effects(who);
	for (enum who who = ROOT; who < USERS; who++)
		without_owner_bits(who);
	device_numbers();
}
