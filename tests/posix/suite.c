/* What all groups of assertions share: who acts, what is made, how an answer is told. */
#include "tests/posix/suite.h"

#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

const char *const who_name[USERS] = {"root", "ann", "ben"};
const uid_t who_id[USERS] = {0, ANN_ID, BEN_ID};
const char *const kind_name[KINDS] = {
	"file", "directory", "symlink", "fifo", "socket", "character device", "block device"};

static const char *current;
static char base[4096];
static unsigned folders;

void must(long r, const char *what_for)
{
	if (r >= 0)
		return;
	fflush(stdout);
	fprintf(stderr, "posix-suite: %s: %s: %s\n", current ? current : "start", what_for,
		strerrorname_np(errno));
	_exit(2);
}

void be(enum who who)
{
	static const gid_t shared[] = {SHARED};
	uid_t id = who_id[who];
	must(syscall(SYS_setresuid, 0, 0, 0), "becomes root");
	must(syscall(SYS_setgroups, who == ANN ? 1 : 0, shared), "sets groups");
	must(syscall(SYS_setresgid, id, id, id), "sets the group");
	must(syscall(SYS_setresuid, id, id, 0), "sets the user");
}

void be_effective(enum who who)
{
	be(ROOT);
	must(syscall(SYS_setresgid, 0, who_id[who], 0), "sets the group");
	must(syscall(SYS_setresuid, 0, who_id[who], 0), "sets the user");
}

const char *str(const char *format, ...)
{
	static char ring[1024][512];
	static unsigned next;
	char *s = ring[next++ % COUNT(ring)];
	va_list list;
	va_start(list, format);
	vsnprintf(s, sizeof(ring[0]), format, list);
	va_end(list);
	return s;
}

const char *answer(long r)
{
	return r >= 0 ? "ok" : strerrorname_np(errno);
}

const char *opened(int fd)
{
	const char *s = answer(fd);
	if (fd >= 0)
		close(fd);
	return s;
}

static bool one_of(const char *got, const char *want)
{
	size_t length = strlen(got);
	for (const char *p = want; p; p = strchr(p, '|')) {
		p += *p == '|';
		if (strncmp(p, got, length) == 0 && (p[length] == '|' || !p[length]))
			return true;
	}
	return false;
}

void say(const char *want, const char *got, const char *name, ...)
{
	va_list list;
	printf("%s: ", current);
	va_start(list, name);
	vprintf(name, list);
	va_end(list);
	printf("\t%s\t", got);
	if (!want)
		printf("-\n");
	else if (one_of(got, want))
		printf("ok\n");
	else
		printf("not ok, documented: %s\n", want);
}

void group_here(const char *call)
{
	be(ROOT);
	umask(0);
	static struct timespec begun;
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (current)
		fprintf(stderr, "%s: %ld ms\n", current,
			(now.tv_sec - begun.tv_sec) * 1000 +
				(now.tv_nsec - begun.tv_nsec) / 1000000);
	begun = now;
	if (!base[0])
		must(getcwd(base, sizeof(base)) ? 0 : -1, "finds the working directory");
	current = call;
	must(chdir(base), "goes to the base");
}

void group(const char *call)
{
	group_here(call);
	fresh(0777);
}

void fresh(mode_t mode)
{
	const char *name = str("%s/%u", base, ++folders);
	be(ROOT);
	must(mkdir(name, 0700), "makes a folder");
	must(chmod(name, mode), "sets the folder's mode");
	must(chdir(name), "enters the folder");
}

static int bind_socket(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a.sun_path))
		return mknod(path, S_IFSOCK | 0777, 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	int r = bind(fd, (struct sockaddr *)&a, sizeof(a));
	close(fd);
	return r;
}

void make(enum kind kind, const char *path, mode_t mode)
{
	int r = -1;
	switch (kind) {
	case REG:
		r = open(path, O_CREAT | O_EXCL | O_WRONLY, mode & 07777);
		if (r >= 0)
			close(r);
		break;
	case FOLDER:
		r = mkdir(path, mode);
		break;
	case LINK:
		r = symlink("target", path);
		break;
	case FIFO:
		r = mkfifo(path, mode);
		break;
	case SOCKET:
		r = bind_socket(path);
		break;
	case CHAR:
		r = mknod(path, S_IFCHR | mode, makedev(1, 3));
		break;
	case BLOCK:
		r = mknod(path, S_IFBLK | mode, makedev(259, 70000));
		break;
	default:
		errno = EINVAL;
	}
	must(r, path);
	if (kind != LINK && (look(path).st_mode & 07777) != mode)
		must(chmod(path, mode), path);
}

