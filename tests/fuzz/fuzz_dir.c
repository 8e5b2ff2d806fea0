/*
 * A directory's record `.dir`. Input: kind, then the record's text (kind 0), or its fields, bound
 * by the harness (kind 1: epoch, id, which bindings are right). Kind 2: something is in it. Kind 4:
 * there is no `.dir`, but the attribute that keeps one while the directory is removed.
 */
#include "fs/store/name.h"
#include "tests/fuzz/fuzz.h"

#define LOWER "d"
#define RECORD_LEN 35 /* bytes of a record with one binding */
#define KEPT_HEAD 12

static int folder(struct fuzz_tree *t)
{
	static int fd = -1;
	if (fd < 0) {
		FUZZ_CHECK(mkdirat(t->root->fd, LOWER, 0700) == 0);
		fd = openat(t->root->fd, LOWER, O_PATH | O_DIRECTORY | O_CLOEXEC);
		FUZZ_CHECK(fd >= 0);
	}
	return fd;
}

/* docs/format.md, "Directories" */
static void bind_record(const struct fuzz_tree *t, uint8_t *record, uint8_t *ret_binding)
{
	uint8_t in[19 + DIR_ID_LEN + sizeof(LOWER) - 1];
	const struct secret *nmk = keyring_nmk(t->store.keys, bytes_get16(record + 1));
	if (!nmk)
		return;
	AUTO_SECRET *key = crypto_derive(nmk, "binding", "", 0, KEY_LEN);
	FUZZ_CHECK(key);
	memcpy(in, record, 19);
	memcpy(in + 19, t->root->id, DIR_ID_LEN);
	memcpy(in + 19 + DIR_ID_LEN, LOWER, sizeof(LOWER) - 1);
	crypto_mac(key, in, sizeof(in), ret_binding, 16);
}

static size_t bound_record(const struct fuzz_tree *t, struct cur *c, uint8_t *record)
{
	uint8_t what = fuzz_u8(c);
	size_t len = what & 4 ? RECORD_LEN + 16 : RECORD_LEN;
	memset(record, 0, RECORD_LEN + 16);
	record[0] = what & 8 ? fuzz_u8(c) : 1;
	bytes_put16(record + 1, what & 16 ? fuzz_u16(c) : 1);
	fuzz_bytes(c, record + 3, len - 3);
	if (what & 1)
		bind_record(t, record, record + 19);
	if (what & 2 && len > RECORD_LEN)
		bind_record(t, record, record + RECORD_LEN);
	return len;
}

static size_t bound_text(const struct fuzz_tree *t, struct cur *c, char *ret_text)
{
	uint8_t record[RECORD_LEN + 16];
	crypto_b64(record, bound_record(t, c, record), ret_text);
	return strlen(ret_text);
}

/* docs/format.md, "rmdir": a time, and the record. False where the filesystem has no attributes. */
static bool keep(const struct fuzz_tree *t, struct cur *c, bool bound, int fd)
{
	struct lower *l = lower_posix();
	uint8_t kept[KEPT_HEAD + RECORD_LEN + 16 + 10];
	size_t len = cur_left(c) < sizeof(kept) ? cur_left(c) : sizeof(kept);
	if (bound) {
		fuzz_bytes(c, kept, KEPT_HEAD);
		len = KEPT_HEAD + bound_record(t, c, kept + KEPT_HEAD);
	} else {
		fuzz_bytes(c, kept, len);
	}
	return l->ops->fsetxattr(l, fd, "user.tfs-dir", kept, len, 0) == 0;
}

