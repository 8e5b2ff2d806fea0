/* chown and its kin: who may give what to whom, what becomes of set-id bits, and the times. */
#include "tests/posix/suite.h"

#define KEEP (-1)

static const int users[] = {KEEP, 0, ANN_ID, BEN_ID};
static const int groups[] = {KEEP, 0, ANN_ID, SHARED, BEN_ID};

static const char *label(int id)
{
	return id == KEEP ? "-1" : id_name((unsigned)id);
}

/* POSIX, _POSIX_CHOWN_RESTRICTED: the owner may give a file to a group that he is in; nobody but
 * root may give it to another. Whoever changes nothing but is not the owner may not either. */
static void who_may(void)
{
	static const enum kind kinds[] = {REG, FOLDER, LINK, FIFO};
	for (size_t k = 0; k < COUNT(kinds); k++) {
		fresh(0777);
		for (enum who who = ROOT; who < USERS; who++)
			for (size_t u = 0; u < COUNT(users); u++)
				for (size_t g = 0; g < COUNT(groups); g++) {
					const char *p = str("%d-%zu-%zu", who, u, g);
					make_for(kinds[k], p, 0777, ANN_ID, ANN_ID);
					be(who);
					bool nothing = users[u] == KEEP && groups[g] == KEEP;
					bool may =
						who == ROOT || nothing ||
						(who == ANN &&
							(users[u] == KEEP || users[u] == ANN_ID) &&
							(groups[g] == KEEP || groups[g] == ANN_ID ||
								groups[g] == SHARED));
					/* Each call in turn. */
					int fd, r;
					const char *call;
					switch ((u + g) % 3) {
					case 0:
						call = "lchown";
						r = lchown(p, (uid_t)users[u], (gid_t)groups[g]);
						break;
					case 1:
						call = "fchownat";
						r = fchownat(AT_FDCWD, p, (uid_t)users[u],
							(gid_t)groups[g], AT_SYMLINK_NOFOLLOW);
						break;
					default:
						call = "fchownat(AT_EMPTY_PATH)";
						fd = open(p, O_PATH | O_NOFOLLOW);
						r = fchownat(fd, "", (uid_t)users[u],
							(gid_t)groups[g], AT_EMPTY_PATH);
						int saved = errno;
						close(fd);
						errno = saved;
					}
					const char *n = str("ann's %s to %s:%s, as %s",
						kind_name[kinds[k]], label(users[u]),
						label(groups[g]), who_name[who]);
					say(may ? "ok" : "EPERM", answer(r), "%s: %s", call, n);
					const char *uid =
						users[u] == KEEP || !may ? "ann" : label(users[u]);
					const char *gid = groups[g] == KEEP || !may
								  ? "ann"
								  : label(groups[g]);
					say(str("%s:%s", uid, gid), owner_of(p),
						"%s: owner after %s", call, n);
				}
	}
}

/* chown(2): of an executable file both bits go, whoever does it; where the group may not execute
 * the set-group-id bit is a mark that stays (or goes, where the caller is not in the group).
 * Directories keep them. */
static void set_id_bits(void)
{
	static const mode_t list[] = {
		04755, 02755, 06755, 04711, 06711, 02644, 04644, 06645, 07755, 0755};
	static const struct {
		const char *name;
		int uid, gid;
	} changes[] = {{"-1:-1", KEEP, KEEP}, {"ann:-1", ANN_ID, KEEP}, {"-1:ann", KEEP, ANN_ID},
		{"-1:shared", KEEP, SHARED}, {"ann:shared", ANN_ID, SHARED}};
	for (int folder = 0; folder < 2; folder++)
		for (enum who who = ROOT; who <= ANN; who++)
			for (size_t m = 0; m < COUNT(list); m++)
				for (size_t c = 0; c < COUNT(changes); c++) {
					fresh(0777);
					make_for(folder ? FOLDER : REG, "n", list[m], ANN_ID,
						ANN_ID);
					be(who);
					must(chown("n", (uid_t)changes[c].uid,
						     (gid_t)changes[c].gid),
						"gives");
					mode_t left = list[m] & ~04000;
					const char *want =
						list[m] & 0010
							? str("%04o", left & ~02000)
							: str("%04o|%04o", left, left & ~02000);
					/* POSIX leaves root's doing open, and Linux that of no
					 * change. */
					if (folder)
						want = str("%04o", list[m]);
					else if (changes[c].uid == KEEP && changes[c].gid == KEEP)
						want = str("%04o|%s", list[m], want);
					say(want, mode_of("n"),
						"chown: mode of a %s of %04o after %s, as %s",
						folder ? "directory" : "file", list[m],
						changes[c].name, who_name[who]);
				}
}

