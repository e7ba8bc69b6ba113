/* Which file is an image: by its first bytes, or by the ending of its name. Kinds that cannot be decoded are known too,
 * so that their files are reported instead of being passed over. */
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/data/image_codecs.h"

typedef struct signature {
    size_t at, length;
    const char *bytes;
    image_format format;
} signature;

/* A longer signature stands before one that it begins with. */
static const signature signatures[] = {
    {0, 4, "\xff\xd8\xff\xf7", {"JPEG-LS", NULL}},
    {0, 3, "\xff\xd8\xff", {"JPEG", &codec_jpeg}},
    {0, 8, "\x89PNG\r\n\x1a\n", {"PNG", &codec_png}},
    {0, 6, "GIF87a", {"GIF", &codec_gif}},
    {0, 6, "GIF89a", {"GIF", &codec_gif}},
    {8, 4, "WEBP", {"WebP", &codec_webp}},
    {8, 3, "CR\2", {"camera's raw file (CR2)", NULL}},
    {0, 4, "II*\0", {"TIFF", &codec_tiff}},
    {0, 4, "MM\0*", {"TIFF", &codec_tiff}},
    {0, 4, "II+\0", {"TIFF", &codec_tiff}},
    {0, 4, "MM\0+", {"TIFF", &codec_tiff}},
    {4, 8, "ftypavif", {"AVIF", &codec_heif}},
    {4, 8, "ftypavis", {"AVIF", &codec_heif}},
    {4, 7, "ftyphei", {"HEIC", &codec_heif}},
    {4, 7, "ftyphev", {"HEIC", &codec_heif}},
    {4, 8, "ftypmif1", {"HEIF", &codec_heif}},
    {4, 8, "ftypmsf1", {"HEIF", &codec_heif}},
    {4, 7, "ftypcrx", {"camera's raw file (CR3)", NULL}},
    {4, 7, "ftypjxl", {"JPEG XL", NULL}},
    {0, 12, "\0\0\0\x0cJXL \r\n\x87\n", {"JPEG XL", NULL}},
    {0, 2, "\xff\x0a", {"JPEG XL", NULL}},
    {0, 12, "\0\0\0\x0cjP  \r\n\x87\n", {"JPEG 2000", NULL}},
    {0, 4, "\xff\x4f\xff\x51", {"JPEG 2000", NULL}},
    {0, 3, "II\xbc", {"JPEG XR", NULL}},
    {0, 4, "8BPS", {"Photoshop file", NULL}},
    {0, 8, "gimp xcf", {"GIMP file", NULL}},
    {0, 4, "\x76\x2f\x31\x01", {"OpenEXR", NULL}},
    {0, 10, "#?RADIANCE", {"Radiance HDR", NULL}},
    {0, 6, "#?RGBE", {"Radiance HDR", NULL}},
    {0, 4, "DDS ", {"DirectDraw surface", NULL}},
    {0, 4, "qoif", {"QOI", NULL}},
    {0, 8, "farbfeld", {"farbfeld", NULL}},
    {0, 4, "FLIF", {"FLIF", NULL}},
    {0, 4, "BPG\xfb", {"BPG", NULL}},
    {0, 15, "FUJIFILMCCD-RAW", {"camera's raw file (RAF)", NULL}},
    {0, 4, "IIRO", {"camera's raw file (ORF)", NULL}},
    {0, 4, "IIRS", {"camera's raw file (ORF)", NULL}},
    {0, 4, "MMOR", {"camera's raw file (ORF)", NULL}},
    {0, 4, "IIU\0", {"camera's raw file (RW2)", NULL}},
    {0, 4, "FOVb", {"camera's raw file (X3F)", NULL}},
    {0, 4, "\0MRM", {"camera's raw file (MRW)", NULL}},
    {6, 8, "HEAPCCDR", {"camera's raw file (CRW)", NULL}},
    {0, 4, "\0\0\1\0", {"Windows icon", NULL}},
    {0, 4, "\0\0\2\0", {"TGA (or a Windows cursor)", NULL}},
    {0, 4, "\0\0\x0a\0", {"TGA", NULL}},
    {0, 3, "\x0a\x05\x01", {"PCX", NULL}},
    {0, 4, "\x59\xa6\x6a\x95", {"Sun raster", NULL}},
    {0, 3, "\x01\xda\x01", {"SGI image", NULL}},
    {0, 3, "\x01\xda\0", {"SGI image", NULL}},
    {0, 9, "SIMPLE  =", {"FITS", NULL}},
    {128, 4, "DICM", {"DICOM", NULL}},
    {0, 8, "AT&TFORM", {"DjVu", NULL}},
    {0, 9, "/* XPM */", {"XPM", NULL}},
    {0, 4, "<svg", {"SVG drawing", NULL}},
};

