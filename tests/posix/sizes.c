/* truncate, ftruncate and posix_fallocate: sizes, bytes, times, and what they refuse. */
#include "tests/posix/suite.h"

#include <stdint.h>
#include <sys/mman.h>

/* FNV-1a of the bytes: two filesystems must have the same. */
static const char *bytes_of(const char *path)
{
	static char b[65536];
	uint64_t sum = 14695981039346656037u;
	long long count = 0;
	int fd = open(path, O_RDONLY);
	ssize_t n;
	must(fd, path);
	while ((n = read(fd, b, sizeof(b))) > 0) {
		count += n;
		for (ssize_t i = 0; i < n; i++)
			sum = (sum ^ (unsigned char)b[i]) * 1099511628211u;
	}
	close(fd);
	return str("%lld bytes, %016llx", count, (unsigned long long)sum);
}

static char pattern[70000];

/* What the bytes must be: those that were there and are still, then zeros. */
static const char *expected(size_t old, size_t kept, size_t size)
{
	uint64_t sum = 14695981039346656037u;
	for (size_t i = 0; i < size; i++)
		sum = (sum ^ (unsigned char)(i < old && i < kept ? pattern[i] : 0)) *
		      1099511628211u;
	return str("%zu bytes, %016llx", size, (unsigned long long)sum);
}

static const size_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 8192, 12289, 65536, 70000};

static void all_sizes(void)
{
	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = (char)(i * 7 + i / 251 + 1);
	fresh(0777);
	be(ANN);
	for (size_t a = 0; a < COUNT(sizes); a++)
		for (size_t b = 0; b < COUNT(sizes); b++) {
			const char *n = str("%zu to %zu bytes", sizes[a], sizes[b]);
			bool by_fd = (a + b) % 2;
			put("f", pattern, sizes[a], 0600);
			int r;
			if (by_fd) {
				int fd = open("f", O_WRONLY);
				r = ftruncate(fd, (off_t)sizes[b]);
				close(fd);
			} else {
				r = truncate("f", (off_t)sizes[b]);
			}
			say("ok", answer(r), "%s: %s", by_fd ? "ftruncate" : "truncate", n);
			say(expected(sizes[a], sizes[b], sizes[b]), bytes_of("f"), "%s: bytes: %s",
				by_fd ? "ftruncate" : "truncate", n);
			/* What was cut off does not come back. */
			must(truncate("f", 70000), "grows");
			say(expected(sizes[a], sizes[b], 70000), bytes_of("f"),
				"truncate: bytes after %s and on to 70000", n);
		}
}

/* posix_fallocate: the size grows if need be, bytes stay or are zeros. */
static void allocation(void)
{
	static const struct {
		int at, length;
	} list[] = {{0, 1}, {0, 100}, {0, 4096}, {0, 4097}, {50, 100}, {100, 4000}, {4096, 4096},
		{5000, 60000}, {8191, 2}};
	fresh(0777);
	be(ANN);
	for (size_t a = 0; a < COUNT(sizes); a++)
		for (size_t i = 0; i < COUNT(list); i++) {
			const char *n = str(
				"%zu bytes, at %d for %d", sizes[a], list[i].at, list[i].length);
			size_t end = (size_t)(list[i].at + list[i].length);
			size_t then = end > sizes[a] ? end : sizes[a];
			put("f", pattern, sizes[a], 0600);
			int fd = open("f", O_RDWR),
			    r = posix_fallocate(fd, list[i].at, list[i].length);
			say("0", r ? strerrorname_np(r) : "0", "posix_fallocate: %s", n);
			say(expected(sizes[a], sizes[a], then), bytes_of("f"),
				"posix_fallocate: bytes: %s", n);
			say("ok",
				answer(fallocate(
					fd, FALLOC_FL_KEEP_SIZE, list[i].at, list[i].length)),
				"fallocate: KEEP_SIZE: %s", n);
			say(str("%zu", then), str("%lld", (long long)look("f").st_size),
				"fallocate: KEEP_SIZE: size: %s", n);
			close(fd);
		}
}

