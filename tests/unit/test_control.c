/* fs/control/control.c: requests and answers over the socket, sizes, refusals, a daemon that is not
 * there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fs/control/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
	char path[64];
	int fd;
	struct control *control;
};

static atomic_uint chmods_fail; /* so many of them, as on a full disk */

int fchmodat(int dirfd, const char *path, mode_t mode, int flags)
{
	(void)flags;
	if (atomic_load(&chmods_fail) && atomic_fetch_sub(&chmods_fail, 1)) {
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_fchmodat, dirfd, path, mode);
}

static void echo(void *context, const struct control_request *r, struct buf *answer)
{
	uint64_t sum = 0;
	(void)context;
	for (size_t k = 0; k < r->payload_len; k++)
		sum += (uint8_t)r->payload[k];
	if (strcmp(r->verb, "fail") == 0)
		buf_str(answer, "{\"code\": -28, \"message\": \"the disk is full\"}");
	else if (strcmp(r->verb, "say") == 0)
		buf_put(answer, r->payload, r->payload_len);
	else if (strcmp(r->verb, "garbage") == 0)
		buf_str(answer, "{\"code\": 0, \"code\": 1}");
	else
		buf_printf(answer,
			"{\"code\": 0, \"message\": \"ok\", \"len\": %zu, \"sum\": %llu, \"uid\": "
			"%u}",
			r->payload_len, (unsigned long long)sum, (unsigned)r->uid);
}

static int setup(void **state)
{
	struct place *p = calloc(1, sizeof(*p));
	struct err e = {0};
	snprintf(p->path, sizeof(p->path), "/tmp/tenantfs-control-XXXXXX");
	assert_non_null(mkdtemp(p->path));
	p->fd = open(p->path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(control_start(p->fd, echo, NULL, &p->control, &e), 0);
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct place *p = *state;
	control_stop(p->control);
	close(p->fd);
	assert_int_equal(rmdir(p->path), 0); /* the socket went with the daemon */
	free(p);
	return 0;
}

static void an_answer_comes_back(void **state)
{
	struct place *p = *state;
	AUTO_BUF answer = {0};
	struct err e = {0};
	assert_int_equal(control_call(p->fd, "status", "abc", 3, &answer, &e), 0);
	assert_non_null(strstr((char *)answer.data, "\"len\": 3, \"sum\": 294"));
}

static void a_large_payload_arrives_whole(void **state)
{
	struct place *p = *state;
	AUTO_BUF answer = {0};
	struct err e = {0};
	char *payload = malloc(CONTROL_PAYLOAD_MAX);
	memset(payload, 1, CONTROL_PAYLOAD_MAX);
	assert_int_equal(control_call(p->fd, "x", payload, CONTROL_PAYLOAD_MAX, &answer, &e), 0);
	assert_non_null(strstr((char *)answer.data, "\"len\": 1048576, \"sum\": 1048576"));
	free(payload);
}

static void a_refusal_carries_its_sentence(void **state)
{
	struct place *p = *state;
	AUTO_BUF answer = {0};
	AUTO_BUF second = {0};
	struct err e = {0};
	assert_int_equal(control_call(p->fd, "fail", "", 0, &answer, &e), -ENOSPC);
	assert_string_equal(e.text, "the disk is full");
	assert_int_equal(control_call(p->fd, "garbage", "", 0, &second, &e), -EPROTO);
}

static void an_answer_is_zero_or_an_errno(void **state)
{
	struct place *p = *state;
	static const char *const rows[] = {"{\"code\": 7}", "{\"code\": -4096}",
		"{\"code\": -4294967295}", "{\"code\": 4294967296}", "{\"code\": true}", "[]"};
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		AUTO_BUF answer = {0};
		struct err e = {0};
		assert_int_equal(
			control_call(p->fd, "say", rows[k], strlen(rows[k]), &answer, &e), -EPROTO);
		assert_int_equal(e.code, -EPROTO);
	}
}

static int raw(struct place *p, const void *bytes, size_t len, char *ret, size_t size)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", p->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	/* Who is refused at once may find the other end shut already. */
	if (len && send(fd, bytes, len, MSG_NOSIGNAL) < 0)
		assert_int_equal(errno, EPIPE);
	shutdown(fd, SHUT_WR);
	ssize_t n = recv(fd, ret, size - 1, MSG_WAITALL);
	ret[n > 0 ? n : 0] = 0;
	close(fd);
	return (int)n;
}

