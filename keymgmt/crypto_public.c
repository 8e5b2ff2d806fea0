#include <sodium.h>

#include "keymgmt/crypto.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int crypto_pwhash_run(const struct secret *passphrase, const struct crypto_pwhash *parameters,
	struct secret **ret_key)
{
	uint64_t iterations = parameters->iterations, kib = parameters->memory_kib;
	if (iterations < crypto_pwhash_argon2id_OPSLIMIT_MIN ||
		iterations > crypto_pwhash_argon2id_OPSLIMIT_MAX ||
		kib < crypto_pwhash_argon2id_MEMLIMIT_MIN / 1024 ||
		kib > crypto_pwhash_argon2id_MEMLIMIT_MAX / 1024)
		return -EINVAL;
	AUTO_SECRET *key = secret_new(KEY_LEN);
	if (!key)
		return -ENOMEM;
	if (crypto_pwhash_argon2id(secret_bytes(key), KEY_LEN,
		    (const char *)secret_peek(passphrase), secret_len(passphrase), parameters->salt,
		    iterations, (size_t)kib * 1024, crypto_pwhash_argon2id_ALG_ARGON2ID13) < 0)
		return -ENOMEM;
	*ret_key = key;
	key = NULL;
	return 0;
}

/* Microseconds of processor time that one run takes, or -errno. Not by the clock: what else the
 * machine has to do would make the slot weak, or so strong that nobody waits for it. */
static int64_t run_time(const struct crypto_pwhash *parameters)
{
	struct timespec from, to;
	AUTO_SECRET *passphrase = secret_new(16);
	AUTO_SECRET *key = NULL;
	if (!passphrase)
		return -ENOMEM;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
	int r = crypto_pwhash_run(passphrase, parameters, &key);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
	if (r < 0)
		return r;
	return (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
}

int crypto_pwhash_calibrate(unsigned milliseconds, uint64_t memory_kib, struct crypto_pwhash *ret)
{
	const uint64_t least_kib = 8192;
	const int64_t goal = (int64_t)milliseconds * 1000;
	struct crypto_pwhash p = {.iterations = 1, .memory_kib = memory_kib};
	int64_t first = run_time(&p);
	/* Memory is worth more than iterations against special hardware: it gives way only when it
	 * must. */
	while ((first == -ENOMEM || first > goal) && p.memory_kib / 2 >= least_kib) {
		p.memory_kib /= 2;
		first = run_time(&p);
	}
	if (first < 0)
		return (int)first;
	/* The first iteration also pays for the memory's page faults, so the others are timed
	 * alone. */
	p.iterations = 4;
	int64_t four = run_time(&p);
	if (four < 0)
		return (int)four;
	/* At least a quarter of the first, whatever disturbed that. */
	int64_t each = (four - first) / 3;
	if (each < first / 4 + 1)
		each = first / 4 + 1;
	p.iterations = 1;
	if (goal > first)
		p.iterations += (uint64_t)((goal - first) / each);
	crypto_random(p.salt, sizeof(p.salt));
	*ret = p;
	return 0;
}

int crypto_box_new(uint8_t ret_public[static KEY_LEN], struct secret **ret_secret)
{
	struct secret *s = secret_new(crypto_box_SECRETKEYBYTES);
	if (!s)
		return -ENOMEM;
	crypto_box_keypair(ret_public, secret_bytes(s));
	*ret_secret = s;
	return 0;
}

int crypto_box_seal_to(
	const uint8_t public_key[static KEY_LEN], const struct secret *in, uint8_t *out)
{
	/* Fails for public keys of small order, with which anybody could open the box. */
	return crypto_box_seal(out, secret_peek(in), secret_len(in), public_key) < 0 ? -EIO : 0;
}

int crypto_box_open_with(const uint8_t public_key[static KEY_LEN], const struct secret *secret_key,
	const uint8_t *in, size_t in_len, struct secret **ret)
{
	if (in_len <= crypto_box_SEALBYTES)
		return -EBADMSG;
	AUTO_SECRET *out = secret_new(in_len - crypto_box_SEALBYTES);
	if (!out)
		return -ENOMEM;
	if (crypto_box_seal_open(
		    secret_bytes(out), in, in_len, public_key, secret_peek(secret_key)) < 0)
		return -EBADMSG;
	*ret = out;
	out = NULL;
	return 0;
}

int crypto_sign_new(uint8_t ret_public[static KEY_LEN], struct secret **ret_secret)
{
	struct secret *s = secret_new(crypto_sign_SECRETKEYBYTES);
	if (!s)
		return -ENOMEM;
	crypto_sign_keypair(ret_public, secret_bytes(s));
	*ret_secret = s;
	return 0;
}

void crypto_sign_with(const struct secret *secret_key, const void *in, size_t len,
	uint8_t ret_signature[static CRYPTO_SIGNATURE_LEN])
{
	crypto_sign_detached(ret_signature, NULL, in, len, secret_peek(secret_key));
}

bool crypto_sign_verify(const uint8_t public_key[static KEY_LEN], const void *in, size_t len,
	const uint8_t signature[static CRYPTO_SIGNATURE_LEN])
{
	return crypto_sign_verify_detached(signature, in, len, public_key) == 0;
}
