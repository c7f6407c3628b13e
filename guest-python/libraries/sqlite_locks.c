/* SQLite's file locks in a sandbox of one process.
 *
 * SQLite's "unix" VFS keeps the locks between connections of one process itself and uses `fcntl` only against
 * other processes. There are none here, and WASI has no such locks: granting every request is right.
 * SQLite is compiled to call this function instead of `fcntl`.
 */
#include <fcntl.h>
#include <stdarg.h>

/* The numbers that SQLite gives to them on WASI, where <fcntl.h> has none. */
enum { LOCK_GET = 12, LOCK_SET = 13, LOCK_SET_WAIT = 14, TYPE_UNLOCKED = 2 };

int ppwasm_sqlite_fcntl(int fd, int command, ...);

int ppwasm_sqlite_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    int result = 0;
    if (command == LOCK_GET) {
        va_arg(arguments, struct flock *)->l_type = TYPE_UNLOCKED;
    } else if (command != LOCK_SET && command != LOCK_SET_WAIT) {
        result = fcntl(fd, command, va_arg(arguments, int));
    }
    va_end(arguments);
    return result;
}
