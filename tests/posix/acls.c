/* POSIX ACLs (acl(5), the withdrawn 1003.1e): who gets in, what the mode shows, what is inherited.
 */
#include "tests/posix/suite.h"

#include <stdint.h>
#include <sys/xattr.h>

#define ACCESS "system.posix_acl_access"
#define DEFAULT "system.posix_acl_default"

enum tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

/* As the kernel takes it: version 2, then entries of tag, permissions, id, little-endian. */
struct acl {
	uint8_t bytes[4 + 8 * 12];
	size_t size;
};

static void add(struct acl *a, enum tag tag, unsigned perms, uint32_t id)
{
	if (a->size == 0) {
		a->bytes[0] = 2;
		a->size = 4;
	}
	const uint8_t entry[8] = {(uint8_t)tag, 0, (uint8_t)perms, 0, (uint8_t)id,
		(uint8_t)(id >> 8), (uint8_t)(id >> 16), (uint8_t)(id >> 24)};
	memcpy(a->bytes + a->size, entry, sizeof(entry));
	a->size += sizeof(entry);
}

/* What an empty one begins with: owner, group, mask, others, and one more in its place. */
static struct acl with(enum tag extra, uint32_t id, unsigned perms, unsigned owner, unsigned group,
	unsigned mask, unsigned other)
{
	struct acl a = {.size = 0};
	add(&a, USER_OBJ, owner, UINT32_MAX);
	if (extra == USER)
		add(&a, USER, perms, id);
	add(&a, GROUP_OBJ, group, UINT32_MAX);
	if (extra == GROUP)
		add(&a, GROUP, perms, id);
	if (extra)
		add(&a, MASK, mask, UINT32_MAX);
	add(&a, OTHER, other, UINT32_MAX);
	return a;
}

static int set(const char *path, const char *name, const struct acl *a)
{
	return setxattr(path, name, a->bytes, a->size, 0);
}

/* "u::6,u:ann:4,g::4,m::6,o::0" */
static const char *text(const char *path, const char *name)
{
	uint8_t b[256];
	char s[256] = "";
	ssize_t n = getxattr(path, name, b, sizeof(b));
	if (n < 0)
		return strerrorname_np(errno);
	for (ssize_t i = 4; i + 8 <= n; i += 8) {
		uint32_t id = b[i + 4] | (uint32_t)b[i + 5] << 8 | (uint32_t)b[i + 6] << 16 |
			      (uint32_t)b[i + 7] << 24;
		const char *tag = b[i] == USER_OBJ || b[i] == USER     ? "u"
				  : b[i] == GROUP_OBJ || b[i] == GROUP ? "g"
				  : b[i] == MASK                       ? "m"
								       : "o";
		size_t used = strlen(s);
		snprintf(s + used, sizeof(s) - used, "%s%s:%s:%d", used ? "," : "", tag,
			b[i] == USER || b[i] == GROUP ? id_name(id) : "", b[i + 2]);
	}
	return str("%s", s);
}

static long opens(const char *path, int flags)
{
	int fd = open(path, flags);
	return fd < 0 ? fd : close(fd);
}

/* Ann is a named user, or in a named group; the mask cuts both. */
static void access_check(void)
{
	static const struct {
		const char *name;
		enum tag tag;
		uint32_t id;
	} entries[] = {{"ann", USER, ANN_ID}, {"ann's group", GROUP, ANN_ID},
		{"her other group", GROUP, SHARED}, {"ben, not her", USER, BEN_ID}};
	for (size_t e = 0; e < COUNT(entries); e++)
		for (unsigned perms = 0; perms < 8; perms++)
			for (unsigned mask = 0; mask < 8; mask++) {
				/* Others may what the entry does not give. */
				unsigned other = perms ^ 7, got = e == 3 ? other : perms & mask;
				const char *n = str("%s:%u, mask %u, others %u", entries[e].name,
					perms, mask, other);
				struct acl a = with(
					entries[e].tag, entries[e].id, perms, 6, 0, mask, other);
				fresh(0777);
				make_for(REG, "f", 0600, 0, 0);
				must(set("f", ACCESS, &a), "sets an ACL");
				be(ANN);
				say(got & 4 ? "ok" : "EACCES", answer(opens("f", O_RDONLY)),
					"open: to read: %s", n);
				say(got & 2 ? "ok" : "EACCES", answer(opens("f", O_WRONLY)),
					"open: to write: %s", n);
				say(got & 1 ? "ok" : "EACCES", answer(access("f", X_OK)),
					"access: X_OK: %s", n);
				/* The group bits are the mask. */
				say(str("0%o%o%o", 6, mask, other), mode_of("f"), "lstat: mode: %s",
					n);
			}
}

