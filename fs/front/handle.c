#include "fs/front/handle.h"

#include <stdlib.h>

void handle_list_init(struct handle_list *l)
{
	pthread_mutex_init(&l->lock, NULL);
	l->head.next = l->head.prev = &l->head;
	l->count = 0;
}

void handle_list_done(struct handle_list *l)
{
	pthread_mutex_destroy(&l->lock);
}

struct handle *handle_new(void)
{
	struct handle *h = calloc(1, sizeof(*h));
	if (h)
		pthread_mutex_init(&h->cursor_lock, NULL);
	return h;
}

void handle_add(struct handle_list *l, struct handle *h)
{
	pthread_mutex_lock(&l->lock);
	h->next = l->head.next;
	h->prev = &l->head;
	h->next->prev = h;
	l->head.next = h;
	l->count++;
	pthread_mutex_unlock(&l->lock);
}

void handle_remove(struct handle_list *l, struct handle *h)
{
	pthread_mutex_lock(&l->lock);
	h->prev->next = h->next;
	h->next->prev = h->prev;
	l->count--;
	pthread_mutex_unlock(&l->lock);
}

void handle_free(struct handle *h)
{
	if (!h)
		return;
	pthread_mutex_destroy(&h->cursor_lock);
	free(h);
}

void handle_each(
	struct handle_list *l, void (*visit)(void *context, struct handle *h), void *context)
{
	pthread_mutex_lock(&l->lock);
	for (struct handle *h = l->head.next; h != &l->head; h = h->next)
		visit(context, h);
	pthread_mutex_unlock(&l->lock);
}