static void check_opened(struct fuzz_tree *t, struct dir *d, int fd)
{
	uint8_t bytes[RECORD_LEN], expected[16];
	char text[DIR_RECORD_MAX + 1];
	/* Whatever it was, now it has one binding, the right one. */
	ssize_t n = readlinkat(fd, ".dir", text, sizeof(text));
	FUZZ_CHECK(n == (ssize_t)crypto_b64_len(RECORD_LEN));
	FUZZ_CHECK(crypto_unb64(text, (size_t)n, bytes, sizeof(bytes)) == RECORD_LEN);
	FUZZ_CHECK(memcmp(bytes + 3, d->id, DIR_ID_LEN) == 0 && bytes_get16(bytes + 1) == d->epoch);
	bind_record(t, bytes, expected);
	FUZZ_CHECK(memcmp(expected, bytes + 19, 16) == 0);
	/* A record is taken away and put back as it was. */
	char removed[DIR_RECORD_MAX];
	FUZZ_CHECK(dir_clear(d, true, removed) == 0);
	FUZZ_CHECK(strlen(removed) == (size_t)n && memcmp(removed, text, (size_t)n) == 0);
	FUZZ_CHECK(dir_restore(d, removed) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct cur c = {bytes, bytes + len};
	char text[4096];
	size_t text_len;
	fuzz_begin();
	struct fuzz_tree *t = fuzz_tree();
	struct dir *d = NULL;
	int fd = folder(t);
	uint8_t kind = fuzz_u8(&c);
	bool kept = kind & 4 && keep(t, &c, kind & 1, fd);
	if (kind & 1) {
		text_len = bound_text(t, &c, text);
	} else {
		text_len = cur_left(&c) < sizeof(text) ? cur_left(&c) : sizeof(text) - 1;
		fuzz_bytes(&c, text, text_len);
	}
	bool linked = !(kind & 4) && fuzz_link(fd, ".dir", text, text_len);
	if ((linked || kept) && kind & 2)
		fuzz_write(fd, "x", "", 0);
	unsigned alarms = t->alarms;
	int r = dir_open(t->root, LOWER, &d);
	FUZZ_CHECK(r == 0 || r == -EBADMSG);
	FUZZ_CHECK(t->alarms == alarms + (r < 0));
	fuzz_unlink(fd, "x");
	if (r == 0)
		check_opened(t, d, fd);
	else
		FUZZ_CHECK((linked || kept) && !d);
	dir_put(d);
	(void)!lower_posix()->ops->fremovexattr(lower_posix(), fd, "user.tfs-dir");
	fuzz_unlink(fd, ".dir");
	return 0;
}

static void seed(const char *label, const char *bytes, size_t len)
{
	fuzz_seed(label, bytes, len);
}

void fuzz_seeds(void)
{
	struct fuzz_tree *t = fuzz_tree();
	char text[200] = {0};
	int fd = folder(t);
	FUZZ_CHECK(dir_init(&t->store, fd, t->root, LOWER) == 0);
	ssize_t n = readlinkat(fd, ".dir", text + 1, sizeof(text) - 1);
	FUZZ_CHECK(n > 0);
	seed("good", text, (size_t)n + 1);
	struct dir *d = NULL;
	FUZZ_CHECK(dir_open(t->root, LOWER, &d) == 0);
	FUZZ_CHECK(dir_rebind(d, t->root, LOWER, t->root, "elsewhere") == 0);
	n = readlinkat(fd, ".dir", text + 1, sizeof(text) - 1);
	seed("two", text, (size_t)n + 1);
	FUZZ_CHECK(dir_rebind(d, t->root, "elsewhere", NULL, NULL) == 0);
	n = readlinkat(fd, ".dir", text + 1, sizeof(text) - 1);
	seed("foreign", text, (size_t)n + 1);
	dir_put(d);
	seed("none", "\0", 1);
	seed("kept", "\4twelve bytes", 13);
	seed("kept-bound", "\5twelve bytes\1id", 16);
	seed("kept-bound-second", "\5twelve bytes\6id", 16);
	seed("kept-content", "\7twelve bytes\1id", 16);
	seed("bound-first", "\1\1id", 4);
	seed("bound-second", "\1\6id", 4);
	seed("bound-both", "\1\7id", 4);
	seed("bound-epoch", "\1\21\1\2id", 6);
	seed("bound-version", "\1\11\2id", 5);
}
