/* rename and renameat2: every kind over every kind with all flags, and their effects. */
#include "tests/posix/suite.h"

enum side {
	NOTHING,
	A_FILE,
	EMPTY,
	FULL,
	A_LINK,
	LINK_TO_FOLDER,
	A_FIFO,
	A_SOCKET,
	SAME_FILE,
	SIDES
};
static const char *const side_name[SIDES] = {"nothing", "a file", "an empty directory",
	"a full directory", "a symlink", "a symlink to a directory", "a fifo", "a socket",
	"another name of it"};

static void put_side(enum side s, const char *path)
{
	switch (s) {
	case A_FILE:
		put(path, path, strlen(path), 0600);
		break;
	case EMPTY:
	case FULL:
		make(FOLDER, path, 0700);
		if (s == FULL)
			make(REG, str("%s/in", path), 0600);
		break;
	case A_LINK:
	case LINK_TO_FOLDER:
		must(symlink(s == A_LINK ? "nowhere" : ".", path), "makes a link");
		break;
	case A_FIFO:
	case A_SOCKET:
		make(s == A_FIFO ? FIFO : SOCKET, path, 0600);
		break;
	default:
		break;
	}
}

static bool is_folder(enum side s)
{
	return s == EMPTY || s == FULL;
}

/* rename(2). */
static const char *documented(enum side from, enum side to, unsigned flags)
{
	if (flags == (RENAME_NOREPLACE | RENAME_EXCHANGE) || flags == 0x80)
		return "EINVAL";
	if (from == NOTHING)
		return "ENOENT";
	if (flags & RENAME_NOREPLACE)
		return to == NOTHING ? "ok" : "EEXIST";
	if (flags & RENAME_EXCHANGE)
		return to == NOTHING ? "ENOENT" : "ok";
	if (to == NOTHING || to == SAME_FILE)
		return "ok";
	if (is_folder(from) && !is_folder(to))
		return "ENOTDIR";
	if (!is_folder(from) && is_folder(to))
		return "EISDIR";
	return to == FULL ? "ENOTEMPTY|EEXIST" : "ok";
}

static ino_t number(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0 ? st.st_ino : 0;
}

static void pairs(const char *from_in, const char *to_in, const char *where)
{
	static const struct {
		unsigned flags;
		const char *name;
	} flags[] = {{0, "no flags"}, {RENAME_NOREPLACE, "RENAME_NOREPLACE"},
		{RENAME_EXCHANGE, "RENAME_EXCHANGE"},
		{RENAME_NOREPLACE | RENAME_EXCHANGE, "both flags"}, {0x80, "a wrong flag"}};
	unsigned n = 0;
	for (enum side from = NOTHING; from < SAME_FILE; from++)
		for (enum side to = NOTHING; to < SIDES; to++)
			for (size_t f = 0; f < COUNT(flags); f++) {
				if (to == SAME_FILE && (from == NOTHING || is_folder(from)))
					continue;
				const char *a = str("%s/a%u", from_in, n),
					   *b = str("%s/b%u", to_in, n);
				const char *name = str("%s to %s, %s, %s", side_name[from],
					side_name[to], where, flags[f].name);
				n++;
				put_side(from, a);
				if (to == SAME_FILE)
					must(link(a, b), "links");
				put_side(to, b);
				ino_t was_a = number(a), was_b = number(b);
				const char *want = documented(from, to, flags[f].flags);
				int r = renameat2(AT_FDCWD, a, AT_FDCWD, b, flags[f].flags);
				say(want, answer(r), "rename: %s", name);
				bool stays = strcmp(want, "ok") != 0 || to == SAME_FILE;
				bool exchange = flags[f].flags & RENAME_EXCHANGE;
				ino_t a_then = stays ? was_a : exchange ? was_b : 0;
				ino_t b_then = stays ? was_b : was_a;
				say("right",
					number(a) == a_then && number(b) == b_then ? "right"
										   : "wrong",
					"rename: what is there after %s", name);
			}
}

