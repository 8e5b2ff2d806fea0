#include "fs/control/control.h"

#include "keymgmt/base/io.h"
#include "keymgmt/base/jsontext.h"
#include "keymgmt/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define SOCKET_NAME "control"
#define ERRNO_MAX 4095
#define BIND_AGAIN_MS 2000
#define PEER_TIMEOUT_SECONDS 5 /* a peer that says nothing must not hold the others up for long */

struct control {
	int tenant_fd; /* owned duplicate */
	int listener, stop;
	bool bound;       /* of the thread, once it runs */
	int bind_refused; /* -errno that was said last; of the thread, too */
	uid_t store_owner;
	control_handler *handler;
	void *context;
	pthread_t thread;
};

/* A path short enough for sun_path whatever the store's: through our own descriptor. */
static void socket_address(int tenant_fd, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d/" SOCKET_NAME, tenant_fd);
}

static void refuse(struct buf *answer, int code, const char *message)
{
	buf_printf(answer, "{\"code\": %d, \"message\": ", code);
	buf_json(answer, message);
	buf_str(answer, "}");
}

/* Verb, newline, payload: everything up to the peer's end of stream. 0 or -errno. */
static int read_request(int fd, struct buf *b)
{
	while (b->len <= CONTROL_PAYLOAD_MAX + 64) {
		if (!buf_reserve(b, 4096))
			return -ENOMEM;
		ssize_t n = read(fd, b->data + b->len, 4096);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		b->len += (size_t)n;
		b->data[b->len] = 0;
	}
	return -E2BIG;
}

static void dispatch(
	struct control *c, struct buf *request, const struct ucred *peer, struct buf *answer)
{
	char *verb = (char *)request->data;
	char *newline = verb ? memchr(verb, '\n', request->len) : NULL;
	if (!newline || memchr(verb, 0, (size_t)(newline - verb))) {
		refuse(answer, -EINVAL, "the request is not a verb and a newline");
		return;
	}
	*newline = 0;
	struct control_request r = {.verb = verb,
		.payload = newline + 1,
		.payload_len = request->len - (size_t)(newline + 1 - verb),
		.uid = peer->uid,
		.gid = peer->gid,
		.pid = peer->pid};
	c->handler(c->context, &r, answer);
}

static void serve(struct control *c, int fd)
{
	struct timeval timeout = {.tv_sec = PEER_TIMEOUT_SECONDS};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	AUTO_BUF request = {0};
	AUTO_BUF answer = {0};
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) < 0 ||
		getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return;
	if (peer.uid != 0 && peer.uid != c->store_owner) {
		refuse(&answer, -EACCES,
			"only root and the store's owner may control a mounted tenant");
	} else {
		int r = read_request(fd, &request);
		if (r < 0)
			refuse(&answer, r, "the request could not be read in full");
		else
			dispatch(c, &request, &peer, &answer);
	}
	static const char no_memory[] =
		"{\"code\": -12, \"message\": \"the daemon has not enough memory for an answer\"}";
	_Static_assert(ENOMEM == 12, "no_memory");
	const void *bytes = buf_ok(&answer) ? (const void *)answer.data : no_memory;
	/* A peer that went away has no use for the answer. */
	if (send(fd, bytes, buf_ok(&answer) ? answer.len : sizeof(no_memory) - 1, MSG_NOSIGNAL) < 0)
		return;
}

static int make_sockets(struct control *c)
{
	struct stat st;
	c->stop = eventfd(0, EFD_CLOEXEC);
	if (c->stop < 0 || fstat(c->tenant_fd, &st) < 0)
		return -errno;
	c->store_owner = st.st_uid;
	return 0;
}

static int bind_socket(struct control *c)
{
	struct sockaddr_un address;
	/* One that was bound and could not be made ready is of no use any more. */
	if (c->listener >= 0)
		close(c->listener);
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->listener < 0 || (unlinkat(c->tenant_fd, SOCKET_NAME, 0) < 0 && errno != ENOENT))
		return -errno;
	socket_address(c->tenant_fd, &address);
	if (bind(c->listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		fchmodat(c->tenant_fd, SOCKET_NAME, 0600, 0) < 0 || listen(c->listener, 8) < 0)
		return -errno;
	c->bound = true;
	return 0;
}

/* The socket's name needs an inode, and what could free one is done through the mount: it is made
 * as soon as there is room. */
static bool is_for_later(int r)
{
	return r == -ENOSPC || r == -EDQUOT;
}

static void bind_again(struct control *c)
{
	int r = bind_socket(c);
	if (r == 0)
		log_say(LOG_LEVEL_INFO, "There is room again: tenantctl reaches the mount.");
	else if (!is_for_later(r) && r != c->bind_refused)
		log_say(LOG_LEVEL_WARNING,
			"The control socket cannot be opened, now for another reason (%s): "
			"tenantctl cannot reach this mount; mount again, or see what stands in the "
			"tenant's folder as \"control\".",
			strerror(-r));
	c->bind_refused = r;
}

static void *listen_loop(void *context)
{
	struct control *c = context;
	for (;;) {
		/* poll passes over what is negative. */
		struct pollfd fds[2] = {{.fd = c->bound ? c->listener : -1, .events = POLLIN},
			{.fd = c->stop, .events = POLLIN}};
		if (poll(fds, 2, c->bound ? -1 : BIND_AGAIN_MS) < 0 && errno != EINTR)
			break;
		if (fds[1].revents)
			break;
		if (!c->bound)
			bind_again(c);
		if (!(fds[0].revents & POLLIN))
			continue;
		AUTO_CLOSE fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0)
			serve(c, fd);
	}
	return NULL;
}

