#include "fs/front/handle.h"

#include <stdlib.h>

void handle_list_init(struct handle_list *l)
{
	lock_init(&l->lock, LOCK_HANDLES);
	l->head.next = l->head.prev = &l->head;
	l->count = 0;
}

void handle_list_done(struct handle_list *l)
{
	lock_done(&l->lock);
}

struct handle *handle_new(void)
{
	struct handle *h = calloc(1, sizeof(*h));
	if (h)
		lock_init(&h->cursor_lock, LOCK_CURSOR);
	return h;
}

void handle_add(struct handle_list *l, struct handle *h)
{
	lock_take(&l->lock);
	h->next = l->head.next;
	h->prev = &l->head;
	h->next->prev = h;
	l->head.next = h;
	l->count++;
	lock_drop(&l->lock);
}

void handle_remove(struct handle_list *l, struct handle *h)
{
	lock_take(&l->lock);
	h->prev->next = h->next;
	h->next->prev = h->prev;
	l->count--;
	lock_drop(&l->lock);
}

void handle_free(struct handle *h)
{
	if (!h)
		return;
	lock_done(&h->cursor_lock);
	free(h);
}

void handle_each(
	struct handle_list *l, void (*visit)(void *context, struct handle *h), void *context)
{
	lock_take(&l->lock);
	for (struct handle *h = l->head.next; h != &l->head; h = h->next)
		visit(context, h);
	lock_drop(&l->lock);
}