static void effects(enum who who)
{
	static const enum side list[] = {A_FILE, EMPTY, FULL, A_LINK, A_FIFO};
	const char *as = who_name[who];
	for (size_t i = 0; i < COUNT(list); i++)
		for (int replaces = 0; replaces < 3; replaces++) {
			const char *n = str("%s %s", side_name[list[i]],
				replaces == 0   ? "to nothing"
				: replaces == 1 ? "over its like"
						: "exchanged");
			bool folder = is_folder(list[i]);
			fresh(0777);
			be(who);
			make(FOLDER, "p", 0755);
			make(FOLDER, "q", 0755);
			put_side(list[i], "p/a");
			if (replaces)
				put_side(list[i] == FULL && replaces == 1 ? EMPTY : list[i], "q/b");
			int victim = replaces == 1 ? open("q/b", O_PATH | O_NOFOLLOW) : -1;
			struct stat p = look("p"), q = look("q"), a = look("p/a"), now;
			tick();
			int r = renameat2(AT_FDCWD, "p/a", AT_FDCWD, "q/b",
				replaces == 2 ? RENAME_EXCHANGE : 0);
			say("ok", answer(r), "rename: %s, as %s", n, as);
			now = look("p");
			say("-mc", advanced(&p, &now),
				"rename: times of the old directory: %s, as %s", n, as);
			say(str("%d", 2 + (folder && replaces == 2)),
				str("%lu", (unsigned long)now.st_nlink),
				"rename: links of the old directory: %s, as %s", n, as);
			now = look("q");
			say("-mc", advanced(&q, &now),
				"rename: times of the new directory: %s, as %s", n, as);
			say(str("%d", 2 + folder), str("%lu", (unsigned long)now.st_nlink),
				"rename: links of the new directory: %s, as %s", n, as);
			now = look("q/b");
			say("---|--c|-mc", advanced(&a, &now),
				"rename: times of what moved: %s, as %s", n, as);
			say(a.st_ino == now.st_ino ? "kept" : "", "kept",
				"rename: its number: %s, as %s", n, as);
			if (victim >= 0) {
				must(fstat(victim, &now), "asks");
				say("0", str("%lu", (unsigned long)now.st_nlink),
					"rename: links of what was replaced: %s, as %s", n, as);
				close(victim);
			}
			if (folder) {
				struct stat up, parent = look("q");
				must(stat("q/b/..", &up), "asks");
				say("q", up.st_ino == parent.st_ino ? "q" : "another",
					"rename: its ..: %s, as %s", n, as);
			}
		}
}

static void loops(enum who who)
{
	const char *as = who_name[who];
	fresh(0777);
	be(who);
	make(FOLDER, "a", 0755);
	make(FOLDER, "a/b", 0755);
	make(FOLDER, "a/b/c", 0755);
	make(REG, "f", 0600);
	say("EINVAL", answer(rename("a", "a/x")), "rename: into itself, as %s", as);
	say("EINVAL", answer(rename("a", "a/b/x")), "rename: below itself, as %s", as);
	say("EINVAL", answer(rename("a", "a/b/c")), "rename: over what is below itself, as %s", as);
	say("ENOTEMPTY|EEXIST", answer(rename("a/b/c", "a")),
		"rename: over what is above itself, as %s", as);
	say("EISDIR|ENOTEMPTY", answer(rename("a/b/../../f", "a")),
		"rename: a file over a full directory above, as %s", as);
	say("EINVAL", answer(renameat2(AT_FDCWD, "a", AT_FDCWD, "a/b", RENAME_EXCHANGE)),
		"renameat2: RENAME_EXCHANGE with what is below itself, as %s", as);
	say("EINVAL", answer(renameat2(AT_FDCWD, "a/b", AT_FDCWD, "a", RENAME_EXCHANGE)),
		"renameat2: RENAME_EXCHANGE with what is above itself, as %s", as);
	say("EINVAL", answer(renameat2(AT_FDCWD, "a", AT_FDCWD, "a/x", RENAME_NOREPLACE)),
		"renameat2: RENAME_NOREPLACE into itself, as %s", as);
	say("ok", answer(rename("a", "a")), "rename: to its own name, as %s", as);
	say("ok", answer(rename("f", "f")), "rename: a file to its own name, as %s", as);
	say("EEXIST", answer(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_NOREPLACE)),
		"renameat2: RENAME_NOREPLACE to its own name, as %s", as);
	say("ok", answer(renameat2(AT_FDCWD, "f", AT_FDCWD, "f", RENAME_EXCHANGE)),
		"renameat2: RENAME_EXCHANGE with itself, as %s", as);
	say("ok", answer(rename("a/b/c", "c")), "rename: up, as %s", as);
	say("ok", answer(rename("a", "c/a")), "rename: down, as %s", as);
	say("directory 0755", str("%.14s", what("c/a/b")),
		"rename: what was below came along, as %s", as);
	say("ok", answer(rename("c/a/", "d/")), "rename: a directory, with slashes, as %s", as);
	say("ENOTDIR", answer(rename("f", "g/")), "rename: a file to a name with a slash, as %s",
		as);
	say("ENOTDIR", answer(rename("f/", "g")), "rename: a file by a name with a slash, as %s",
		as);
	int fd = open("f", O_RDWR);
	say("ok", answer(rename("f", "d/f")), "rename: an open file, as %s", as);
	say("2", str("%zd", write(fd, "ok", 2)), "write: to a file that was renamed, as %s", as);
	say("file 0600", str("%.9s", what("d/f")), "lstat: a file that was renamed open, as %s",
		as);
	say("2", str("%lld", (long long)look("d/f").st_size), "lstat: its size, as %s", as);
	close(fd);
	/* Two names of one file. */
	must(link("d/f", "g"), "links");
	struct stat before = look("."), now;
	tick();
	say("ok", answer(rename("g", "d/f")), "rename: over another name of it, as %s", as);
	say("both", exists("g") && exists("d/f") ? "both" : "one", "rename: then there are, as %s",
		as);
	now = look(".");
	say("---", advanced(&before, &now),
		"rename: over another name of it: times of the directory, as %s", as);
	/* Over one of two names. */
	put("h", "bytes", 5, 0600);
	before = look("g");
	tick();
	say("ok", answer(rename("h", "d/f")), "rename: over one of two names, as %s", as);
	now = look("g");
	say("1", str("%lu", (unsigned long)now.st_nlink),
		"rename: over one of two names: links of the other, as %s", as);
	say("--c", advanced(&before, &now),
		"rename: over one of two names: times of the other, as %s", as);
	say("1", str("%lu", (unsigned long)look("d/f").st_nlink),
		"rename: over one of two names: links of what moved, as %s", as);
	/* Who made no device node himself may, since Linux 5.8: a whiteout is none. */
	say("EINVAL",
		answer(renameat2(
			AT_FDCWD, "g", AT_FDCWD, "d/f", RENAME_WHITEOUT | RENAME_EXCHANGE)),
		"renameat2: RENAME_WHITEOUT and RENAME_EXCHANGE, as %s", as);
	say("ok|EPERM|EINVAL", answer(renameat2(AT_FDCWD, "g", AT_FDCWD, "white", RENAME_WHITEOUT)),
		"renameat2: RENAME_WHITEOUT, as %s", as);
}

