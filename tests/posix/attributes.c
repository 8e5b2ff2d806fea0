/* Extended attributes: setxattr, getxattr, listxattr, removexattr and what they refuse. */
#include "tests/posix/suite.h"

#include <sys/xattr.h>

/* xattr(7): user attributes are for files and directories. */
static void kinds(void)
{
	static const char *const names[] = {
		"user.a", "trusted.a", "security.a", "system.a", "nonsense.a", "noname"};
	char b[16];
	for (enum who who = ROOT; who <= ANN; who++) {
		fresh(0777);
		be(who);
		for (enum kind k = 0; k < KINDS; k++) {
			if (k >= CHAR && who != ROOT)
				continue;
			const char *p = str("n%d", k);
			make(k, p, 0600);
			for (size_t i = 0; i < COUNT(names); i++) {
				const char *n = str(
					"%s of a %s, as %s", names[i], kind_name[k], who_name[who]);
				const char *set = "ok", *get = "ok", *gone = "ok";
				bool user = i == 0, fit = k == REG || k == FOLDER;
				if (user && !fit) {
					set = gone = "EPERM";
					get = "ENODATA|EPERM";
				} else if (i == 1 && who != ROOT) {
					set = gone = "EPERM";
					get = "ENODATA";
				} else if (i == 2 && who != ROOT) {
					set = gone = "EPERM";
					get = "ENODATA";
				} else if (i >= 3) {
					set = get = gone = "EOPNOTSUPP";
				}
				say(set, answer(lsetxattr(p, names[i], "value", 5, 0)),
					"lsetxattr: %s", n);
				say(get, answer(lgetxattr(p, names[i], b, sizeof(b))),
					"lgetxattr: %s", n);
				say(gone, answer(lremovexattr(p, names[i])), "lremovexattr: %s", n);
			}
			say("0", str("%zd", llistxattr(p, b, sizeof(b))), "llistxattr: a %s, as %s",
				kind_name[k], who_name[who]);
		}
	}
}

static void values(void)
{
	static const size_t sizes[] = {
		0, 1, 2, 15, 16, 17, 63, 64, 100, 255, 256, 1000, 2000, 3000};
	static char v[70000], b[70000];
	for (int folder = 0; folder < 2; folder++) {
		fresh(0777);
		be(ANN);
		make(folder ? FOLDER : REG, "n", 0700);
		for (size_t i = 0; i < COUNT(sizes); i++) {
			const char *n =
				str("%zu bytes of a %s", sizes[i], folder ? "directory" : "file");
			for (size_t k = 0; k < sizes[i]; k++)
				v[k] = (char)(k * 13 + i);
			say("ok", answer(setxattr("n", "user.v", v, sizes[i], 0)), "setxattr: %s",
				n);
			memset(b, '?', sizeof(b));
			ssize_t got = getxattr("n", "user.v", b, sizeof(b));
			say(str("%zu", sizes[i]), str("%zd", got), "getxattr: %s", n);
			say("equal",
				got == (ssize_t)sizes[i] && memcmp(b, v, sizes[i]) == 0 &&
						b[got] == '?'
					? "equal"
					: "not",
				"getxattr: the bytes: %s", n);
			say(str("%zu", sizes[i]), str("%zd", getxattr("n", "user.v", NULL, 0)),
				"getxattr: asked for the size: %s", n);
			if (sizes[i] > 1)
				say("ERANGE", answer(getxattr("n", "user.v", b, sizes[i] - 1)),
					"getxattr: a byte too little room: %s", n);
		}
		say("E2BIG|ENOSPC|ERANGE", answer(setxattr("n", "user.v", v, 65537, 0)),
			"setxattr: 65537 bytes, %s", folder ? "directory" : "file");
		say("3000", str("%zd", getxattr("n", "user.v", b, sizeof(b))),
			"getxattr: after that failed, %s", folder ? "directory" : "file");
	}
}