static const char *const endings[] = {"jpg", "jpeg", "jpe", "jfif", "jif", "mpo", "png", "apng", "bmp", "dib", "ppm",
    "pgm", "pnm", "gif", "webp", "tif", "tiff", "heic", "heif", "hif", "avif",
    "avifs", /* and those that are never decoded */
    "pbm", "pam", "pfm", "jxl", "jp2", "j2k", "j2c", "jpc", "jpf", "jpx", "jpm", "jls", "jxr", "wdp", "hdp", "psd",
    "psb", "xcf", "exr", "hdr", "dds", "tga", "qoi", "flif", "bpg", "ico", "cur", "pcx", "sgi", "rgb", "ras", "xpm",
    "xbm", "svg", "svgz", "fits", "dcm", "dicom", "djvu", "raw", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf", "sr2",
    "dng", "orf", "raf", "rw2", "rwl", "pef", "srw", "x3f", "mrw", "mef", "mos", "iiq", "3fr", "erf", "kdc", "dcr",
    "fff", NULL};

static bool starts(const uint8_t *bytes, size_t count, const char *text)
{
    size_t length = strlen(text);
    return count >= length && memcmp(bytes, text, length) == 0;
}

/* "BM" alone begins many a text: the size of the second header, which follows the first, has few values. */
static bool is_bmp(const uint8_t *bytes, size_t count)
{
    if (!starts(bytes, count, "BM")) return false;
    return count < 18 || (bytes[15] == 0 && bytes[16] == 0 && bytes[17] == 0 && bytes[14] >= 12 && bytes[14] <= 124);
}

/* PNM, PAM and the float maps are text up to their sizes. "P5 is a letter and a digit" is no picture. */
static bool is_pnm(const uint8_t *bytes, size_t count, const char *kinds)
{
    if (count < 3 || bytes[0] != 'P' || !bytes[1] || !strchr(kinds, bytes[1])) return false;
    size_t at = 2;
    while (at < count && (bytes[at] == ' ' || bytes[at] == '\t' || bytes[at] == '\n' || bytes[at] == '\r')) at++;
    return at > 2 && (at == count || bytes[at] == '#' || bytes[at] == '-' || (bytes[at] >= '0' && bytes[at] <= '9') ||
                         bytes[at] == 'W');
}

const image_format *image_format_of(const uint8_t *bytes, size_t count)
{
    static const image_format bmp = {"BMP", &codec_bmp}, pnm = {"PNM", &codec_pnm},
                              other_pnm = {"PNM that is not binary PGM or PPM", NULL};
    static const image_format svg = {"SVG drawing", NULL};
    for (size_t i = 0; i < sizeof signatures / sizeof signatures[0]; i++) {
        const signature *s = &signatures[i];
        if (count >= s->at + s->length && memcmp(bytes + s->at, s->bytes, s->length) == 0) return &s->format;
    }
    if (is_bmp(bytes, count)) return &bmp;
    if (is_pnm(bytes, count, "56")) return &pnm;
    if (is_pnm(bytes, count, "12347Ff")) return &other_pnm;
    size_t head = count < IMAGE_HEAD_BYTES ? count : IMAGE_HEAD_BYTES;
    if (starts(bytes, count, "<?xml") && memmem(bytes, head, "<svg", 4)) return &svg;
    return NULL;
}

bool image_name_is_known(const char *name)
{
    const char *ending = path_extension(name);
    if (name[0] == '.') return false;
    for (int i = 0; endings[i]; i++)
        if (strcasecmp(ending, endings[i]) == 0) return true;
    return false;
}
