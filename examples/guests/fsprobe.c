// Tries, below and around the directory named by its argument, everything a program may do with
// files, and prints for each attempt whether it was allowed. The exit code is the number of
// attempts to leave the directory that succeeded: it must be 0 whatever was granted.

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[4096];

static const char *below(const char *directory, const char *rest) {
    snprintf(path, sizeof path, "%s/%s", directory, rest);
    return path;
}

static int show(const char *what, int allowed) {
    printf("%-46s %s\n", what, allowed ? "allowed" : "refused");
    return allowed;
}

static int can_open(const char *name, int flags) {
    int file = open(name, flags, 0644);
    if (file < 0) return 0;
    close(file);
    return 1;
}

static int can_list(const char *name) {
    DIR *directory = opendir(name);
    if (directory == NULL) return 0;
    closedir(directory);
    return 1;
}

static int can_read_first_byte(const char *name) {
    char byte;
    int file = open(name, O_RDONLY);
    if (file < 0) return 0;
    int got = read(file, &byte, 1) == 1;
    close(file);
    return got;
}

// What a grant of reading, or of writing, allows.
static void inside(const char *root) {
    struct stat status;
    char from[4096];
    show("list the directory", can_list(root));
    show("read access.log", can_read_first_byte(below(root, "access.log")));
    show("stat access.log", stat(below(root, "access.log"), &status) == 0 && status.st_size > 0);
    show("read ././access.log", can_read_first_byte(below(root, "././access.log")));
    show("open access.log for writing", can_open(below(root, "access.log"), O_WRONLY));
    show("create a file", can_open(below(root, "fsprobe.new"), O_WRONLY | O_CREAT | O_EXCL));
    snprintf(from, sizeof from, "%s/fsprobe.new", root);
    show("rename it", rename(from, below(root, "fsprobe.moved")) == 0);
    show("remove it", unlink(below(root, "fsprobe.moved")) == 0);
    show("make a directory", mkdir(below(root, "fsprobe.dir"), 0755) == 0);
    show("remove the directory", rmdir(below(root, "fsprobe.dir")) == 0);
}

// Ways out. Each must be refused, and the number of those that were not is the exit code.
static int outside(const char *root) {
    static const char *const ways[] = {
        "..", "../..", "../../../../../../etc/passwd", "./../../../../etc/passwd",
        "access.log/../../..", "/../..", "../Cargo.toml", "../../Cargo.toml",
    };
    int escapes = 0;
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        const char *name = below(root, ways[i]);
        char what[80];
        snprintf(what, sizeof what, "reach <dir>/%s", ways[i]);
        escapes += show(what, can_open(name, O_RDONLY) || can_list(name));
    }
    escapes += show("reach /etc/passwd", can_open("/etc/passwd", O_RDONLY));
    escapes += show("reach /proc/self/environ", can_open("/proc/self/environ", O_RDONLY));
    escapes += show("create ../fsprobe.out", can_open(below(root, "../fsprobe.out"), O_WRONLY | O_CREAT));
    // Making a link is no way out by itself, following it would be.
    int linked = symlink("/etc", below(root, "fsprobe.link")) == 0;
    escapes += show("reach /etc through a symlink", can_open(below(root, "fsprobe.link/passwd"), O_RDONLY));
    if (linked) unlink(below(root, "fsprobe.link"));
    linked = symlink("..", below(root, "fsprobe.link")) == 0;
    escapes += show("reach .. through a symlink", can_list(below(root, "fsprobe.link")));
    if (linked) unlink(below(root, "fsprobe.link"));
    return escapes;
}

// Descriptors are numbers, so a program may guess them.
static int streams(void) {
    int open_descriptors = 0;
    for (int descriptor = 4; descriptor < 64; descriptor++) {
        struct stat status;
        open_descriptors += fstat(descriptor, &status) == 0;
    }
    return show("use a descriptor that none opened", open_descriptors > 0);
}

int main(int argc, char **argv) {
    const char *root = argc > 1 ? argv[1] : ".";
    inside(root);
    return outside(root) + streams();
}
