/* In a libFuzzer program nobody asks for seeds. */
#include "tests/fuzz/fuzz.h"

void fuzz_seed(const char *name, const void *bytes, size_t len)
{
	(void)name, (void)bytes, (void)len;
}