static void names(void)
{
	static const char *const odd[] = {"user.a", "user.A", "user. ", "user.a.b.c", "user.\xff",
		"user.\n", "user.=", "user.user.a", "user.system.posix_acl_access"};
	char long_name[300], b[4000];
	for (int folder = 0; folder < 2; folder++) {
		const char *n = folder ? "directory" : "file";
		fresh(0777);
		be(ANN);
		make(folder ? FOLDER : REG, "n", 0700);
		for (size_t i = 0; i < COUNT(odd); i++) {
			must(setxattr("n", odd[i], odd[i], strlen(odd[i]), XATTR_CREATE), "sets");
			memset(b, 0, sizeof(b));
			must(getxattr("n", odd[i], b, sizeof(b)), "gets");
			say("equal", strcmp(b, odd[i]) == 0 ? "equal" : "not",
				"getxattr: odd name %zu of a %s", i, n);
		}
		ssize_t size = listxattr("n", b, sizeof(b)), want = 0;
		size_t found = 0;
		for (size_t i = 0; i < COUNT(odd); i++) {
			want += (ssize_t)strlen(odd[i]) + 1;
			for (const char *p = b; p < b + size; p += strlen(p) + 1)
				found += strcmp(p, odd[i]) == 0;
		}
		say(str("%zd", want), str("%zd", size), "listxattr: bytes, %s", n);
		say(str("%zu", COUNT(odd)), str("%zu", found), "listxattr: each once, %s", n);
		say(str("%zd", want), str("%zd", listxattr("n", NULL, 0)),
			"listxattr: asked for the size, %s", n);
		say("ERANGE", answer(listxattr("n", b, (size_t)want - 1)),
			"listxattr: a byte too little room, %s", n);
		memset(long_name, 'x', sizeof(long_name));
		memcpy(long_name, "user.", 5);
		static const int lengths[] = {5, 6, 100, 200, 254, 255, 256, 299};
		for (size_t i = 0; i < COUNT(lengths); i++) {
			char c = long_name[lengths[i]];
			long_name[lengths[i]] = 0;
			say(lengths[i] == 5        ? "EINVAL|EOPNOTSUPP"
				: lengths[i] > 255 ? "ERANGE"
						   : "ok",
				answer(setxattr("n", long_name, "v", 1, 0)),
				"setxattr: a name of %d bytes, %s", lengths[i], n);
			say(lengths[i] == 5        ? "EINVAL|ENODATA|EOPNOTSUPP"
				: lengths[i] > 255 ? "ERANGE"
						   : "ok",
				answer(getxattr("n", long_name, b, sizeof(b))),
				"getxattr: a name of %d bytes, %s", lengths[i], n);
			say(lengths[i] == 5        ? "EINVAL|ENODATA|EOPNOTSUPP"
				: lengths[i] > 255 ? "ERANGE"
						   : "ok",
				answer(removexattr("n", long_name)),
				"removexattr: a name of %d bytes, %s", lengths[i], n);
			long_name[lengths[i]] = c;
		}
		say("ERANGE", answer(setxattr("n", "", "v", 1, 0)), "setxattr: an empty name, %s",
			n);
	}
}

