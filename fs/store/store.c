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
	pthread_mutex_init(&s->rename_lock, NULL);
	return 0;
}

void store_done(struct store *s)
{
	if (s->root_fd >= 0)
		s->lower->ops->close(s->lower, s->root_fd);
	s->root_fd = -1;
	pthread_mutex_destroy(&s->rename_lock);
}

int store_alarm(const struct store *s, const struct store_alarm *alarm)
{
	if (s->alarm)
		s->alarm(s->alarm_context, alarm);
	return -EBADMSG;
}
