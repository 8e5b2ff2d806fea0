#include "tests/posix/suite.h"
void times_run(void)
{
}