/* A directory that changes its parent must be writable itself: its .. changes. */
static void writable(void)
{
	static const mode_t modes[] = {0700, 0500, 0300, 0100, 0};
	for (size_t i = 0; i < COUNT(modes); i++)
		for (enum who who = ROOT; who <= ANN; who++)
			for (int other = 0; other < 2; other++) {
				fresh(0777);
				make_for(FOLDER, "p", 0777, 0, 0);
				make_for(FOLDER, "d", modes[i], other ? BEN_ID : ANN_ID, 0);
				be(who);
				bool may = who == ROOT || (!other && (modes[i] & 0200));
				say("ok", answer(rename("d", "e")),
					"rename: %s's directory of mode %04o in its directory, as "
					"%s",
					other ? "ben" : "ann", modes[i], who_name[who]);
				say(may ? "ok" : "EACCES", answer(rename("e", "p/e")),
					"rename: %s's directory of mode %04o to another directory, "
					"as %s",
					other ? "ben" : "ann", modes[i], who_name[who]);
				say(may ? "ok" : "EACCES",
					answer(renameat2(AT_FDCWD, may ? "p/e" : "e", AT_FDCWD,
						may ? "e" : "p/e", RENAME_NOREPLACE)),
					"renameat2: %s's directory of mode %04o to another "
					"directory, as %s",
					other ? "ben" : "ann", modes[i], who_name[who]);
			}
}

/* Write permission on both directories. */
static void directories(void)
{
	static const mode_t modes[] = {0777, 0755, 0733, 0722, 0711, 0766};
	for (size_t i = 0; i < COUNT(modes); i++)
		for (size_t k = 0; k < COUNT(modes); k++) {
			fresh(0777);
			make_for(FOLDER, "p", 0777, 0, 0);
			make_for(FOLDER, "q", 0777, 0, 0);
			make_for(REG, "p/f", 0600, ANN_ID, ANN_ID);
			be(ROOT);
			must(chmod("p", modes[i]), "sets a mode");
			must(chmod("q", modes[k]), "sets a mode");
			be(ANN);
			bool may = (modes[i] & 3) == 3 && (modes[k] & 3) == 3;
			say(may ? "ok" : "EACCES", answer(rename("p/f", "q/f")),
				"rename: from a directory of mode %04o to one of %04o", modes[i],
				modes[k]);
		}
}

static void long_names(void)
{
	char long_name[256];
	fresh(0777);
	be(ANN);
	memset(long_name, 'y', 255);
	long_name[255] = 0;
	for (enum side s = A_FILE; s < SAME_FILE; s++) {
		put_side(s, "a");
		say("ok", answer(rename("a", long_name)), "rename: %s to a name of 255 bytes",
			side_name[s]);
		say("ok", answer(rename(long_name, "b")), "rename: %s from a name of 255 bytes",
			side_name[s]);
		put_side(s, long_name);
		say("ok", answer(renameat2(AT_FDCWD, "b", AT_FDCWD, long_name, RENAME_EXCHANGE)),
			"renameat2: %s exchanged with a name of 255 bytes", side_name[s]);
		say("ENOENT", answer(rename(str("%sz", long_name) + 1, "x")),
			"rename: %s from an absent name of 255 bytes", side_name[s]);
		if (s == FULL) {
			must(unlink("b/in"), "empties");
			must(unlink(str("%s/in", long_name)), "empties");
		}
		say("ok", answer(rename("b", long_name)), "rename: %s over a name of 255 bytes",
			side_name[s]);
		must(remove(long_name), "removes");
	}
}

void rename_run(void)
{
	group("rename");
	for (enum who who = ROOT; who <= ANN; who++) {
		fresh(0777);
		be(who);
		make(FOLDER, "p", 0755);
		make(FOLDER, "q", 0755);
		make(FOLDER, "r", 0755);
		pairs("p", "p",
			who == ROOT ? "in one directory, as root" : "in one directory, as ann");
		if (who == ANN)
			pairs("q", "r", "between two, as ann");
		effects(who);
		loops(who);
	}
	writable();
	directories();
	long_names();
}
