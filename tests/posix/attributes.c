#include "tests/posix/suite.h"
void attributes_run(void)
{
}