static void times(void)
{
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		struct stat before, now;
		fresh(0777);
		be(who);
		for (int i = 0; i < 8; i++) {
			static const char *const names[] = {"truncate: to less",
				"truncate: to more", "truncate: to its size", "ftruncate: to less",
				"ftruncate: to more", "ftruncate: to its size",
				"posix_fallocate: beyond the end",
				"posix_fallocate: in the middle"};
			const char *path = str("f%d", i), *want = "-mc";
			put(path, pattern, 5000, 0600);
			int fd = open(path, O_RDWR);
			before = look(path);
			tick();
			int r = i == 0   ? truncate(path, 100)
				: i == 1 ? truncate(path, 9000)
				: i == 2 ? truncate(path, 5000)
				: i == 3 ? ftruncate(fd, 100)
				: i == 4 ? ftruncate(fd, 9000)
				: i == 5 ? ftruncate(fd, 5000)
				: i == 6 ? posix_fallocate(fd, 4000, 2000)
					 : posix_fallocate(fd, 100, 200);
			must(r ? -1 : 0, names[i]);
			now = look(path);
			/* POSIX: marked for update. truncate(2): if the size changed. */
			if (i == 2)
				want = "---|-mc";
			/* Linux: allocation in the midst changes neither size nor bytes. */
			if (i == 7)
				want = "---|--c|-mc";
			say(want, advanced(&before, &now), "%s: times, as %s", names[i], as);
			close(fd);
		}
	}
}

static void refused(void)
{
	for (enum who who = ROOT; who <= ANN; who++) {
		const char *as = who_name[who];
		fresh(0777);
		be(who);
		put("f", pattern, 5000, 0600);
		make(FOLDER, "d", 0700);
		make(FIFO, "p", 0600);
		make(SOCKET, "s", 0600);
		must(symlink("f", "l"), "links");
		int fd = open("f", O_RDWR), ro = open("f", O_RDONLY),
		    fifo = open("p", O_RDWR | O_NONBLOCK), folder = open("d", O_RDONLY),
		    path = open("f", O_PATH);
		say("EINVAL", answer(truncate("f", -1)), "truncate: -1, as %s", as);
		say("EINVAL", answer(truncate("f", INT64_MIN)),
			"truncate: the smallest number, as %s", as);
		say("EINVAL", answer(ftruncate(fd, -1)), "ftruncate: -1, as %s", as);
		say("EINVAL", answer(truncate("p", 0)), "truncate: a fifo, as %s", as);
		say("EINVAL", answer(truncate("s", 0)), "truncate: a socket, as %s", as);
		say("EISDIR", answer(truncate("d", 0)), "truncate: a directory, as %s", as);
		say("ok", answer(truncate("l", 4000)), "truncate: a symlink to a file, as %s", as);
		say("4000", str("%lld", (long long)look("f").st_size),
			"truncate: then it is the file's size, as %s", as);
		say("EBADF|EINVAL", answer(ftruncate(ro, 0)), "ftruncate: open for reading, as %s",
			as);
		say("EBADF|EINVAL", answer(ftruncate(folder, 0)), "ftruncate: a directory, as %s",
			as);
		say("EINVAL", answer(ftruncate(fifo, 0)), "ftruncate: a fifo, as %s", as);
		say("EBADF", answer(ftruncate(9999, 0)), "ftruncate: a closed descriptor, as %s",
			as);
		say("EBADF|EINVAL", answer(ftruncate(path, 0)), "ftruncate: O_PATH, as %s", as);
#define TRY(fd_, at_, length_)                                                                     \
	((errno = posix_fallocate(fd_, at_, length_)) ? strerrorname_np(errno) : "ok")
		say("EINVAL", TRY(fd, 0, 0), "posix_fallocate: nothing, as %s", as);
		say("EINVAL", TRY(fd, -1, 10), "posix_fallocate: at -1, as %s", as);
		say("EINVAL", TRY(fd, 0, -1), "posix_fallocate: for -1, as %s", as);
		say("EFBIG", TRY(fd, INT64_MAX - 10, 100),
			"posix_fallocate: beyond all numbers, as %s", as);
		say("EFBIG", TRY(fd, INT64_MAX - 10, 10),
			"posix_fallocate: to the last number, as %s", as);
		say("EBADF", TRY(ro, 0, 10), "posix_fallocate: open for reading, as %s", as);
		say("EBADF", TRY(9999, 0, 10), "posix_fallocate: a closed descriptor, as %s", as);
		say("ESPIPE", TRY(fifo, 0, 10), "posix_fallocate: a fifo, as %s", as);
		say("EBADF|ENODEV|EISDIR", TRY(folder, 0, 10),
			"posix_fallocate: a directory, as %s", as);
#undef TRY
		say("EOPNOTSUPP|EINVAL", answer(fallocate(fd, 0x8000, 0, 10)),
			"fallocate: a wrong mode, as %s", as);
		say("EOPNOTSUPP|EINVAL", answer(fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10)),
			"fallocate: PUNCH_HOLE without KEEP_SIZE, as %s", as);
		say("4000", str("%lld", (long long)look("f").st_size),
			"fallocate: the size is as it was, as %s", as);
		close(fd);
		close(ro);
		close(fifo);
		close(folder);
		close(path);
	}
}