static void modes(void)
{
	static const mode_t list[] = {0, 0600, 0640, 0604, 0660, 0777, 0070, 02750, 04711};
	for (int folder = 0; folder < 2; folder++)
		for (size_t i = 0; i < COUNT(list); i++) {
			const char *n = str("a %s to %04o", folder ? "directory" : "file", list[i]);
			struct acl a = with(USER, BEN_ID, 6, 7, 5, 7, 1);
			fresh(0777);
			make_for(folder ? FOLDER : REG, "n", 0600, ANN_ID, ANN_ID);
			be(ANN);
			say("ok", answer(set("n", ACCESS, &a)), "setxattr: ACL, then chmod %s", n);
			say("0771", mode_of("n"), "lstat: mode by the ACL, then chmod %s", n);
			say("ok", answer(chmod("n", list[i])), "chmod: with an ACL, %s", n);
			say(str("u::%u,u:ben:6,g::5,m::%u,o::%u", list[i] >> 6 & 7,
				    list[i] >> 3 & 7, list[i] & 7),
				text("n", ACCESS), "getxattr: ACL after chmod %s", n);
			say(str("%04o", list[i]), mode_of("n"), "lstat: mode after chmod %s", n);
			say("ok", answer(removexattr("n", ACCESS)),
				"removexattr: ACL, after chmod %s", n);
			say("ENODATA", text("n", ACCESS), "getxattr: removed ACL, after chmod %s",
				n);
			/* Nobody gets more by that: what the group's entry and the mask both gave.
			 */
			say(NULL, mode_of("n"), "lstat: mode without the ACL, after chmod %s", n);
		}
}

/* acl(5), "Object creation and default ACLs": the umask does not count. */
static void inheritance(void)
{
	static const mode_t list[] = {0, 0600, 0644, 0666, 0777, 0070};
	static const mode_t masks[] = {0, 022, 077};
	static const enum kind kinds[] = {REG, FOLDER, FIFO};
	for (size_t k = 0; k < COUNT(kinds); k++)
		for (size_t u = 0; u < COUNT(masks); u++)
			for (size_t i = 0; i < COUNT(list); i++)
				for (int named = 0; named < 2; named++) {
					const char *n =
						str("%s of mode %04o, umask %03o, %s default ACL",
							kind_name[kinds[k]], list[i], masks[u],
							named ? "long" : "short");
					struct acl a =
						with(named ? USER : 0, BEN_ID, 6, 7, 5, 7, 4);
					fresh(0777);
					make_for(FOLDER, "d", 0777, 0, 0);
					must(set("d", DEFAULT, &a), "sets a default ACL");
					be(ANN);
					umask(masks[u]);
					int r = kinds[k] == REG
							? open("d/n", O_CREAT | O_WRONLY | O_EXCL,
								  list[i])
						: kinds[k] == FOLDER ? mkdir("d/n", list[i])
								     : mkfifo("d/n", list[i]);
					umask(0);
					say("ok", answer(r), "%s: with a default ACL: %s",
						kinds[k] == REG      ? "open"
						: kinds[k] == FOLDER ? "mkdir"
								     : "mkfifo",
						n);
					if (kinds[k] == REG && r >= 0)
						close(r);
					unsigned owner = 7 & list[i] >> 6,
						 middle = (named ? 7 : 5) & list[i] >> 3,
						 other = 4 & list[i];
					say(str("0%o%o%o", owner, middle, other), mode_of("d/n"),
						"lstat: mode: %s", n);
					/* Without named entries the mode says it all. */
					say(named ? str("u::%u,u:ben:6,g::5,m::%u,o::%u", owner,
							    middle, other)
						  : "ENODATA",
						text("d/n", ACCESS), "getxattr: ACL: %s", n);
					if (kinds[k] == FOLDER)
						say(text("d", DEFAULT), text("d/n", DEFAULT),
							"getxattr: default ACL: %s", n);
				}
}

