#include <stdio.h>

int main(void)
{
    fprintf(stderr, "graft: no command\n");
    return 2;
}
