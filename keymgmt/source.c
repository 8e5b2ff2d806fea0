#include "keymgmt/source.h"

#include "keymgmt/base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

bool source_given(const struct source *s)
{
	return s->passphrase_file || s->key_file || s->command || s->fd >= 0;
}

static int parse_fd(const char *value)
{
	char *end;
	errno = 0;
	long fd = strtol(value, &end, 10);
	return errno || end == value || *end || fd < 0 || fd > INT_MAX ? -EINVAL : (int)fd;
}

int source_option(struct source *s, const char *name, const char *value, struct err *e)
{
	static const struct {
		const char *name, *mount_name;
		enum { FILE_LINE, KEY_FILE, COMMAND, DESCRIPTOR } what;
	} known[] = {
		{"passphrase-file", "passfile", FILE_LINE},
		{"key-file", "keyfile", KEY_FILE},
		{"passphrase-command", "passcmd", COMMAND},
		{"passphrase-fd", "passfd", DESCRIPTOR},
	};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(name, known[i].name) != 0 && strcmp(name, known[i].mount_name) != 0)
			continue;
		if (source_given(s))
			return err_set(e, -EINVAL,
				"%s: a passphrase or key file is named already: give only one",
				name);
		switch (known[i].what) {
		case FILE_LINE:
			s->passphrase_file = value;
			return 1;
		case KEY_FILE:
			s->key_file = value;
			return 1;
		case COMMAND:
			s->command = value;
			return 1;
		case DESCRIPTOR:
			s->fd = parse_fd(value);
			return s->fd >= 0 ? 1
					  : err_set(e, -EINVAL, "%s: '%s' is no descriptor number",
						    name, value);
		}
	}
	return 0;
}

/* A descriptor that tells when one of the signals that would end us came, of those that the caller
 * holds back; -1: it holds back none, so that they end us. */
