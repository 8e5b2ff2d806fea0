#include "tests/posix/suite.h"
void busy_run(void)
{
}