static void malformed_requests_are_refused(void **state)
{
	struct place *p = *state;
	static const struct {
		const char *bytes;
		size_t len;
	} rows[] = {{"", 0}, {"no newline", 10}, {"nu\0l\n", 5}, {"\0\n", 2}};
	char answer[256];
	for (size_t k = 0; k < sizeof(rows) / sizeof(rows[0]); k++) {
		raw(p, rows[k].bytes, rows[k].len, answer, sizeof(answer));
		assert_non_null(strstr(answer, "\"code\": -22"));
	}
}

static void a_silent_peer_does_not_stop_the_next(void **state)
{
	struct place *p = *state;
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	AUTO_BUF answer = {0};
	struct err e = {0};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", p->path);
	int silent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(silent, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(control_call(p->fd, "status", "", 0, &answer, &e), 0);
	close(silent);
}

static void strangers_are_not_heard(void **state)
{
	struct place *p = *state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(p->path, 0755), 0);
	assert_int_equal(fchmodat(AT_FDCWD, p->path, 0755, 0), 0);
	char socket_path[96];
	snprintf(socket_path, sizeof(socket_path), "%s/control", p->path);
	assert_int_equal(
		chmod(socket_path, 0777), 0); /* the mode alone must not be what keeps them out */
	pid_t child = fork();
	if (child == 0) {
		char answer[256];
		if (setgid(61002) < 0 || setuid(61002) < 0)
			_exit(2);
		raw(p, "status\n", 7, answer, sizeof(answer));
		_exit(strstr(answer, "\"code\": -13") ? 0 : 1);
	}
	int ended;
	waitpid(child, &ended, 0);
	assert_true(WIFEXITED(ended));
	assert_int_equal(WEXITSTATUS(ended), 0);
}

static void nobody_there_is_told_apart(void **state)
{
	(void)state;
	char path[] = "/tmp/tenantfs-control-XXXXXX";
	AUTO_BUF answer = {0};
	struct err e = {0};
	assert_non_null(mkdtemp(path));
	AUTO_CLOSE fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(control_call(fd, "status", "", 0, &answer, &e), -ENOTCONN);
	/* A socket that a killed daemon left behind is replaced by the next one. */
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/control", path);
	int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(stale, (struct sockaddr *)&a, sizeof(a)), 0);
	close(stale);
	assert_int_equal(control_call(fd, "status", "", 0, &answer, &e), -ENOTCONN);
	struct control *c;
	assert_int_equal(control_start(fd, echo, NULL, &c, &e), 0);
	assert_int_equal(control_call(fd, "status", "", 0, &answer, &e), 0);
	control_stop(c);
	assert_int_equal(rmdir(path), 0);
}

/* The disk is full once the socket has its name, and has room again by the next try. */
static void what_could_not_be_made_ready_is_made_anew(void **state)
{
	(void)state;
	char path[] = "/tmp/tenantfs-control-XXXXXX";
	struct control *c;
	struct err e = {0};
	int r = -ENOTCONN;
	assert_non_null(mkdtemp(path));
	AUTO_CLOSE fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	atomic_store(&chmods_fail, 1);
	assert_int_equal(control_start(fd, echo, NULL, &c, &e), 0);
	assert_int_equal(atomic_load(&chmods_fail), 0);
	for (unsigned i = 0; i < 100 && r == -ENOTCONN; i++) {
		AUTO_BUF answer = {0};
		usleep(100000);
		r = control_call(fd, "status", "", 0, &answer, &e);
	}
	assert_int_equal(r, 0);
	control_stop(c);
	assert_int_equal(rmdir(path), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_answer_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(a_large_payload_arrives_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(a_refusal_carries_its_sentence, setup, teardown),
		cmocka_unit_test_setup_teardown(an_answer_is_zero_or_an_errno, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed_requests_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_silent_peer_does_not_stop_the_next, setup, teardown),
		cmocka_unit_test_setup_teardown(strangers_are_not_heard, setup, teardown),
		cmocka_unit_test(nobody_there_is_told_apart),
		cmocka_unit_test(what_could_not_be_made_ready_is_made_anew),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
