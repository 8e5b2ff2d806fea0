#include "fs/gate/policy_parts.h"

/* Greedy with one place to come back to: the last star. At most pattern_len * len steps. */
bool policy_glob_match(const uint8_t *pattern, size_t pattern_len, const char *name, size_t len)
{
	size_t p = 0, n = 0, star = SIZE_MAX, resume = 0;
	while (n < len) {
		if (p < pattern_len && pattern[p] == 0) {
			star = p++;
			resume = n;
		} else if (p < pattern_len && pattern[p] == (uint8_t)name[n]) {
			p++;
			n++;
		} else if (star != SIZE_MAX) {
			p = star + 1;
			n = ++resume;
		} else {
			return false;
		}
	}
	while (p < pattern_len && pattern[p] == 0)
		p++;
	return p == pattern_len;
}
