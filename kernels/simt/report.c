/* report.c: code addresses as functions and lines. */
#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kernels/simt/engine.h"

/* addr2line's output for an address: a line "function at file:line" and one per function that it is
 * inlined in. NULL: no way to tell. */
static FILE *ask(const void *address)
{
    Dl_info info;
    if (!dladdr(address, &info) || !info.dli_fname) return NULL;
    const Elf64_Ehdr *header = info.dli_fbase;
    uintptr_t at = (uintptr_t)address - (header->e_type == ET_DYN ? (uintptr_t)info.dli_fbase : 0);
    /* dli_fname of the program is how it was called, which may mean nothing by now. */
    char path[512] = "/proc/self/exe", command[1024];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length > 0) path[length] = 0;
    if (strstr(info.dli_fname, ".so")) snprintf(path, sizeof path, "%s", info.dli_fname);
    if (strchr(path, '\'')) return NULL;
    snprintf(command, sizeof command, "addr2line -Cfspi -e '%s' %#lx 2>/dev/null", path, (unsigned long)at);
    return popen(command, "re");
}

/* Length of "kernel<float, (mode)2>" of "kernel<float, (mode)2>(float *, int)". */
static size_t without_parameters(const char *name)
{
    size_t length = 0;
    for (int32_t depth = 0; name[length] && (depth || name[length] != '('); length++)
        depth += name[length] == '<' ? 1 : name[length] == '>' ? -1 : 0;
    return length;
}

void report_function(const void *address, char *text, size_t capacity)
{
    char line[512];
    snprintf(text, capacity, "at %p", address);
    FILE *answer = ask(address);
    if (!answer) return;
    if (fgets(line, sizeof line, answer) && line[0] != '?') {
        line[strcspn(line, "\n")] = 0;
        char *at = strstr(line, " at "), *name = strncmp(line, "void ", 5) == 0 ? line + 5 : line;
        if (at) *at = 0;
        name[without_parameters(name)] = 0;
        snprintf(text, capacity, "%s", name);
    }
    pclose(answer);
}

/* The twins and intrinsics are not what went wrong: the line that called them is. */
static bool is_ours(const char *file)
{
    return strncmp(file, "ptx.h:", 6) == 0 || strncmp(file, "simt.h:", 7) == 0 ||
           strncmp(file, "cuda_runtime.h:", 15) == 0;
}

void report_line(const void *address, char *text, size_t capacity)
{
    char line[512];
    snprintf(text, capacity, "%p", address);
    FILE *answer = ask(address);
    if (!answer) return;
    while (fgets(line, sizeof line, answer)) {
        char *file = strstr(line, " at ");
        if (!file || file[4] == '?') continue;
        file += 4;
        file[strcspn(file, " \n")] = 0;
        snprintf(text, capacity, "%s", file);
        if (!is_ours(file)) break;
    }
    pclose(answer);
}