void make_for(enum kind kind, const char *path, mode_t mode, uid_t uid, gid_t gid)
{
	be(ROOT);
	make(kind, path, mode);
	must(lchown(path, uid, gid), path);
	if (kind != LINK && (mode & 07000))
		must(chmod(path, mode), path);
}

void put(const char *path, const char *bytes, size_t count, mode_t mode)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);
	must(fd, path);
	must(write(fd, bytes, count) == (ssize_t)count ? 0 : -1, path);
	must(fchmod(fd, mode), path);
	close(fd);
}

void tick(void)
{
	struct timespec before, now;
	clock_gettime(CLOCK_REALTIME, &before);
	do {
		usleep(500);
		clock_gettime(CLOCK_REALTIME_COARSE, &now);
	} while (now.tv_sec < before.tv_sec ||
		 (now.tv_sec == before.tv_sec && now.tv_nsec <= before.tv_nsec));
}

static char moved(const struct timespec *a, const struct timespec *b, char name)
{
	if (a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec)
		return '-';
	bool later = b->tv_sec > a->tv_sec || (b->tv_sec == a->tv_sec && b->tv_nsec > a->tv_nsec);
	return later ? name : '<';
}

const char *advanced(const struct stat *before, const struct stat *after)
{
	return str("%c%c%c", moved(&before->st_atim, &after->st_atim, 'a'),
		moved(&before->st_mtim, &after->st_mtim, 'm'),
		moved(&before->st_ctim, &after->st_ctim, 'c'));
}

struct stat look(const char *path)
{
	struct stat st;
	must(lstat(path, &st), path);
	return st;
}

const char *id_name(unsigned id)
{
	switch (id) {
	case 0:
		return "root";
	case ANN_ID:
		return "ann";
	case BEN_ID:
		return "ben";
	case SHARED:
		return "shared";
	default:
		return str("%u", id);
	}
}

static enum kind kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return REG;
	case S_IFDIR:
		return FOLDER;
	case S_IFLNK:
		return LINK;
	case S_IFIFO:
		return FIFO;
	case S_IFSOCK:
		return SOCKET;
	case S_IFCHR:
		return CHAR;
	default:
		return BLOCK;
	}
}

const char *what(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return strerrorname_np(errno);
	/* What a directory's own size is each filesystem decides for itself. */
	const char *size = S_ISDIR(st.st_mode) ? "" : str(" size %lld", (long long)st.st_size);
	return str("%s %04o %s:%s links %lu%s", kind_name[kind_of(st.st_mode)], st.st_mode & 07777,
		id_name(st.st_uid), id_name(st.st_gid), (unsigned long)st.st_nlink, size);
}

const char *mode_of(const char *path)
{
	struct stat st;
	return lstat(path, &st) < 0 ? strerrorname_np(errno) : str("%04o", st.st_mode & 07777);
}

const char *owner_of(const char *path)
{
	struct stat st;
	if (lstat(path, &st) < 0)
		return strerrorname_np(errno);
	return str("%s:%s", id_name(st.st_uid), id_name(st.st_gid));
}

bool exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

const char *in_child(const char *(*f)(const void *), const void *argument)
{
	char got[512] = "";
	int ends[2], status;
	must(pipe(ends), "makes a pipe");
	fflush(stdout);
	pid_t child = fork();
	must(child, "forks");
	if (child == 0) {
		const char *s = f(argument);
		_exit(write(ends[1], s, strlen(s)) == (ssize_t)strlen(s) ? 0 : 1);
	}
	close(ends[1]);
	ssize_t n = read(ends[0], got, sizeof(got) - 1);
	close(ends[0]);
	must(n, "reads a child's answer");
	must(waitpid(child, &status, 0), "waits for a child");
	return n == 0 ? str("ended with status %d", status) : str("%s", got);
}
