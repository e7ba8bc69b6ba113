#include "core/base/process.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { START_FIELD = 22, STATE_FIELD = 3 }; /* of /proc/PID/stat, counted from 1 */

static bool read_line(const char *path, char *text, size_t room)
{
    FILE *stream = fopen(path, "re");
    if (!stream) return false;
    bool found = fgets(text, (int)room, stream) != NULL;
    fclose(stream);
    if (found) text[strcspn(text, "\n")] = 0;
    return found;
}

bool process_look(pid_t pid, process_info *info)
{
    char path[64], text[1024];
    *info = (process_info){0};
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    if (!read_line(path, text, sizeof text)) return false;
    /* Field 2 is the program's name in parentheses and may hold anything. */
    char *rest = strrchr(text, ')');
    int field = STATE_FIELD;
    if (!rest || !rest[1]) return false;
    for (char *word = strtok_r(rest + 1, " ", &rest); word; word = strtok_r(NULL, " ", &rest), field++) {
        if (field == STATE_FIELD) info->state = word[0];
        if (field == START_FIELD) return sscanf(word, "%" SCNu64, &info->start_tick) == 1;
    }
    return false;
}

machine_identity machine_look(void)
{
    machine_identity m = {0};
    if (gethostname(m.host, sizeof m.host - 1) != 0 || !m.host[0]) snprintf(m.host, sizeof m.host, "unknown");
    if (!read_line("/proc/sys/kernel/random/boot_id", m.boot, sizeof m.boot)) m.boot[0] = 0;
    for (char *c = m.host; *c; c++)
        if (!isgraph((unsigned char)*c)) *c = '?';
    return m;
}