/* Punched and zeroed ranges read as zeros, and nothing else does. */
static void holes(void)
{
	static const struct {
		int at, length;
	} list[] = {{0, 100}, {0, 4096}, {10, 4086}, {4000, 200}, {4096, 8192}, {5000, 20000},
		{0, 70000}, {69990, 10}, {69990, 1000}, {100000, 10}};
	fresh(0777);
	be(ANN);
	for (int zero = 0; zero < 2; zero++)
		for (size_t i = 0; i < COUNT(list); i++) {
			static char want[70000];
			const char *n = str("%s: at %d for %d", zero ? "ZERO_RANGE" : "PUNCH_HOLE",
				list[i].at, list[i].length);
			put("f", pattern, 70000, 0600);
			int fd = open("f", O_RDWR);
			int mode = (zero ? FALLOC_FL_ZERO_RANGE : FALLOC_FL_PUNCH_HOLE) |
				   FALLOC_FL_KEEP_SIZE;
			say("ok", answer(fallocate(fd, mode, list[i].at, list[i].length)),
				"fallocate: %s", n);
			uint64_t sum = 14695981039346656037u;
			for (int k = 0; k < 70000; k++) {
				bool gone = k >= list[i].at && k < list[i].at + list[i].length;
				want[k] = gone ? 0 : pattern[k];
				sum = (sum ^ (unsigned char)want[k]) * 1099511628211u;
			}
			say(str("70000 bytes, %016llx", (unsigned long long)sum), bytes_of("f"),
				"fallocate: bytes: %s", n);
			close(fd);
		}
}

/* ftruncate(2): what is added reads as zeros. What was put behind the end through a map is no part
 * of the file, mmap(2). */
static void behind_the_end(void)
{
	fresh(0777);
	be(ANN);
	for (int way = 0; way < 3; way++) {
		static const char *const names[] = {"ftruncate", "pwrite", "fallocate"};
		char b[10] = "?";
		put("f", pattern, 5000, 0600);
		int fd = open("f", O_RDWR);
		char *p = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		must(p == MAP_FAILED ? -1 : 0, "maps");
		memset(p + 6500, 'x', sizeof(b));
		must(way == 0      ? ftruncate(fd, 8000)
			: way == 1 ? pwrite(fd, "y", 1, 7999)
				   : fallocate(fd, 0, 0, 8000),
			names[way]);
		must(pread(fd, b, sizeof(b), 6500), "reads");
		say("zeros", b[0] ? "what was there" : "zeros",
			"%s: to more, after a map was written behind the end", names[way]);
		munmap(p, 8192);
		close(fd);
	}
}

void sizes_run(void)
{
	group("sizes");
	all_sizes();
	allocation();
	times();
	refused();
	holes();
	behind_the_end();
}