static void release(struct control *c)
{
	if (c->listener >= 0)
		close(c->listener);
	if (c->stop >= 0)
		close(c->stop);
	if (c->tenant_fd >= 0)
		close(c->tenant_fd);
	free(c);
}

int control_start(
	int tenant_fd, control_handler *handler, void *context, struct control **ret, struct err *e)
{
	struct control *c = calloc(1, sizeof(*c));
	if (!c)
		return err_set(e, -ENOMEM, "Not enough memory.");
	c->listener = c->stop = -1;
	c->handler = handler;
	c->context = context;
	c->tenant_fd = fcntl(tenant_fd, F_DUPFD_CLOEXEC, 0);
	int r = c->tenant_fd < 0 ? -errno : make_sockets(c);
	if (r == 0)
		r = bind_socket(c);
	if (is_for_later(r)) {
		log_say(LOG_LEVEL_WARNING,
			"The disk is full: tenantctl cannot reach this mount until there is room "
			"for its "
			"socket (%s).",
			strerror(-r));
		r = 0;
	}
	if (r == 0)
		r = -pthread_create(&c->thread, NULL, listen_loop, c);
	if (r < 0) {
		release(c);
		return err_set(e, r, "Cannot open the control socket in the tenant's folder: %s.",
			strerror(-r));
	}
	*ret = c;
	return 0;
}

void control_stop(struct control *c)
{
	uint64_t one = 1;
	if (!c)
		return;
	if (write(c->stop, &one, sizeof(one)) == (ssize_t)sizeof(one))
		pthread_join(c->thread, NULL);
	unlinkat(c->tenant_fd, SOCKET_NAME, 0);
	release(c);
}

/* Whoever can write to the store could listen in our place: only root's or the owner's daemon is
 * believed. */
static int connect_trusted(int tenant_fd, struct err *e)
{
	struct sockaddr_un address;
	struct ucred peer;
	struct stat st;
	socklen_t len = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(e, -errno, "Cannot make a socket: %s.", strerror(errno));
	socket_address(tenant_fd, &address);
	int r = 0;
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		r = errno == ENOENT || errno == ECONNREFUSED
			    ? -ENOTCONN
			    : err_set(e, -errno,
				      "Cannot reach the daemon that has the tenant mounted: %s.",
				      strerror(errno));
	/* Root needs no owner to be compared with, whom a disk that is gone does not tell. */
	else if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 ||
		 (peer.uid != 0 && fstat(tenant_fd, &st) < 0))
		r = err_set(e, -errno, "Cannot tell who answers on the control socket: %s.",
			strerror(errno));
	else if (peer.uid != 0 && peer.uid != st.st_uid)
		r = err_set(e, -EACCES,
			"The control socket belongs to uid %u, who is neither root nor the "
			"store's owner; unmount the tenant and look who wrote to the store.",
			(unsigned)peer.uid);
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* code and message of the answer. */
static int judge_answer(const struct buf *answer, struct err *e)
{
	json_t *o = NULL;
	int r = jsontext_parse(answer->data, answer->len, &o);
	if (r == -ENOMEM)
		return err_set(e, r, "Not enough memory.");
	json_t *code = json_object_get(o, "code");
	r = -EPROTO;
	/* Nothing but 0 and what errno can be: callers take anything else for success or for
	 * another error. */
	if (json_is_integer(code) && json_integer_value(code) <= 0 &&
		json_integer_value(code) >= -ERRNO_MAX) {
		const char *message = json_string_value(json_object_get(o, "message"));
		r = (int)json_integer_value(code);
		if (r < 0)
			err_set(e, r, "%s", message ? message : strerror(-r));
	} else {
		err_set(e, r,
			"The daemon's answer is not understood; are daemon and tool of one "
			"version?");
	}
	json_decref(o);
	return r;
}

int control_call(int tenant_fd, const char *verb, const char *payload, size_t payload_len,
	struct buf *ret_answer, struct err *e)
{
	AUTO_CLOSE fd = connect_trusted(tenant_fd, e);
	if (fd < 0)
		return fd;
	AUTO_BUF request = {0};
	buf_printf(&request, "%s\n", verb);
	buf_put(&request, payload, payload_len);
	if (!buf_ok(&request))
		return err_set(e, -ENOMEM, "Not enough memory.");
	for (size_t done = 0; done < request.len;) {
		ssize_t n = send(fd, request.data + done, request.len - done, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break; /* the daemon may have answered already, a refusal for instance */
		done += (size_t)n;
	}
	shutdown(fd, SHUT_WR);
	for (;;) {
		if (!buf_reserve(ret_answer, 4096))
			return err_set(e, -ENOMEM, "Not enough memory.");
		ssize_t n = io_read_full(fd, ret_answer->data + ret_answer->len, 4096);
		if (n < 0 || (n == 0 && ret_answer->len == 0))
			return err_set(e, n < 0 ? (int)n : -EPIPE, "The daemon did not answer.");
		ret_answer->len += (size_t)n;
		ret_answer->data[ret_answer->len] = 0;
		if (n < 4096)
			break;
	}
	return judge_answer(ret_answer, e);
}