static void times(void)
{
	for (enum who who = ROOT; who <= ANN; who++)
		for (enum kind k = 0; k < KINDS; k++) {
			const char *n = kind_name[k], *as = who_name[who];
			if (k >= CHAR && who != ROOT)
				continue;
			fresh(0777);
			be(who);
			make(k, "n", 0640);
			struct stat before = look("n"), folder = look("."), now;
			tick();
			must(lchown("n", (uid_t)-1, who == ROOT ? BEN_ID : SHARED), "gives");
			now = look("n");
			say("--c", advanced(&before, &now), "lchown: times: %s, as %s", n, as);
			before = now;
			tick();
			must(lchown("n", now.st_uid, now.st_gid), "gives");
			now = look("n");
			say("--c", advanced(&before, &now),
				"lchown: times with the same owner: %s, as %s", n, as);
			before = now;
			tick();
			must(lchown("n", (uid_t)-1, (gid_t)-1), "gives");
			now = look("n");
			/* POSIX: "shall mark"; Linux may leave it out for -1 and -1. */
			say("--c|---", advanced(&before, &now),
				"lchown: times with -1 and -1: %s, as %s", n, as);
			now = look(".");
			say("---", advanced(&folder, &now),
				"lchown: times of the directory: %s, as %s", n, as);
		}
}

static void special(void)
{
	fresh(0777);
	put("f", "bytes", 5, 0600);
	must(symlink("f", "l"), "makes a link");
	say("ok", answer(chown("l", ANN_ID, BEN_ID)), "chown: through a symlink");
	say("ann:ben", owner_of("f"), "chown: through a symlink it is the file's owner");
	say("root:root", owner_of("l"), "chown: and not the symlink's");
	say("ok", answer(lchown("l", BEN_ID, ANN_ID)), "lchown: a symlink");
	say("ben:ann", owner_of("l"), "lchown: it is the symlink's owner");
	say("ann:ben", owner_of("f"), "lchown: and not the file's");
	say("EINVAL", answer(fchownat(AT_FDCWD, "f", 0, 0, 0x80)), "fchownat: a wrong flag");
	say("EBADF", answer(fchown(9999, 0, 0)), "fchown: a closed descriptor");
	int fd = open("f", O_RDONLY);
	say("ok", answer(fchown(fd, 0, SHARED)), "fchown: open for reading");
	say("root:shared", owner_of("f"), "fchown: the owner then");
	close(fd);
	static const unsigned ids[] = {
		1, 1000, 65534, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe};
	for (size_t i = 0; i < COUNT(ids); i++) {
		int r = chown("f", ids[i], ids[COUNT(ids) - 1 - i]);
		say(str("%u:%u", ids[i], ids[COUNT(ids) - 1 - i]),
			r < 0 ? answer(r) : owner_of("f"), "chown: user %u and group %u", ids[i],
			ids[COUNT(ids) - 1 - i]);
	}
	/* What was open stays so; what a new owner may not is the mode's business. */
	must(chown("f", ANN_ID, ANN_ID), "gives");
	be(ANN);
	fd = open("f", O_RDWR);
	be(ROOT);
	must(chown("f", BEN_ID, BEN_ID), "gives");
	be(ANN);
	say("ok", answer(pwrite(fd, "x", 1, 0)), "pwrite: to what was given away");
	say("EPERM", answer(fchmod(fd, 0666)), "fchmod: of what was given away");
	say("EACCES", opened(open("f", O_RDONLY)), "open: what was given away");
	close(fd);
	be(BEN);
	say("ok", opened(open("f", O_RDWR)), "open: what was given to ben, as ben");
}

void owners_run(void)
{
	group("owners");
	who_may();
	set_id_bits();
	times();
	special();
}
