#include "fs/front/sleep.h"

#include "keymgmt/base/cleanup.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

int sleep_place(int fd, int end)
{
	struct epoll_event one = {.events = EPOLLIN | EPOLLEXCLUSIVE}, all = {.events = EPOLLIN};
	AUTO_CLOSE place = epoll_create1(EPOLL_CLOEXEC);
	if (place < 0 || epoll_ctl(place, EPOLL_CTL_ADD, fd, &one) < 0 ||
		epoll_ctl(place, EPOLL_CTL_ADD, end, &all) < 0)
		return -errno;
	int ret = place;
	place = -1;
	return ret;
}

int sleep_in(int place, int fd, int end, int ms)
{
	struct epoll_event event;
	struct pollfd both[] = {{.fd = fd, .events = POLLIN}, {.fd = end, .events = POLLIN}};
	return place < 0 ? poll(both, 2, ms) : epoll_wait(place, &event, 1, ms);
}
