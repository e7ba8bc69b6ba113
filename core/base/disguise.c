#include "core/base/disguise.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

enum { LOOKED_AT = 1024 };

#define WEB_PAGE                                                                                                       \
    "a web page, not the file itself: the download failed or needs a login; open the address in a browser and "        \
    "download the file"

/* Marks of binary formats. */
static const struct mark {
    size_t offset, bytes;
    const char *mark, *what;
} marks[] = {
    {0, 2, "\x80\x02",
        "PyTorch's old form or a bare pickle: load it in PyTorch 1.6 or newer and torch.save() the state_dict again"},
    {0, 2, "\x80\x03", "a bare pickle: torch.save() the state_dict"},
    {0, 2, "\x80\x04", "a bare pickle: torch.save() the state_dict"},
    {0, 2, "\x80\x05", "a bare pickle: torch.save() the state_dict"},
    {0, 8, "\x89HDF\r\n\x1a\n", "HDF5 (Keras): save the weights as safetensors or export the network to ONNX"},
    {0, 2, "\x1f\x8b", "compressed by gzip: unpack it first"},
    {0, 6, "\xfd\x37zXZ\0", "compressed by xz: unpack it first"},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"},
    {0, 3, "BZh", "compressed by bzip2: unpack it first"},
    {0, 6, "7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"},
    {0, 4, "Rar!", "a RAR archive: unpack it first"},
    {257, 5, "ustar", "a tar archive: unpack it first"},
    {4, 4, "TFL3", "TensorFlow Lite: export the network to ONNX"},
    {0, 4, "GGUF", "GGUF (llama.cpp): its quantised tensors are not read; take the original weights"},
    {0, 6, "\x93NUMPY", "one NumPy array: save all arrays as safetensors"},
    {0, 4, "ptrt", "a TensorRT engine: it runs on one kind of GPU only; take what it was made from"},
    {0, 4, "ftrt", "a TensorRT engine: it runs on one kind of GPU only; take what it was made from"},
    {0, 5, "%PDF-", "a PDF document"},
    {0, 8, "\x89PNG\r\n\x1a\n", "a PNG image"},
    {0, 3, "\xff\xd8\xff", "a JPEG image"},
    {0, 8, "GRAFTSTA", "a training state of Graft: the network is in the .safetensors of the same name"},
    {0, 4, "TRT-", "a calibration cache: its scales are text; export.cache=FILE uses them"},
};

/* How texts begin, in any case of letters, behind blanks and a byte order mark. */
static const struct beginning {
    const char *start, *what;
} texts[] = {
    {"version https://git-lfs.github.com/spec/",
        "a git-lfs pointer, not the file itself: `git lfs pull` in its repository fetches it, or download it from "
        "the repository's page"},
    {"version https://hawser.github.com/spec/",
        "a git-lfs pointer, not the file itself: `git lfs pull` in its repository fetches it"},
    {"/annex/objects/", "a git-annex pointer, not the file itself: `git annex get` in its repository fetches it"},
    {"<!doctype html", WEB_PAGE},
    {"<html", WEB_PAGE},
    {"<head", WEB_PAGE},
    {"<body", WEB_PAGE},
    {"<title", WEB_PAGE},
    {"<script", WEB_PAGE},
    {"<meta", WEB_PAGE},
    {"<!--", WEB_PAGE},
    {"HTTP/1.", WEB_PAGE},
    {"HTTP/2", WEB_PAGE},
    {"Entry not found", "a server's answer, not the file itself: the address names no file"},
    {"Repository not found", "a server's answer, not the file itself: the address names no repository"},
    {"404: Not Found", "a server's answer, not the file itself: the address names no file"},
    {"404 page not found", "a server's answer, not the file itself: the address names no file"},
    {"Not Found", "a server's answer, not the file itself: the address names no file"},
    {"Access to model", "a server's answer, not the file itself: the download needs a login"},
    {"Invalid credentials", "a server's answer, not the file itself: the download needs a login"},
    {"Unauthorized", "a server's answer, not the file itself: the download needs a login"},
    {"Forbidden", "a server's answer, not the file itself: the download needs a login"},
    {"Access denied", "a server's answer, not the file itself: the download needs a login"},
};

static bool begins(const char *at, size_t room, const char *start)
{
    return room >= strlen(start) && strncasecmp(at, start, strlen(start)) == 0;
}

static bool contains(const char *at, size_t room, const char *word)
{
    size_t length = strlen(word);
    for (; room >= length; at++, room--)
        if (strncasecmp(at, word, length) == 0) return true;
    return false;
}

/* An XML file: a page, the refusal of a storage service, or OpenVINO's network. A JSON object: what a server says about
 * an error. */
static const char *disguise_of_markup(const char *at, size_t room)
{
    if (begins(at, room, "<?xml") || begins(at, room, "<Error>")) {
        if (contains(at, room, "<html")) return WEB_PAGE;
        if (contains(at, room, "<Error>"))
            return "a storage server's refusal, not the file itself: the address names no file or needs a login";
        if (contains(at, room, "<net ")) return "a network of OpenVINO: take the ONNX file that it was made from";
        return "an XML document";
    }
    if (*at != '{') return NULL;
    bool error =
        contains(at, room, "\"error\"") || contains(at, room, "\"message\"") || contains(at, room, "\"detail\"");
    return error ? "a server's answer in JSON, not the file itself: the download failed or needs a login"
                 : "a JSON text";
}

const char *disguise_of(const uint8_t *bytes, size_t count)
{
    if (count == 0) return "an empty file: the download or copy failed";
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
        if (count >= marks[i].offset + marks[i].bytes &&
            memcmp(bytes + marks[i].offset, marks[i].mark, marks[i].bytes) == 0)
            return marks[i].what;
    size_t room = count < LOOKED_AT ? count : LOOKED_AT, zeros = 0;
    while (zeros < room && bytes[zeros] == 0) zeros++;
    if (zeros == room) return "begins with nothing but zeros: the download or copy did not finish";
    const char *at = (const char *)bytes;
    if (room >= 3 && memcmp(at, "\xef\xbb\xbf", 3) == 0) at += 3, room -= 3;
    while (room > 0 && isspace((unsigned char)*at)) at++, room--;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (begins(at, room, texts[i].start)) return texts[i].what;
    return room > 0 ? disguise_of_markup(at, room) : NULL;
}
