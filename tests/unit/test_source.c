/* keymgmt/source: options, files that others could read, first lines, commands, a terminal without
 * echo. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "keymgmt/base/cleanup.h"
#include "keymgmt/base/io.h"
#include "keymgmt/source.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

struct place {
	char path[64], file[96];
};

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	if (!p || crypto_init() < 0)
		return -1;
	snprintf(p->path, sizeof(p->path), "/tmp/source.XXXXXX");
	if (!mkdtemp(p->path))
		return -1;
	snprintf(p->file, sizeof(p->file), "%s/secret", p->path);
	*state = p;
	return 0;
}

static int remove_place(void **state)
{
	struct place *p = *state;
	unlink(p->file);
	rmdir(p->path);
	free(p);
	return 0;
}

static void put(const struct place *p, const void *bytes, size_t len, mode_t mode)
{
	unlink(p->file); /* its last mode may keep an ordinary user from writing */
	AUTO_CLOSE fd = open(p->file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, len), 0);
	assert_int_equal(fchmod(fd, mode), 0);
}

static void assert_reads(const struct source *s, enum slot_kind kind, const void *bytes, size_t len)
{
	AUTO_SECRET *secret = NULL;
	struct slot_key key;
	struct err e = {0};
	assert_int_equal(source_read(s, "Passphrase", false, &key, &secret, &e), 0);
	assert_int_equal(key.kind, kind);
	assert_ptr_equal(key.secret, secret);
	assert_int_equal(secret_len(secret), len);
	assert_memory_equal(secret_peek(secret), bytes, len);
}

static void assert_refuses(const struct source *s, int want)
{
	struct secret *secret = NULL;
	struct slot_key key = {.secret = NULL};
	struct err e = {0};
	assert_int_equal(source_read(s, "Passphrase", false, &key, &secret, &e), want);
	assert_int_equal(e.code, want);
	assert_true(strlen(e.text) > 10);
	assert_null(secret);
	assert_null(key.secret);
}

static void takes_one_source(void **state)
{
	static const char *const names[][2] = {{"passphrase-file", "passfile"},
		{"key-file", "keyfile"}, {"passphrase-command", "passcmd"},
		{"passphrase-fd", "passfd"}};
	(void)state;
	for (size_t i = 0; i < 4; i++) {
		for (size_t j = 0; j < 2; j++) {
			struct source s = SOURCE_TERMINAL;
			struct err e = {0};
			assert_false(source_given(&s));
			assert_int_equal(source_option(&s, names[i][j], "7", &e), 1);
			assert_true(source_given(&s));
			assert_int_equal(s.fd, i == 3 ? 7 : -1);
			assert_int_equal(source_option(&s, "key-file", "x", &e), -EINVAL);
			assert_int_equal(e.code, -EINVAL);
		}
	}
	static const char *const bad[] = {"", "x", "-1", "1x", "99999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct source s = SOURCE_TERMINAL;
		assert_int_equal(source_option(&s, "passphrase-fd", bad[i], NULL), -EINVAL);
		assert_false(source_given(&s));
	}
	struct source s = SOURCE_TERMINAL;
	assert_int_equal(source_option(&s, "keys", "x", NULL), 0);
}

static void the_first_line_of_a_file_counts(void **state)
{
	static const struct {
		const char *text;
		int want;
		const char *secret;
	} rows[] = {
		{"correct horse", 0, "correct horse"},
		{"correct horse\n", 0, "correct horse"},
		{"one\ntwo\n", 0, "one"},
		{" spaces stay \r\n", 0, " spaces stay \r"},
		{"", -ENOKEY, NULL},
		{"\nsecond\n", -ENOKEY, NULL},
	};
	struct place *p = *state;
	struct source s = SOURCE_TERMINAL;
	s.passphrase_file = p->file;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put(p, rows[i].text, strlen(rows[i].text), 0600);
		if (rows[i].want == 0)
			assert_reads(&s, SLOT_PASSPHRASE, rows[i].secret, strlen(rows[i].secret));
		else
			assert_refuses(&s, rows[i].want);
	}
	char line[SOURCE_PASSPHRASE_MAX + 1];
	memset(line, 'x', sizeof(line));
	put(p, line, sizeof(line) - 1, 0400);
	assert_reads(&s, SLOT_PASSPHRASE, line, sizeof(line) - 1);
	put(p, line, sizeof(line), 0600);
	assert_refuses(&s, -EFBIG);
}

static void files_that_others_reach_are_refused(void **state)
{
	static const mode_t modes[] = {0640, 0604, 0620, 0602, 0610, 0601, 0644, 0666};
	struct place *p = *state;
	struct source lines = SOURCE_TERMINAL, key = SOURCE_TERMINAL;
	char text[64];
	memset(text, 'k', sizeof(text));
	lines.passphrase_file = key.key_file = p->file;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		put(p, text, sizeof(text), modes[i]);
		assert_refuses(&lines, -EACCES);
		assert_refuses(&key, -EACCES);
	}
	put(p, text, sizeof(text), 0600);
	if (geteuid() == 0) {
		assert_int_equal(chown(p->file, 61001, 61001), 0);
		assert_refuses(&lines, -EACCES);
		assert_refuses(&key, -EACCES);
	}
	unlink(p->file);
	assert_refuses(&lines, -ENOENT);
	assert_refuses(&key, -ENOENT);
	lines.passphrase_file = key.key_file = p->path;
	assert_refuses(&lines, -EINVAL);
	assert_refuses(&key, -EINVAL);
}

