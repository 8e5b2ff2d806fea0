/* What every part of the store shares. */
#include "fs/store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

int store_init(struct store *s, struct lower *l, const struct keyring *keys, int tenant_fd)
{
	int fd = l->ops->openat(l, tenant_fd, "root", O_PATH | O_DIRECTORY, 0, NULL);
	if (fd < 0)
		return fd;
	*s = (struct store){
		.lower = l,
		.keys = keys,
		.suite = keyring_suite(keys),
		.root_fd = fd,
		.as_root = geteuid() == 0,
	};
	memcpy(s->tenant_uuid, keyring_owner(keys)->tenant_uuid, CRYPTO_ID_LEN);
	lock_init(&s->rename_lock, LOCK_RENAME);
	return 0;
}

void store_done(struct store *s)
{
	if (s->root_fd >= 0)
		s->lower->ops->close(s->lower, s->root_fd);
	s->root_fd = -1;
	lock_done(&s->rename_lock);
}

void store_trouble(const struct store *s, const char *what, int error)
{
	/* The store is const for everybody, but for this and its lock. */
	struct store *mine = (struct store *)(uintptr_t)s;
	int none = 0;
	if (!atomic_compare_exchange_strong(&mine->troubled, &none, error))
		return;
	atomic_store(&mine->trouble_what, what);
	if (s->trouble)
		s->trouble(s->alarm_context, what, error);
}

int store_flushed(const struct store *s, const char *what, int rc)
{
	if (rc == -EIO || rc == -ENOSPC || rc == -EDQUOT || rc == -EROFS)
		store_trouble(s, what, rc);
	return rc;
}

bool store_is_read_only(const struct store *s)
{
	return atomic_load_explicit(&s->troubled, memory_order_acquire);
}

const char *store_trouble_what(const struct store *s, int *ret_error)
{
	int error = atomic_load(&s->troubled);
	const char *what = atomic_load(&s->trouble_what);
	if (!error)
		return NULL;
	*ret_error = error;
	return what ? what : "a flush";
}

int store_alarm(const struct store *s, const struct store_alarm *alarm)
{
	lock_below(LOCK_RENAME);
	if (s->alarm)
		s->alarm(s->alarm_context, alarm);
	return -EBADMSG;
}
