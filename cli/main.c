/* Which command was asked for? */
#include "graft.h"
#include <stdio.h>

int main(void)
{
    printf("graft %s\n", graft_version());
    return 0;
}
