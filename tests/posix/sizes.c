#include "tests/posix/suite.h"
void sizes_run(void)
{
}
