#include "keymgmt/secret.h"

#include "keymgmt/base/lock.h"

#include <sodium.h>

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define SECRET_MAX 65536
#define SMALL_LEN 64     /* secrets up to this long share pages */
#define SLAB_BYTES 16384 /* locked at a time: ordinary users may lock only a few MiB */
#define MAP_PAGE 4096

/* The struct itself is public; only `bytes` points into locked memory. */
struct secret {
	uint8_t *bytes;
	size_t len;
	size_t mapped; /* bytes of a mapping of its own, 0: a cell of a slab */
	uint64_t id;
};

/* A free cell. Its remaining bytes are zero. */
struct cell {
	struct cell *next;
	uint8_t zero[SMALL_LEN - sizeof(struct cell *)];
};

/* Memory is a resource of the whole process, hence these are globals. */
static struct lock_mutex slab_lock = LOCK_MUTEX(LOCK_SECRETS);
static struct cell *slab_free; /* slab_lock */
static _Atomic uint64_t last_id;

static void *locked_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	if (mlock(p, bytes) < 0 || madvise(p, bytes, MADV_DONTDUMP) < 0) {
		munmap(p, bytes);
		return NULL;
	}
	return p;
}

static bool slab_grow(void)
{
	struct cell *cells = locked_map(SLAB_BYTES);
	if (!cells)
		return false;
	for (size_t i = 0; i < SLAB_BYTES / sizeof(*cells); i++) {
		cells[i].next = slab_free;
		slab_free = &cells[i];
	}
	return true;
}

/* Zeroed, SMALL_LEN bytes. Slabs are never given back: the next secret wants them. */
static uint8_t *cell_new(void)
{
	struct cell *c = NULL;
	lock_take(&slab_lock);
	if (slab_free || slab_grow()) {
		c = slab_free;
		slab_free = c->next;
		c->next = NULL;
	}
	lock_drop(&slab_lock);
	return (uint8_t *)c;
}

static void cell_free(uint8_t *bytes)
{
	struct cell *c = (struct cell *)(void *)bytes;
	sodium_memzero(c, sizeof(*c));
	lock_take(&slab_lock);
	c->next = slab_free;
	slab_free = c;
	lock_drop(&slab_lock);
}

struct secret *secret_new(size_t len)
{
	if (len < 1 || len > SECRET_MAX)
		return NULL;
	struct secret *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	if (len > SMALL_LEN)
		s->mapped = (len + MAP_PAGE - 1) / MAP_PAGE * MAP_PAGE;
	s->bytes = s->mapped ? locked_map(s->mapped) : cell_new();
	if (!s->bytes) {
		free(s);
		return NULL;
	}
	s->len = len;
	s->id = atomic_fetch_add(&last_id, 1) + 1;
	return s;
}

struct secret *secret_random(size_t len)
{
	struct secret *s = secret_new(len);
	if (s)
		randombytes_buf(s->bytes, len);
	return s;
}

struct secret *secret_copy(const struct secret *s)
{
	struct secret *copy = secret_new(s->len);
	if (copy)
		memcpy(copy->bytes, s->bytes, s->len);
	return copy;
}

void secret_free(struct secret *s)
{
	if (!s)
		return;
	if (s->mapped) {
		sodium_memzero(s->bytes, s->mapped);
		munmap(s->bytes, s->mapped);
	} else {
		cell_free(s->bytes);
	}
	free(s);
}

uint8_t *secret_bytes(struct secret *s)
{
	s->id = atomic_fetch_add(&last_id, 1) + 1;
	return s->bytes;
}

const uint8_t *secret_peek(const struct secret *s)
{
	return s->bytes;
}

size_t secret_len(const struct secret *s)
{
	return s->len;
}

void secret_truncate(struct secret *s, size_t len)
{
	if (len >= s->len)
		return;
	sodium_memzero(s->bytes + len, s->len - len);
	s->len = len;
	s->id = atomic_fetch_add(&last_id, 1) + 1;
}

uint64_t secret_id(const struct secret *s)
{
	return s->id;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
	return a->len == b->len && sodium_memcmp(a->bytes, b->bytes, a->len) == 0;
}

/* Whether memory may be locked without a limit. Root in a container or user namespace may not, and
 * would find every later mapping refused once all it has exceeds RLIMIT_MEMLOCK. */
static bool may_lock_everything(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return false;
	if (limit.rlim_cur == RLIM_INFINITY)
		return true;
	const struct rlimit zero = {0, limit.rlim_max};
	long size = sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return false;
	bool may = setrlimit(RLIMIT_MEMLOCK, &zero) == 0 && mlock(page, (size_t)size) == 0;
	munmap(page, (size_t)size);
	return setrlimit(RLIMIT_MEMLOCK, &limit) == 0 && may;
}

int secret_harden_process(void)
{
	const struct rlimit none = {0, 0};
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return -errno;
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return -errno;
	/* A sanitizer's shadow memory cannot be locked, and some containers forbid it: secrets are
	 * locked one by one anyway, so that this is a second layer and its refusal no reason not to
	 * start. */
	if (geteuid() == 0 && may_lock_everything() &&
		mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0 && errno != ENOMEM &&
		errno != EPERM && errno != EINVAL)
		return -errno;
	return 0;
}
