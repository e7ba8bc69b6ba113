#include "cli/draw.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/graph/graph_dot.h"

extern char **environ;

/* No shell: names of files are arguments. */
static status run_dot(const char *kind, const char *source, const char *path)
{
    char type[16];
    int code;
    pid_t child;
    snprintf(type, sizeof type, "-T%s", kind);
    char *words[] = {"dot", type, "-o", (char *)path, (char *)source, NULL};
    int error = posix_spawnp(&child, "dot", NULL, NULL, words, environ);
    if (error == ENOENT)
        return FAIL(E_USAGE,
            "%s: needs Graphviz's dot, which is not installed (Debian: graphviz); a file ending in .dot can be written "
            "without",
            path);
    if (error) return FAIL(E_IO, "%s: cannot start dot: %s", path, strerror(error));
    while (waitpid(child, &code, 0) < 0)
        if (errno != EINTR) return FAIL(E_IO, "%s: dot: %s", path, strerror(errno));
    if (WIFEXITED(code) && WEXITSTATUS(code) == 127)
        return FAIL(E_USAGE, "%s: needs Graphviz's dot, which is not installed (Debian: graphviz)", path);
    return WIFEXITED(code) && WEXITSTATUS(code) == 0 ? OK : FAIL(E_IO, "%s: dot failed", path);
}

status draw_graph(const graph *g, const char *title, const char *path)
{
    static const char *const kinds[] = {"svg", "png", "pdf"};
    const char *ending = path_extension(path);
    if (strcmp(ending, "dot") == 0) return graph_write_dot(g, title, path);
    for (int i = 0; i < 3; i++) {
        if (strcmp(ending, kinds[i]) != 0) continue;
        char safe_path[4096], *source;
        if ((size_t)snprintf(safe_path, sizeof safe_path, "%s%s", path[0] == '-' ? "./" : "", path) >= sizeof safe_path)
            return FAIL(E_USAGE, "%s: the name is too long", path);
        TRY(file_temp_name(safe_path, &source));
        status result = graph_write_dot(g, title, source);
        if (result == OK) result = run_dot(kinds[i], source, path);
        unlink(source);
        free(source);
        return result;
    }
    return FAIL(E_USAGE, "%s: expected a file ending in .svg, .png, .pdf or .dot", path);
}