static int held_signals(void)
{
	static const int endings[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t held, watched;
	bool any = false;
	sigemptyset(&watched);
	if (pthread_sigmask(SIG_BLOCK, NULL, &held) != 0)
		return -1;
	for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		if (sigismember(&held, endings[i]) == 1) {
			sigaddset(&watched, endings[i]);
			any = true;
		}
	return any ? signalfd(-1, &watched, SFD_CLOEXEC) : -1;
}

/* Until there is something to read, or the end. -ECANCELED: a signal came; it is taken. */
static int wait_for_input(int fd, int signals)
{
	struct pollfd wait[] = {{fd, POLLIN, 0}, {signals, POLLIN, 0}};
	while (poll(wait, 2, -1) < 0)
		if (errno != EINTR)
			return -errno;
	struct signalfd_siginfo info;
	if (wait[1].revents)
		return read(signals, &info, sizeof(info)) < 0 ? -errno : -ECANCELED;
	return 0;
}

/* Reads up to the first newline or the end, byte by byte: what follows belongs to the next reader.
 */
static int read_line(int fd, struct secret **ret)
{
	AUTO_SECRET *s = secret_new(SOURCE_PASSPHRASE_MAX + 1);
	AUTO_CLOSE signals = held_signals();
	size_t len = 0;
	if (!s)
		return -ENOMEM;
	for (;;) {
		int r = wait_for_input(fd, signals);
		if (r < 0)
			return r;
		ssize_t n = read(fd, secret_bytes(s) + len, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || secret_peek(s)[len] == '\n')
			break;
		if (++len > SOURCE_PASSPHRASE_MAX)
			return -EFBIG;
	}
	if (len == 0)
		return -ENOKEY;
	secret_truncate(s, len);
	*ret = s;
	s = NULL;
	return 0;
}

/* Up to len bytes, fewer at the end only; their count. -ECANCELED as wait_for_input. */
static ssize_t read_all(int fd, uint8_t *bytes, size_t len)
{
	AUTO_CLOSE signals = held_signals();
	size_t done = 0;
	while (done < len) {
		int r = wait_for_input(fd, signals);
		if (r < 0)
			return r;
		ssize_t n = read(fd, bytes + done, len - done);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

/*
 * A file for secrets: others may not read it, and nobody else could have written it. O_NONBLOCK:
 * who writes to a pipe is waited for where a signal can end that, and not here.
 */
static int open_private(const char *path, struct err *e)
{
	struct stat st;
	AUTO_CLOSE fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(e, -errno, "cannot open %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_set(e, -EINVAL, "%s is not a file: give a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(
			e, -EACCES, "%s belongs to another user: give a file of your own", path);
	if (st.st_mode & 077)
		return err_set(
			e, -EACCES, "others may read or write %s: run 'chmod 600 %s'", path, path);
	int ret = fd;
	fd = -1;
	return ret;
}

static int read_key_file(const char *path, struct secret **ret, struct err *e)
{
	AUTO_CLOSE fd = open_private(path, e);
	if (fd < 0)
		return fd;
	AUTO_SECRET *s = secret_new(SOURCE_KEY_FILE_MAX);
	uint8_t more = 0;
	if (!s)
		return err_set(e, -ENOMEM, "no memory for key file %s", path);
	ssize_t n = read_all(fd, secret_bytes(s), SOURCE_KEY_FILE_MAX);
	ssize_t rest = n == SOURCE_KEY_FILE_MAX ? read_all(fd, &more, 1) : 0;
	crypto_wipe(&more, 1);
	if (n == -ECANCELED || rest == -ECANCELED)
		return err_set(e, -ECANCELED, "interrupted: nothing was changed");
	if (n < 0 || rest < 0)
		return err_set(e, n < 0 ? (int)n : (int)rest, "cannot read key file %s", path);
	if (rest > 0)
		return err_set(
			e, -EFBIG, "key file %s has more than %d bytes", path, SOURCE_KEY_FILE_MAX);
	if (n == 0)
		return err_set(e, -ENOKEY, "key file %s is empty", path);
	if (n < SOURCE_KEY_FILE_MIN)
		return err_set(e, -EINVAL,
			"key file %s has less than %d bytes: make one with 'head -c 64 "
			"/dev/urandom'",
			path, SOURCE_KEY_FILE_MIN);
	secret_truncate(s, (size_t)n);
	*ret = s;
	s = NULL;
	return 0;
}

/* In the child: the pipe on descriptor 1, no signal held back, and the command. */
static void run_command(const char *command, int out)
{
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (out == STDOUT_FILENO ? fcntl(out, F_SETFD, 0) < 0 : dup2(out, STDOUT_FILENO) < 0)
		_exit(127);
	execl("/bin/sh", "sh", "-c", command, (char *)NULL);
	_exit(127);
}

/* Password managers print more than the first line, and would fail by SIGPIPE were it not read. */
static void drain(int fd)
{
	AUTO_SECRET *rest = secret_new(SOURCE_PASSPHRASE_MAX);
	while (rest) {
		ssize_t n = read(fd, secret_bytes(rest), SOURCE_PASSPHRASE_MAX);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
	}
}

static int read_command(const char *command, struct secret **ret, struct err *e)
{
	int ends[2], status;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_set(e, -errno, "cannot make a pipe: %s", strerror(errno));
	AUTO_CLOSE in = ends[0];
	AUTO_CLOSE out = ends[1];
	pid_t child = fork();
	if (child < 0)
		return err_set(e, -errno, "cannot run the passphrase command: %s", strerror(errno));
	if (child == 0)
		run_command(command, out);
	close(out);
	out = -1;
	AUTO_SECRET *s = NULL;
	int r = read_line(in, &s);
	if (r == -ECANCELED)
		kill(child, SIGTERM);
	else
		drain(in);
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return err_set(e, -errno, "cannot wait for the passphrase command: %s",
				strerror(errno));
	if (r == -ECANCELED)
		return err_set(e, r, "interrupted: nothing was changed");
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
		return err_set(e, -ENOKEY, "the passphrase command failed with status %d",
			WEXITSTATUS(status));
	if (WIFSIGNALED(status))
		return err_set(e, -ENOKEY, "the passphrase command was ended by signal %d",
			WTERMSIG(status));
	if (r == -ENOKEY)
		return err_set(e, r, "the passphrase command printed nothing");
	if (r < 0)
		return err_set(
			e, r, "cannot use what the passphrase command printed: %s", strerror(-r));
	*ret = s;
	s = NULL;
	return 0;
}

/* A terminal with echo off and the signals that would end us held back, so that echo always comes
 * back. */
struct quiet_terminal {
	int fd, signals;
	struct termios before;
	sigset_t mask_before;
};

static void quiet_end(struct quiet_terminal *q)
{
	if (q->fd >= 0) {
		tcsetattr(q->fd, TCSAFLUSH, &q->before);
		pthread_sigmask(SIG_SETMASK, &q->mask_before, NULL);
	}
	cleanup_close(&q->signals);
}

static int quiet_begin(struct quiet_terminal *q, int fd)
{
	struct termios quiet;
	sigset_t ending;
	if (tcgetattr(fd, &q->before) < 0)
		return -errno;
	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigaddset(&ending, SIGQUIT);
	q->signals = signalfd(-1, &ending, SFD_CLOEXEC);
	if (q->signals < 0)
		return -errno;
	sigaddset(&ending, SIGTSTP); /* a stop waits until the prompt is over */
	pthread_sigmask(SIG_BLOCK, &ending, &q->mask_before);
	q->fd = fd;
	quiet = q->before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	return tcsetattr(fd, TCSAFLUSH, &quiet) < 0 ? -errno : 0;
}

/* One line of the terminal; a canonical one is there whole once poll says so. */
static int read_quiet_line(const struct quiet_terminal *q, struct secret **ret)
{
	struct pollfd wait[] = {{q->fd, POLLIN, 0}, {q->signals, POLLIN, 0}};
	for (;;) {
		if (poll(wait, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (wait[1].revents) {
			struct signalfd_siginfo info;
			return read(q->signals, &info, sizeof(info)) < 0 ? -errno : -ECANCELED;
		}
		if (wait[0].revents)
			return read_line(q->fd, ret);
	}
}

static int ask(int fd, const char *prompt, struct secret **ret)
{
	AUTO(quiet_end) struct quiet_terminal q = {.fd = -1, .signals = -1};
	int r = quiet_begin(&q, fd);
	if (r < 0)
		return r;
	if (dprintf(fd, "%s: ", prompt) < 0)
		return -EIO;
	r = read_quiet_line(&q, ret);
	(void)!write(fd, "\n", 1);
	return r;
}

static int ask_terminal(const char *prompt, bool twice, struct secret **ret, struct err *e)
{
	char again[256];
	AUTO_SECRET *first = NULL;
	AUTO_SECRET *second = NULL;
	AUTO_CLOSE tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	int fd = tty >= 0 ? tty : STDIN_FILENO;
	if (tty < 0 && !isatty(STDIN_FILENO))
		return err_set(e, -ENOTTY,
			"there is no terminal to ask for the passphrase: give a passphrase file, "
			"descriptor or "
			"command, or a key file");
	int r = ask(fd, prompt, &first);
	if (r == 0 && twice) {
		snprintf(again, sizeof(again), "%s (again)", prompt);
		r = ask(fd, again, &second);
	}
	if (r == -ECANCELED)
		return err_set(e, r, "interrupted: nothing was changed");
	if (r == -ENOKEY)
		return err_set(e, r, "the passphrase is empty");
	if (r == -EFBIG)
		return err_set(e, r, "a passphrase has at most %d bytes", SOURCE_PASSPHRASE_MAX);
	if (r < 0)
		return err_set(e, r, "cannot read from the terminal: %s", strerror(-r));
	if (twice && !secret_equal(first, second))
		return err_set(e, -EINVAL, "the two passphrases differ: try again");
	*ret = first;
	first = NULL;
	return 0;
}

static int read_described_line(int fd, const char *what, struct secret **ret, struct err *e)
{
	int r = read_line(fd, ret);
	if (r == -ECANCELED)
		return err_set(e, r, "interrupted: nothing was changed");
	if (r == -ENOKEY)
		return err_set(e, r, "the passphrase in %s is empty", what);
	if (r == -EFBIG)
		return err_set(e, r, "the first line of %s has more than %d bytes", what,
			SOURCE_PASSPHRASE_MAX);
	return r < 0 ? err_set(e, r, "cannot read the passphrase from %s: %s", what, strerror(-r))
		     : 0;
}

static int read_passphrase_file(const char *path, struct secret **ret, struct err *e)
{
	AUTO_CLOSE fd = open_private(path, e);
	return fd < 0 ? fd : read_described_line(fd, path, ret, e);
}

int source_read(const struct source *s, const char *prompt, bool twice, struct slot_key *ret,
	struct secret **ret_secret, struct err *e)
{
	struct secret *secret = NULL;
	char what[32];
	int r;
	if (s->key_file) {
		r = read_key_file(s->key_file, &secret, e);
	} else if (s->passphrase_file) {
		r = read_passphrase_file(s->passphrase_file, &secret, e);
	} else if (s->command) {
		r = read_command(s->command, &secret, e);
	} else if (s->fd >= 0) {
		snprintf(what, sizeof(what), "descriptor %d", s->fd);
		r = read_described_line(s->fd, what, &secret, e);
	} else {
		r = ask_terminal(prompt, twice, &secret, e);
	}
	if (r < 0)
		return r;
	*ret_secret = secret;
	*ret = (struct slot_key){s->key_file ? SLOT_KEYFILE : SLOT_PASSPHRASE, secret};
	return 0;
}