static void flags(void)
{
	/* The compiler need not know. */
	char *volatile bad = (char *)1;
	char b[256];
	for (int folder = 0; folder < 2; folder++) {
		const char *n = folder ? "directory" : "file";
		fresh(0777);
		be(ANN);
		make(folder ? FOLDER : REG, "n", 0700);
		say("ENODATA", answer(setxattr("n", "user.a", "1", 1, XATTR_REPLACE)),
			"setxattr: XATTR_REPLACE of none, %s", n);
		say("ENODATA", answer(getxattr("n", "user.a", b, 16)), "getxattr: none, %s", n);
		say("ENODATA", answer(removexattr("n", "user.a")), "removexattr: none, %s", n);
		say("ok", answer(setxattr("n", "user.a", "1", 1, XATTR_CREATE)),
			"setxattr: XATTR_CREATE, %s", n);
		say("EEXIST", answer(setxattr("n", "user.a", "2", 1, XATTR_CREATE)),
			"setxattr: XATTR_CREATE once more, %s", n);
		say("1", str("%.*s", (int)getxattr("n", "user.a", b, 16), b),
			"getxattr: after XATTR_CREATE failed, %s", n);
		say("ok", answer(setxattr("n", "user.a", "3", 1, XATTR_REPLACE)),
			"setxattr: XATTR_REPLACE, %s", n);
		say("3", str("%.*s", (int)getxattr("n", "user.a", b, 16), b),
			"getxattr: after XATTR_REPLACE, %s", n);
		say("EINVAL", answer(setxattr("n", "user.a", "4", 1, 8)),
			"setxattr: a wrong flag, %s", n);
		say("ENODATA|EEXIST|EINVAL",
			answer(setxattr("n", "user.b", "4", 1, XATTR_CREATE | XATTR_REPLACE)),
			"setxattr: both flags, %s", n);
		say("EFAULT", answer(setxattr("n", "user.b", bad, 5, 0)),
			"setxattr: a bad address, %s", n);
		say("EFAULT", answer(setxattr("n", bad, "1", 1, 0)),
			"setxattr: a name at a bad address, %s", n);
		struct stat before = look("n"), now;
		tick();
		must(setxattr("n", "user.c", "5", 1, 0), "sets");
		now = look("n");
		say("--c", advanced(&before, &now), "setxattr: times, %s", n);
		before = now;
		tick();
		must(getxattr("n", "user.c", b, 16), "gets");
		must(listxattr("n", b, sizeof(b)), "lists");
		now = look("n");
		say("---", advanced(&before, &now), "getxattr: times, %s", n);
		tick();
		must(removexattr("n", "user.c"), "removes");
		now = look("n");
		say("--c", advanced(&before, &now), "removexattr: times, %s", n);
		before = now;
		tick();
		say("ENODATA", answer(removexattr("n", "user.c")), "removexattr: once more, %s", n);
		now = look("n");
		say("---", advanced(&before, &now), "removexattr: times of a failure, %s", n);
		/* By descriptor, and after a rename and a link. */
		int fd = open("n", O_RDONLY);
		say("ok", answer(fsetxattr(fd, "user.f", "fd", 2, 0)),
			"fsetxattr: open for reading, %s", n);
		say("fd", str("%.*s", (int)fgetxattr(fd, "user.f", b, 16), b), "fgetxattr: %s", n);
		must(rename("n", "m"), "renames");
		say("fd", str("%.*s", (int)getxattr("m", "user.f", b, 16), b),
			"getxattr: after rename, %s", n);
		if (!folder) {
			must(link("m", "l"), "links");
			must(unlink("m"), "removes");
			say("fd", str("%.*s", (int)getxattr("l", "user.f", b, 16), b),
				"getxattr: by the other name");
			must(unlink("l"), "removes");
			say("fd", str("%.*s", (int)fgetxattr(fd, "user.f", b, 16), b),
				"fgetxattr: without a name");
			say("ok", answer(fsetxattr(fd, "user.g", "x", 1, 0)),
				"fsetxattr: without a name");
			say("ok", answer(fremovexattr(fd, "user.f")),
				"fremovexattr: without a name");
		}
		close(fd);
		say("EBADF", answer(fgetxattr(9999, "user.a", b, 16)),
			"fgetxattr: a closed descriptor, %s", n);
	}
}

/* xattr(7): as content, by the mode; a sticky directory's only by its owner. */
static void permission(void)
{
	char b[16];
	for (int mode = 0; mode < 8; mode++)
		for (int folder = 0; folder < 3; folder++) {
			mode_t all = (mode_t)mode | 0770 | (folder == 2 ? 01000 : 0);
			const char *n =
				str("a %s of mode %04o", folder ? "directory" : "file", all);
			fresh(0777);
			make_for(folder ? FOLDER : REG, "n", all, ANN_ID, ANN_ID);
			must(setxattr("n", "user.a", "1", 1, 0), "sets");
			be(BEN);
			bool r = mode & 4, w = (mode & 2) && folder != 2;
			say(r ? "ok" : "EACCES", answer(getxattr("n", "user.a", b, 16)),
				"getxattr: %s, as ben", n);
			say(w ? "ok" : "EACCES|EPERM", answer(setxattr("n", "user.a", "2", 1, 0)),
				"setxattr: %s, as ben", n);
			say(w ? "ok" : "EACCES|EPERM", answer(removexattr("n", "user.a")),
				"removexattr: %s, as ben", n);
			be(ANN);
			say("ok", answer(setxattr("n", "user.b", "2", 1, 0)),
				"setxattr: %s, as ann", n);
		}
}

void attributes_run(void)
{
	group("attributes");
	kinds();
	values();
	names();
	flags();
	permission();
}
