/* For LD_PRELOAD: the next answer with bytes waits for two seconds while the file named by
 * LATE_ANSWER is there; it goes when the waiting begins. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct fuse_req *fuse_req_t;
int fuse_reply_buf(fuse_req_t req, const char *bytes, size_t size);

int fuse_reply_buf(fuse_req_t req, const char *bytes, size_t size)
{
	int (*reply)(fuse_req_t, const char *, size_t);
	const char *flag = getenv("LATE_ANSWER");
	*(void **)&reply = dlsym(RTLD_NEXT, "fuse_reply_buf");
	if (flag && unlink(flag) == 0)
		usleep(2000 * 1000);
	return reply(req, bytes, size);
}
