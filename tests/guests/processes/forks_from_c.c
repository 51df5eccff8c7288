/* Has children that wait, until there are enough or no more can be had. They end with the run. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { ENOUGH = 600 };

int main(int count, char **arguments)
{
    if (count > 1) {
        for (int number = 0; number < 3; number++)
            close(number);
        for (;;)
            pause();
    }
    for (int children = 0; children < ENOUGH; children++) {
        pid_t child = vfork();
        if (child == 0) {
            execl(arguments[0], arguments[0], "child", (char *)NULL);
            _exit(1);
        }
        if (child < 0) {
            puts(strerrorname_np(errno));
            return 0;
        }
    }
    puts("success");
    return 0;
}