static void refused(void)
{
	static const uint8_t bad[][36] = {{1, 0, 0, 0}, {2, 0, 0, 0, 1, 0, 6, 0},
		{2, 0, 0, 0, 99, 0, 6, 0, 0, 0, 0, 0}, {2, 0, 0}};
	static const size_t lengths[] = {4, 8, 12, 3};
	const struct acl good = with(USER, BEN_ID, 6, 6, 4, 6, 4),
			 plain = with(0, 0, 0, 6, 4, 0, 0);
	struct acl no_mask = {.size = 0}, twice = {.size = 0}, no_other = {.size = 0},
		   unsorted = {.size = 0};
	add(&no_mask, USER_OBJ, 6, UINT32_MAX);
	add(&no_mask, USER, 6, BEN_ID);
	add(&no_mask, GROUP_OBJ, 6, UINT32_MAX);
	add(&no_mask, OTHER, 6, UINT32_MAX);
	add(&twice, USER_OBJ, 6, UINT32_MAX);
	add(&twice, USER_OBJ, 6, UINT32_MAX);
	add(&twice, GROUP_OBJ, 6, UINT32_MAX);
	add(&twice, OTHER, 6, UINT32_MAX);
	add(&no_other, USER_OBJ, 6, UINT32_MAX);
	add(&no_other, GROUP_OBJ, 6, UINT32_MAX);
	add(&unsorted, OTHER, 6, UINT32_MAX);
	add(&unsorted, GROUP_OBJ, 6, UINT32_MAX);
	add(&unsorted, USER_OBJ, 6, UINT32_MAX);
	const struct acl *const wrong[] = {&no_mask, &twice, &no_other, &unsorted};
	for (int folder = 0; folder < 2; folder++) {
		const char *n = folder ? "directory" : "file";
		fresh(0777);
		make_for(folder ? FOLDER : REG, "n", 0600, ANN_ID, ANN_ID);
		be(ANN);
		for (size_t i = 0; i < COUNT(bad); i++)
			say("EINVAL|EOPNOTSUPP",
				answer(setxattr("n", ACCESS, bad[i], lengths[i], 0)),
				"setxattr: broken ACL %zu, %s", i, n);
		for (size_t i = 0; i < COUNT(wrong); i++)
			say("EINVAL", answer(set("n", ACCESS, wrong[i])),
				"setxattr: wrong ACL %zu, %s", i, n);
		say("0600", mode_of("n"), "lstat: mode after wrong ACLs, %s", n);
		say(folder ? "ok" : "EACCES", answer(set("n", DEFAULT, &good)),
			"setxattr: default ACL, %s", n);
		say(folder ? "u::6,u:ben:6,g::4,m::6,o::4" : "ENODATA", text("n", DEFAULT),
			"getxattr: default ACL, %s", n);
		say("0600", mode_of("n"), "lstat: mode after a default ACL, %s", n);
		say("ENODATA", text("n", ACCESS), "getxattr: no ACL, %s", n);
		struct stat before = look("n"), now;
		tick();
		say("ok", answer(set("n", ACCESS, &good)), "setxattr: ACL, %s", n);
		now = look("n");
		say("--c", advanced(&before, &now), "setxattr: times, %s", n);
		say("u::6,u:ben:6,g::4,m::6,o::4", text("n", ACCESS), "getxattr: ACL, %s", n);
		/* One that says no more than the mode is the mode. */
		say("ok", answer(set("n", ACCESS, &plain)), "setxattr: short ACL, %s", n);
		say("ENODATA", text("n", ACCESS), "getxattr: short ACL, %s", n);
		say("0640", mode_of("n"), "lstat: mode after a short ACL, %s", n);
		be(BEN);
		say("EPERM", answer(set("n", ACCESS, &good)), "setxattr: ann's %s, as ben", n);
		say("EPERM|EACCES", answer(set("n", DEFAULT, &good)),
			"setxattr: default ACL, ann's %s, as ben", n);
		say("EPERM", answer(removexattr("n", ACCESS)), "removexattr: ann's %s, as ben", n);
		be(ROOT);
		say("ok", answer(set("n", ACCESS, &good)), "setxattr: ann's %s, as root", n);
		if (folder)
			say("ok", answer(removexattr("n", DEFAULT)),
				"removexattr: default ACL, as root");
		/* A chmod by who is not in the group drops the bit, and so does an ACL. */
		must(chown("n", ANN_ID, 61099), "gives");
		must(chmod("n", 02750), "sets the mode");
		be(ANN);
		say("ok", answer(set("n", ACCESS, &good)), "setxattr: in a foreign group, %s", n);
		say("0664", mode_of("n"), "lstat: mode in a foreign group, %s", n);
	}
	fresh(0777);
	be(ROOT);
	static const enum kind odd[] = {LINK, FIFO, SOCKET, CHAR};
	for (size_t i = 0; i < COUNT(odd); i++) {
		make(odd[i], str("%zu", i), 0600);
		say(odd[i] == LINK ? "EOPNOTSUPP" : "ok",
			answer(lsetxattr(str("%zu", i), ACCESS, good.bytes, good.size, 0)),
			"lsetxattr: ACL of a %s", kind_name[odd[i]]);
	}
}

void acls_run(void)
{
	group("acls");
	access_check();
	modes();
	inheritance();
	refused();
}
