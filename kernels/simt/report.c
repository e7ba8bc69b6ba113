/* report.c: code addresses as function and line. */
#include <dlfcn.h>
#include <elf.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kernels/simt/engine.h"

void report_address(const void *address, char *text, size_t capacity)
{
    Dl_info info;
    snprintf(text, capacity, "at %p", address);
    if (!dladdr(address, &info) || !info.dli_fname) return;
    const Elf64_Ehdr *header = info.dli_fbase;
    uintptr_t at = (uintptr_t)address - (header->e_type == ET_DYN ? (uintptr_t)info.dli_fbase : 0);
    char command[1024];
    /* dli_fname of the program is how it was called; /proc knows better. */
    char path[512];
    FILE *maps = fopen(info.dli_fname, "re");
    snprintf(path, sizeof path, "%s", maps ? info.dli_fname : "/proc/self/exe");
    if (maps) fclose(maps);
    if (strchr(path, '\'')) return;
    snprintf(command, sizeof command, "addr2line -Cfsp -e '%s' %#lx 2>/dev/null", path, (unsigned long)at);
    FILE *pipe = popen(command, "re");
    if (!pipe) return;
    char line[400];
    if (fgets(line, sizeof line, pipe) && line[0] != '?') {
        line[strcspn(line, "\n")] = 0;
        snprintf(text, capacity, "%s", line);
    }
    pclose(pipe);
}
