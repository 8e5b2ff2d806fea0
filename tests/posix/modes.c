#include "tests/posix/suite.h"
void modes_run(void)
{
}
