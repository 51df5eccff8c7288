/* The program itself is somebody else's, and setuid: is it executed as that one? */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    puts(geteuid() == getuid() ? "nobody else" : "success");
    return 0;
}
