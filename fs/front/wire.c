#include "fs/front/wire.h"

#include "config.h"
#include "fs/front/front.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

/* Of the request that this thread is handling. */
static _Thread_local bool drops_set_id;
static _Thread_local unsigned *unanswered_count; /* NULL: it is answered */

bool wire_caller_drops_set_id(void)
{
	return drops_set_id;
}

void wire_begin(unsigned *unanswered)
{
	unanswered_count = unanswered;
}

void wire_end(void)
{
	if (unanswered_count)
		__atomic_sub_fetch(unanswered_count, 1, __ATOMIC_RELAXED);
	unanswered_count = NULL;
}

#if HAVE_FUSE_CUSTOM_IO

/* The 32 bits at offset of what follows a request's header; 0 behind its end. */
static uint32_t field(const char *request, size_t size, size_t offset)
{
	uint32_t v = 0;
	if (sizeof(struct fuse_in_header) + offset + sizeof(v) <= size)
		memcpy(&v, request + sizeof(struct fuse_in_header) + offset, sizeof(v));
	return v;
}

static void look(struct front *f, const char *request, size_t size)
{
	struct fuse_in_header h;
	uint32_t flags = 0;
	memcpy(&h, request, sizeof(h));
	switch (h.opcode) {
	case FUSE_WRITE:
		flags = field(request, size, offsetof(struct fuse_write_in, write_flags)) &
			FUSE_WRITE_KILL_SUIDGID;
		break;
	case FUSE_SETATTR:
		flags = field(request, size, offsetof(struct fuse_setattr_in, valid)) &
			FATTR_KILL_SUIDGID;
		break;
	case FUSE_OPEN:
		flags = field(request, size, offsetof(struct fuse_open_in, open_flags)) &
			FUSE_OPEN_KILL_SUIDGID;
		break;
	case FUSE_INIT:
		if (field(request, size, offsetof(struct fuse_init_in, flags)) &
			FUSE_HANDLE_KILLPRIV_V2)
			__atomic_store_n(&f->handshake, h.unique, __ATOMIC_RELAXED);
		break;
	}
	drops_set_id = flags;
}

static ssize_t receive(int fd, void *request, size_t size, void *context)
{
	ssize_t n = read(fd, request, size);
	if (n >= (ssize_t)sizeof(struct fuse_in_header))
		look(context, request, (size_t)n);
	return n;
}

ssize_t wire_receive(struct front *f, int fd, void *request, size_t size)
{
	ssize_t n = receive(fd, request, size, f);
	return n < 0 ? -errno : n;
}

/* The answer to the handshake also asks for what the kernel has offered. */
static ssize_t answer(int fd, struct iovec *parts, int count, void *context)
{
	struct front *f = context;
	uint64_t handshake = __atomic_load_n(&f->handshake, __ATOMIC_RELAXED);
	const struct fuse_out_header *h = parts[0].iov_base;
	if (h->unique) /* else it is told of its own accord */
		wire_end();
	if (handshake && count == 2 && parts[0].iov_len == sizeof(*h)) {
		struct fuse_init_out *init = parts[1].iov_base;
		if (h->unique == handshake && h->error == 0 &&
			parts[1].iov_len >= offsetof(struct fuse_init_out, max_background)) {
			init->flags |= FUSE_HANDLE_KILLPRIV_V2;
			__atomic_store_n(&f->drops_set_id, true, __ATOMIC_RELAXED);
			__atomic_store_n(&f->handshake, 0, __ATOMIC_RELAXED);
		}
	}
	return writev(fd, parts, count);
}

int wire_attach(struct fuse_session *session)
{
	static const struct fuse_custom_io io = {.writev = answer, .read = receive};
	return fuse_session_custom_io(session, &io, fuse_session_fd(session)) ? -ENOMEM : 0;
}

#else

ssize_t wire_receive(struct front *f, int fd, void *request, size_t size)
{
	(void)f;
	ssize_t n = read(fd, request, size);
	return n < 0 ? -errno : n;
}

int wire_attach(struct fuse_session *session)
{
	(void)session;
	return 0;
}

#endif
