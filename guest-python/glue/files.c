/* Permissions and owners of files, which WASI does not have.
 *
 * wasi-libc tells no permission bits in `stat` and fails every `chmod`. Left so, `shutil.copy` and `tarfile` fail in
 * the sandbox, and archives made there hold files that nobody may read. So every folder is 0755 and every other file
 * 0644, and `chmod` of something that exists succeeds and changes nothing. Everything belongs to the sandbox's one user
 * (`overlay/pwd.py`).
 *
 * Linked with --wrap for each of the functions here.
 */
#include <fcntl.h>
#include <sys/stat.h>

int __real_stat(const char *path, struct stat *found);
int __real_lstat(const char *path, struct stat *found);
int __real_fstat(int fd, struct stat *found);
int __real_fstatat(int folder, const char *path, struct stat *found, int flags);

int __wrap_stat(const char *path, struct stat *found);
int __wrap_lstat(const char *path, struct stat *found);
int __wrap_fstat(int fd, struct stat *found);
int __wrap_fstatat(int folder, const char *path, struct stat *found, int flags);
int __wrap_chmod(const char *path, mode_t mode);
int __wrap_fchmod(int fd, mode_t mode);

enum { USER_NUMBER = 1000 };

static int with_permissions(int result, struct stat *found)
{
    if (result == 0) {
        found->st_mode |= S_ISDIR(found->st_mode) ? 0755 : 0644;
        found->st_uid = USER_NUMBER;
        found->st_gid = USER_NUMBER;
    }
    return result;
}

int __wrap_stat(const char *path, struct stat *found)
{
    return with_permissions(__real_stat(path, found), found);
}

int __wrap_lstat(const char *path, struct stat *found)
{
    return with_permissions(__real_lstat(path, found), found);
}

int __wrap_fstat(int fd, struct stat *found)
{
    return with_permissions(__real_fstat(fd, found), found);
}

int __wrap_fstatat(int folder, const char *path, struct stat *found, int flags)
{
    return with_permissions(__real_fstatat(folder, path, found, flags), found);
}

int __wrap_chmod(const char *path, mode_t mode)
{
    struct stat found;
    (void)mode;
    return __real_stat(path, &found);
}

int __wrap_fchmod(int fd, mode_t mode)
{
    struct stat found;
    (void)mode;
    return __real_fstat(fd, &found);
}
