#include "tests/posix/suite.h"
void sticky_run(void)
{
}
