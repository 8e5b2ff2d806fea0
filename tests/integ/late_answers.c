/* For LD_PRELOAD: the next answer with bytes waits for two seconds while the file named by
 * LATE_ANSWER is there, the next with an entry for a fifth of a second while that named by
 * LATE_ENTRY is; it goes when the waiting begins. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct fuse_req *fuse_req_t;
struct fuse_entry_param;
int fuse_reply_buf(fuse_req_t req, const char *bytes, size_t size);
int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e);

static void wait_while(const char *variable, unsigned ms)
{
	const char *flag = getenv(variable);
	if (flag && unlink(flag) == 0)
		usleep(ms * 1000);
}

int fuse_reply_buf(fuse_req_t req, const char *bytes, size_t size)
{
	int (*reply)(fuse_req_t, const char *, size_t);
	*(void **)&reply = dlsym(RTLD_NEXT, "fuse_reply_buf");
	wait_while("LATE_ANSWER", 2000);
	return reply(req, bytes, size);
}

int fuse_reply_entry(fuse_req_t req, const struct fuse_entry_param *e)
{
	int (*reply)(fuse_req_t, const struct fuse_entry_param *);
	*(void **)&reply = dlsym(RTLD_NEXT, "fuse_reply_entry");
	wait_while("LATE_ENTRY", 200);
	return reply(req, e);
}
