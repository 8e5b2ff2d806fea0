#include "tests/posix/suite.h"
void locks_run(void)
{
}