static void all_bytes_of_a_key_file_count(void **state)
{
	static const struct {
		size_t len;
		int want;
	} rows[] = {{0, -ENOKEY}, {1, -EINVAL}, {31, -EINVAL}, {32, 0}, {33, 0}, {4096, 0},
		{65535, 0}, {65536, 0}, {65537, -EFBIG}};
	struct place *p = *state;
	struct source s = SOURCE_TERMINAL;
	AUTO_FREE uint8_t *bytes = malloc(70000);
	assert_non_null(bytes);
	for (size_t i = 0; i < 70000; i++)
		bytes[i] = (uint8_t)(i % 7 == 0 ? '\n' : i);
	s.key_file = p->file;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		put(p, bytes, rows[i].len, 0600);
		if (rows[i].want == 0)
			assert_reads(&s, SLOT_KEYFILE, bytes, rows[i].len);
		else
			assert_refuses(&s, rows[i].want);
	}
}

/* A child that does it in a while. */
static pid_t soon(int (*act)(const struct place *p, pid_t parent), const struct place *p)
{
	pid_t parent = getpid(), child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		usleep(200000);
		_exit(act(p, parent));
	}
	return child;
}

static int send_term(const struct place *p, pid_t parent)
{
	(void)p;
	return kill(parent, SIGTERM);
}

/* Half of it, and the rest later. */
static int write_slowly(const struct place *p, pid_t parent)
{
	static uint8_t bytes[100];
	(void)parent;
	memset(bytes, 'k', sizeof(bytes));
	int fd = open(p->file, O_WRONLY | O_CLOEXEC);
	int r = io_write_full(fd, bytes, 50);
	usleep(200000);
	return r < 0 ? 1 : io_write_full(fd, bytes, 50) < 0;
}

