#include "keymgmt/slot.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_MILLISECONDS 1000
#define DEFAULT_MEMORY_KIB 262144

/* Labels of docs/format.md, "Slots". */
#define LABEL_KEYFILE "tfs-keyfile"
#define LABEL_SECRET "tfs-slot-secret"
#define LABEL_TRK "tfs-slot-trk"

bool slot_cost_ok(const struct crypto_pwhash *p)
{
	return p->iterations >= 1 && p->memory_kib >= 8 && p->memory_kib <= SLOT_MEMORY_KIB_MAX &&
	       p->iterations <= SLOT_WORK_KIB_MAX / p->memory_kib;
}

static bool key_ok(const struct slot_key *key)
{
	size_t len = secret_len(key->secret);
	return key->kind == SLOT_PASSPHRASE ||
	       (key->kind == SLOT_KEYFILE && len >= SLOT_KEYFILE_MIN && len <= SLOT_KEYFILE_MAX);
}

static int choose_cost(const struct slot_cost *wanted, struct crypto_pwhash *ret)
{
	struct slot_cost c = {0};
	if (wanted)
		c = *wanted;
	if (c.milliseconds == 0)
		c.milliseconds = DEFAULT_MILLISECONDS;
	if (c.memory_kib == 0) {
		uint64_t quarter_kib = (uint64_t)sysconf(_SC_PHYS_PAGES) *
				       ((uint64_t)sysconf(_SC_PAGESIZE) / 1024) / 4;
		c.memory_kib = quarter_kib < DEFAULT_MEMORY_KIB ? quarter_kib : DEFAULT_MEMORY_KIB;
	}
	if (c.memory_kib > SLOT_MEMORY_KIB_MAX)
		return -EINVAL;
	struct crypto_pwhash p = {.iterations = c.iterations, .memory_kib = c.memory_kib};
	if (c.iterations == 0) {
		int r = crypto_pwhash_calibrate(c.milliseconds, c.memory_kib, &p);
		if (r < 0)
			return r;
		if (p.iterations > SLOT_WORK_KIB_MAX / p.memory_kib)
			p.iterations = SLOT_WORK_KIB_MAX / p.memory_kib;
	}
	if (!slot_cost_ok(&p))
		return -EINVAL;
	*ret = p;
	return 0;
}

/* The key that seals the slot's secret key. */
static int stretch(const struct slot_key *key, const struct crypto_pwhash *p, struct secret **ret)
{
	if (key->kind == SLOT_PASSPHRASE)
		return crypto_pwhash_run(key->secret, p, ret);
	*ret = crypto_derive(key->secret, LABEL_KEYFILE, p->salt, sizeof(p->salt), KEY_LEN);
	return *ret ? 0 : -ENOMEM;
}

/* label || owner || id: what the slot's wrap is associated with, and what is hashed beside TRK. */
struct place {
	uint8_t bytes[64];
	size_t len;
};

static struct place place_of(const char *label, const uint8_t *owner, const uint8_t *id)
{
	struct place p = {.len = strlen(label)};
	memcpy(p.bytes, label, p.len);
	memcpy(p.bytes + p.len, owner, SLOT_OWNER_LEN);
	memcpy(p.bytes + p.len + SLOT_OWNER_LEN, id, CRYPTO_ID_LEN);
	p.len += SLOT_OWNER_LEN + CRYPTO_ID_LEN;
	return p;
}

int slot_seal_trk(const uint8_t owner[static SLOT_OWNER_LEN],
	const uint8_t id[static CRYPTO_ID_LEN], const uint8_t public_key[static KEY_LEN],
	const struct secret *trk, uint8_t ret[static SLOT_TRK_LEN])
{
	struct place place = place_of(LABEL_TRK, owner, id);
	if (secret_len(trk) != KEY_LEN)
		return -EIO;
	AUTO_SECRET *both = secret_new(SLOT_TRK_LEN - CRYPTO_SEALED_BOX_EXTRA);
	if (!both)
		return -ENOMEM;
	memcpy(secret_bytes(both), secret_peek(trk), KEY_LEN);
	crypto_digest(place.bytes, place.len, secret_bytes(both) + KEY_LEN, KEY_LEN);
	return crypto_box_seal_to(public_key, both, ret);
}

int slot_create(enum crypto_suite suite, const uint8_t owner[static SLOT_OWNER_LEN],
	const struct slot_key *key, const struct slot_cost *cost, const struct secret *trk,
	struct slot *ret)
{
	struct slot s = {.kind = key->kind};
	int r = 0;
	if (!key_ok(key))
		return -EINVAL;
	if (key->kind == SLOT_PASSPHRASE)
		r = choose_cost(cost, &s.pwhash);
	if (r < 0)
		return r;
	crypto_random(s.id, sizeof(s.id));
	crypto_random(s.pwhash.salt, sizeof(s.pwhash.salt));
	AUTO_SECRET *stretched = NULL;
	AUTO_SECRET *secret_key = NULL;
	r = stretch(key, &s.pwhash, &stretched);
	if (r < 0)
		return r;
	r = crypto_box_new(s.public_key, &secret_key);
	if (r < 0)
		return r;
	struct place place = place_of(LABEL_SECRET, owner, s.id);
	r = wrap_seal(suite, stretched, place.bytes, place.len, s.id, secret_key, s.secret_key);
	if (r < 0)
		return r;
	r = slot_seal_trk(owner, s.id, s.public_key, trk, s.trk);
	if (r < 0)
		return r;
	*ret = s;
	return 0;
}

int slot_open(enum crypto_suite suite, const uint8_t owner[static SLOT_OWNER_LEN],
	const struct slot *slot, const struct slot_key *key, struct secret **ret_trk)
{
	if (key->kind != slot->kind || !key_ok(key))
		return -EKEYREJECTED;
	AUTO_SECRET *stretched = NULL;
	AUTO_SECRET *secret_key = NULL;
	AUTO_SECRET *both = NULL;
	int r = stretch(key, &slot->pwhash, &stretched);
	if (r < 0)
		return r;
	struct place place = place_of(LABEL_SECRET, owner, slot->id);
	r = wrap_open(
		suite, stretched, place.bytes, place.len, slot->id, slot->secret_key, &secret_key);
	if (r < 0)
		return r;
	r = crypto_box_open_with(slot->public_key, secret_key, slot->trk, SLOT_TRK_LEN, &both);
	if (r < 0)
		return r;
	/* Anybody can seal to a public key: a TRK of another place must not do here. */
	uint8_t hash[KEY_LEN];
	place = place_of(LABEL_TRK, owner, slot->id);
	crypto_digest(place.bytes, place.len, hash, sizeof(hash));
	if (!crypto_equal(hash, secret_peek(both) + KEY_LEN, KEY_LEN))
		return -EBADMSG;
	secret_truncate(both, KEY_LEN);
	*ret_trk = both;
	both = NULL;
	return 0;
}
