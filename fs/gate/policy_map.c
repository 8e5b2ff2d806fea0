#include "fs/gate/policy_parts.h"

#include <errno.h>
#include <xxhash.h>

void policy_map_done(struct policy_map *m)
{
	free(m->slots);
	buf_done(&m->keys);
	*m = (struct policy_map){0};
}

static bool is_key(const struct policy_map *m, const struct policy_map_slot *s, uint64_t hash,
	uint32_t tag, const void *key, size_t len)
{
	return s->hash == hash && s->tag == tag && s->len == len &&
	       (!len || !memcmp(m->keys.data + s->key, key, len));
}

uint32_t policy_map_get(const struct policy_map *m, uint32_t tag, const void *key, size_t len)
{
	if (!m->cap)
		return POLICY_NONE;
	uint64_t hash = XXH3_64bits_withSeed(key, len, tag);
	for (size_t i = hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		const struct policy_map_slot *s = &m->slots[i];
		if (s->value == POLICY_NONE)
			return POLICY_NONE;
		if (is_key(m, s, hash, tag, key, len))
			return s->value;
	}
}

static void place(struct policy_map_slot *slots, size_t cap, const struct policy_map_slot *new)
{
	size_t i = new->hash &(cap - 1);
	while (slots[i].value != POLICY_NONE)
		i = (i + 1) & (cap - 1);
	slots[i] = *new;
}

static int widen(struct policy_map *m)
{
	size_t cap = m->cap ? m->cap * 2 : 64;
	struct policy_map_slot *slots = malloc(cap * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < cap; i++)
		slots[i].value = POLICY_NONE;
	for (size_t i = 0; i < m->cap; i++)
		if (m->slots[i].value != POLICY_NONE)
			place(slots, cap, &m->slots[i]);
	free(m->slots);
	m->slots = slots;
	m->cap = cap;
	return 0;
}

int policy_map_add(struct policy_map *m, uint32_t tag, const void *key, size_t len, uint32_t value)
{
	if ((m->count + 1) * 2 > m->cap && widen(m))
		return -ENOMEM;
	struct policy_map_slot s = {.hash = XXH3_64bits_withSeed(key, len, tag),
		.tag = tag,
		.key = (uint32_t)m->keys.len,
		.len = (uint32_t)len,
		.value = value};
	buf_put(&m->keys, key, len);
	if (!buf_ok(&m->keys))
		return -ENOMEM;
	place(m->slots, m->cap, &s);
	m->count++;
	return 0;
}

int policy_map_grow(void *array, size_t *cap, size_t count, size_t element)
{
	if (count < *cap)
		return 0;
	size_t more = *cap ? *cap * 2 : 16;
	void *old;
	memcpy(&old, array, sizeof(old));
	void *new = reallocarray(old, more, element);
	if (!new)
		return -ENOMEM;
	memcpy(array, &new, sizeof(new));
	*cap = more;
	return 0;
}