static void a_pipe_is_waited_for(void **state)
{
	struct place *p = *state;
	struct source line = SOURCE_TERMINAL, key = SOURCE_TERMINAL;
	uint8_t bytes[100];
	sigset_t term, before;
	int status;
	memset(bytes, 'k', sizeof(bytes));
	line.passphrase_file = key.key_file = p->file;
	unlink(p->file);
	assert_int_equal(mkfifo(p->file, 0600), 0);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	for (int kind = 0; kind < 2; kind++) {
		const struct source *s = kind ? &key : &line;
		pid_t child = soon(write_slowly, p);
		assert_reads(s, kind ? SLOT_KEYFILE : SLOT_PASSPHRASE, bytes, sizeof(bytes));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
		/* with nobody at its other end, and with somebody who says nothing */
		for (int silent = 0; silent < 2; silent++) {
			AUTO_CLOSE end = silent ? open(p->file, O_RDWR | O_CLOEXEC) : -1;
			assert_int_equal(end >= 0, silent);
			child = soon(send_term, p);
			assert_refuses(s, -ECANCELED);
			assert_int_equal(waitpid(child, &status, 0), child);
		}
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}

static void a_descriptor_gives_a_line_a_call(void **state)
{
	int ends[2];
	struct source s = SOURCE_TERMINAL;
	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(write(ends[1], "one\ntwo\nthree", 13), 13);
	close(ends[1]);
	s.fd = ends[0];
	assert_reads(&s, SLOT_PASSPHRASE, "one", 3);
	assert_reads(&s, SLOT_PASSPHRASE, "two", 3);
	assert_reads(&s, SLOT_PASSPHRASE, "three", 5);
	assert_refuses(&s, -ENOKEY);
	close(ends[0]);
	assert_refuses(&s, -EBADF);
}

static void a_command_prints_it(void **state)
{
	static const struct {
		const char *command;
		int want;
		const char *secret;
	} rows[] = {
		{"echo hello", 0, "hello"},
		{"printf 'a b\\nsecond\\n'", 0, "a b"},
		{"echo first; seq 100000", 0, "first"},
		{"true", -ENOKEY, NULL},
		{"echo pass; exit 3", -ENOKEY, NULL},
		{"false", -ENOKEY, NULL},
		{"kill -9 $$", -ENOKEY, NULL},
		{"/nonexistent/program 2>/dev/null", -ENOKEY, NULL},
		{"head -c 5000 /dev/zero | tr '\\0' x", -EFBIG, NULL},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct source s = SOURCE_TERMINAL;
		s.command = rows[i].command;
		if (rows[i].want == 0)
			assert_reads(&s, SLOT_PASSPHRASE, rows[i].secret, strlen(rows[i].secret));
		else
			assert_refuses(&s, rows[i].want);
	}
}

static void a_command_gets_no_descriptor_and_no_held_back_signal(void **state)
{
	struct source s = SOURCE_TERMINAL;
	sigset_t held, before;
	(void)state;
	AUTO_CLOSE fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd > 2);
	sigfillset(&held);
	sigprocmask(SIG_BLOCK, &held, &before);
	char command[64];
	snprintf(command, sizeof(command), "[ -e /proc/$$/fd/%d ] || echo closed", fd);
	s.command = command;
	assert_reads(&s, SLOT_PASSPHRASE, "closed", 6);
	s.command = "grep ^SigBlk /proc/self/status | tr -d '\\t'";
	assert_reads(&s, SLOT_PASSPHRASE, "SigBlk:0000000000000000", 23);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

/* What a child on a terminal of its own made of it. */
struct outcome {
	int result;      /* of source_read; its negative is the exit status */
	char seen[1024]; /* all that the terminal showed */
	bool echo;       /* on again at the end */
};

static int in_child(bool twice, const char *want)
{
	struct source s = SOURCE_TERMINAL;
	AUTO_SECRET *secret = NULL;
	struct slot_key key;
	struct termios t;
	int r = source_read(&s, "Passphrase for acme", twice, &key, &secret, NULL);
	if (r == 0 && (secret_len(secret) != strlen(want) ||
			      memcmp(secret_peek(secret), want, strlen(want)) != 0))
		return 250;
	if (tcgetattr(STDIN_FILENO, &t) < 0 || !(t.c_lflag & ECHO))
		return 251;
	return -r;
}

static bool read_until(int master, struct outcome *o, const char *word)
{
	size_t len = strlen(o->seen);
	while (!strstr(o->seen, word)) {
		ssize_t n = read(master, o->seen + len, sizeof(o->seen) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		o->seen[len] = 0;
	}
	return true;
}

/* First answers the first prompt (or, "!", sends signal); then the second, when there is one. */
static void on_terminal(bool twice, const char *first, const char *second, int sig,
	const char *want, struct outcome *ret)
{
	int master, status;
	*ret = (struct outcome){0};
	pid_t child = forkpty(&master, NULL, NULL, NULL);
	assert_true(child >= 0);
	if (child == 0)
		_exit(in_child(twice, want));
	AUTO_CLOSE owned = master;
	assert_true(read_until(owned, ret, "Passphrase for acme: "));
	if (sig)
		assert_int_equal(kill(child, sig), 0);
	else
		assert_int_equal(write(owned, first, strlen(first)), strlen(first));
	if (second) {
		assert_true(read_until(owned, ret, "(again): "));
		assert_int_equal(write(owned, second, strlen(second)), strlen(second));
	}
	(void)!read_until(owned, ret, "nothing like it");
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_not_equal(WEXITSTATUS(status), 250);
	ret->echo = WEXITSTATUS(status) != 251;
	ret->result = -WEXITSTATUS(status);
}

static void a_terminal_does_not_echo(void **state)
{
	static const struct {
		bool twice;
		const char *first, *second;
		int sig, want;
	} rows[] = {
		{false, "open sesame\n", NULL, 0, 0},
		{true, "open sesame\n", "open sesame\n", 0, 0},
		{true, "open sesame\n", "open simsim\n", 0, -EINVAL},
		{false, "\n", NULL, 0, -ENOKEY},
		{false, "\004", NULL, 0, -ENOKEY},
		{false, "\003", NULL, 0, -ECANCELED},
		{false, NULL, NULL, SIGTERM, -ECANCELED},
		{false, NULL, NULL, SIGHUP, -ECANCELED},
		{true, "open sesame\n", "\003", 0, -ECANCELED},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct outcome o;
		on_terminal(rows[i].twice, rows[i].first, rows[i].second, rows[i].sig,
			"open sesame", &o);
		assert_int_equal(o.result, rows[i].want);
		assert_true(o.echo);
		assert_null(strstr(o.seen, "open"));
	}
}

static void without_a_terminal_it_says_so(void **state)
{
	int status;
	(void)state;
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct source s = SOURCE_TERMINAL;
		struct secret *secret = NULL;
		struct slot_key key;
		setsid();
		close(STDIN_FILENO);
		if (open("/dev/null", O_RDONLY) != STDIN_FILENO)
			_exit(250);
		_exit(-source_read(&s, "Passphrase", false, &key, &secret, NULL));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), ENOTTY);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, make_place, remove_place)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_one_source),
		TEST(the_first_line_of_a_file_counts),
		TEST(files_that_others_reach_are_refused),
		TEST(all_bytes_of_a_key_file_count),
		TEST(a_descriptor_gives_a_line_a_call),
		TEST(a_command_prints_it),
		TEST(a_command_gets_no_descriptor_and_no_held_back_signal),
		TEST(a_pipe_is_waited_for),
		TEST(a_terminal_does_not_echo),
		cmocka_unit_test(without_a_terminal_it_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
