#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/data/exif.h"
#include "core/data/image_codecs.h"
#include "core/data/image_jpeg_blocks.h"

/* A progressive file of a few kilobytes can hold thousands of scans over a huge picture, each a full pass. Encoders
 * make up to a dozen scans; where there are more, the pictures are small, or the scans have something to say. */
enum { MAX_SCANS = 100, FREE_PASSES = 16, FREE_BLOCKS = 1 << 20, PASSED_BLOCKS_PER_BYTE = 64 };
/* A Huffman code has a bit at least, and each block has one for its mean. An arithmetic coder makes do with less. */
enum { BLOCKS_PER_BYTE = 8, ARITHMETIC_BLOCKS_PER_BYTE = 512 };

typedef struct jpeg_job {
    jpeg_blocks blocks; /* first: client_data is taken as these too */
    struct jpeg_decompress_struct info;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    const uint8_t *bytes;
    size_t count;
    const decode_options *options;
    image *im;
    uint8_t *row; /* one CMYK row */
    int orientation;
    status result;
} jpeg_job;

static void on_error(j_common_ptr info)
{
    jpeg_job *job = info->client_data;
    char text[JMSG_LENGTH_MAX];
    info->err->format_message(info, text);
    job->result = FAIL(info->err->msg_code == JERR_OUT_OF_MEMORY ? E_MEMORY : E_DATA, "JPEG: %s", text);
    longjmp(job->jump, 1);
}

/* libjpeg goes on after a premature end and leaves the rest grey; for us the file is bad. Other warnings (stray bytes
 * between markers, odd versions) do no harm to the pixels. */
static void on_message(j_common_ptr info, int level)
{
    jpeg_job *job = info->client_data;
    int code = info->err->msg_code;
    if (level >= 0 || (code != JWRN_JPEG_EOF && code != JWRN_HIT_MARKER)) return;
    job->result = FAIL(E_DATA, code == JWRN_JPEG_EOF ? "JPEG: the file is truncated" : "JPEG: the data is corrupt");
    longjmp(job->jump, 1);
}

static void on_progress(j_common_ptr info)
{
    jpeg_job *job = info->client_data;
    if (!info->is_decompressor || job->info.input_scan_number <= MAX_SCANS) return;
    job->result = FAIL(E_DATA, "JPEG: more than %d scans", MAX_SCANS);
    longjmp(job->jump, 1);
}

/* Runs `step` with libjpeg's failures caught. All state that survives a longjmp is in *job. */
static status run_guarded(jpeg_job *job, void (*step)(jpeg_job *job))
{
    job->info.err = jpeg_std_error(&job->errors);
    job->errors.error_exit = on_error;
    job->errors.emit_message = on_message;
    job->info.client_data = job;
    if (setjmp(job->jump) == 0) {
        jpeg_create_decompress(&job->info);
        job->info.client_data = job;
        jpeg_blocks_install(&job->blocks, &job->info);
        job->progress.progress_monitor = on_progress;
        job->info.progress = &job->progress;
        step(job);
    }
    jpeg_destroy_decompress(&job->info);
    jpeg_blocks_free(&job->blocks);
    free(job->row);
    return job->result;
}

/* The scans of a file, found by their markers. */
typedef struct scan_count {
    int64_t scans, passed_blocks;  /* blocks that all scans together walk over */
    bool has_mean[MAX_COMPONENTS]; /* by index of the component: a scan begins its mean values */
} scan_count;

static void count_scan(scan_count *n, const struct jpeg_decompress_struct *info, const uint8_t *segment, size_t length)
{
    size_t components = length > 2 ? segment[2] : 0;
    if (length < 6 + 2 * components) return;
    bool mean = segment[3 + 2 * components] == 0 && segment[5 + 2 * components] >> 4 == 0;
    n->scans++;
    for (size_t i = 0; i < components; i++)
        for (int c = 0; c < info->num_components && c < MAX_COMPONENTS; c++) {
            const jpeg_component_info *p = &info->comp_info[c];
            if (p->component_id != segment[3 + 2 * i]) continue;
            n->passed_blocks += (int64_t)p->width_in_blocks * p->height_in_blocks;
            n->has_mean[c] = n->has_mean[c] || mean;
        }
}

static void count_scans(scan_count *n, const struct jpeg_decompress_struct *info, const uint8_t *bytes, size_t count)
{
    enum { START_OF_IMAGE = 0xd8, END_OF_IMAGE = 0xd9, START_OF_SCAN = 0xda, FIRST_RESTART = 0xd0 };
    for (size_t at = 0; at + 4 <= count;) {
        const uint8_t *found = memchr(bytes + at, 0xff, count - at - 3);
        if (!found) return;
        at = (size_t)(found - bytes) + 1;
        uint8_t marker = bytes[at];
        if (marker == END_OF_IMAGE) return;
        /* 0: a byte 255 of the data. 1: of no use. 255: filling. */
        if (marker <= 1 || marker == 0xff || (marker >= FIRST_RESTART && marker <= START_OF_IMAGE)) continue;
        size_t length = (size_t)bytes[at + 1] << 8 | bytes[at + 2];
        if (length > count - at - 1) return;
        if (marker == START_OF_SCAN) count_scan(n, info, bytes + at + 1, length);
        at += 1 + length;
    }
}

/* What the file can hold, and how much work it asks for, before anything of the picture's size is allocated. */
static status check_scans(const jpeg_job *job)
{
    const struct jpeg_decompress_struct *info = &job->info;
    scan_count n = {0};
    int64_t blocks = 0, per_byte = info->arith_code ? ARITHMETIC_BLOCKS_PER_BYTE : BLOCKS_PER_BYTE;
    for (int c = 0; c < info->num_components; c++)
        blocks += (int64_t)info->comp_info[c].width_in_blocks * info->comp_info[c].height_in_blocks;
    if (blocks / per_byte > (int64_t)job->count)
        return FAIL(E_DATA, "the file is truncated, or its header lies: %zu bytes cannot hold %u x %u pixels",
            job->count, info->image_width, info->image_height);
    count_scans(&n, info, job->bytes, job->count);
    for (int c = 0; c < info->num_components && c < MAX_COMPONENTS; c++)
        if (!n.has_mean[c])
            return FAIL(E_DATA, "JPEG: the data is corrupt or truncated: no scan begins component %d of %d", c + 1,
                info->num_components);
    if (n.passed_blocks > blocks * FREE_PASSES + FREE_BLOCKS + (int64_t)job->count * PASSED_BLOCKS_PER_BYTE)
        return FAIL(E_DATA, "JPEG: %" PRId64 " scans of %u x %u pixels in %zu bytes", n.scans, info->image_width,
            info->image_height, job->count);
    return OK;
}

static void read_header(jpeg_job *job)
{
    struct jpeg_decompress_struct *info = &job->info;
    int stored = 1;
    jpeg_mem_src(info, job->bytes, job->count);
    jpeg_save_markers(info, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(info, TRUE);
    job->result = image_check_size(info->image_width, info->image_height, job->options);
    if (job->result == OK) job->result = check_scans(job);
    if (job->result != OK) return;
    for (jpeg_saved_marker_ptr m = info->marker_list; m && stored == 1; m = m->next)
        stored = exif_orientation(m->data, m->data_length);
    job->result = image_choose_orientation(&job->orientation, stored, job->options);
}

/* The strongest reduction of 1/2, 1/4, 1/8 that leaves both sides long enough. */
static unsigned choose_scale(const jpeg_job *job)
{
    int64_t need_w = job->options->min_width, need_h = job->options->min_height;
    if (need_w <= 0 || need_h <= 0) return 8;
    if (job->orientation >= 5) {
        int64_t swap = need_w;
        need_w = need_h;
        need_h = swap;
    }
    unsigned scale = 8;
    while (scale > 1 && ((int64_t)job->info.image_width * (scale / 2) + 7) / 8 >= need_w &&
           ((int64_t)job->info.image_height * (scale / 2) + 7) / 8 >= need_h)
        scale /= 2;
    return scale;
}

/* Adobe stores inks inverted, and says so by its marker. */
static void convert_cmyk(uint8_t *dst, const uint8_t *src, int32_t width, int32_t channels, bool inverted)
{
    unsigned flip = inverted ? 255 : 0;
    for (int32_t x = 0; x < width; x++, src += 4, dst += channels) {
        uint8_t rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = image_ink_to_light(src[c] ^ flip, src[3] ^ flip);
        if (channels == 1) dst[0] = image_luma(rgb[0], rgb[1], rgb[2]);
        else memcpy(dst, rgb, 3);
    }
}

static void read_pixels(jpeg_job *job)
{
    struct jpeg_decompress_struct *info = &job->info;
    read_header(job);
    if (job->result != OK) return;
    bool grey = info->jpeg_color_space == JCS_GRAYSCALE;
    bool cmyk = info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK;
    int32_t channels = job->options->channels ? job->options->channels : grey ? 1 : 3;
    info->out_color_space = cmyk ? JCS_CMYK : channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    info->scale_num = choose_scale(job);
    info->scale_denom = 8;
    jpeg_start_decompress(info);
    job->result = image_alloc_unset(job->im, (int32_t)info->output_width, (int32_t)info->output_height, channels);
    if (job->result != OK) return;
    if (cmyk && !(job->row = malloc((size_t)info->output_width * 4))) {
        job->result = FAIL_MEMORY((size_t)info->output_width * 4);
        return;
    }
    size_t stride = (size_t)info->output_width * (size_t)channels;
    while (info->output_scanline < info->output_height) {
        uint8_t *dst = job->im->pixels + info->output_scanline * stride;
        JSAMPROW row = cmyk ? job->row : dst;
        jpeg_read_scanlines(info, &row, 1);
        if (cmyk) convert_cmyk(dst, row, job->im->width, channels, info->saw_Adobe_marker);
    }
    jpeg_finish_decompress(info);
    job->result = image_orient(job->im, job->orientation);
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    jpeg_job job = {.bytes = bytes, .count = count, .options = options, .im = im};
    return run_guarded(&job, read_pixels);
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    jpeg_job job = {.bytes = bytes, .count = count, .options = options};
    TRY(run_guarded(&job, read_header));
    image_oriented_size(width, height, job.info.image_width, job.info.image_height, job.orientation);
    return OK;
}

static void version(char *text, size_t room)
{
    snprintf(text, room, "libjpeg %d.%d", JPEG_LIB_VERSION / 10, JPEG_LIB_VERSION % 10);
}

const image_codec codec_jpeg = {"jpeg", "JPEG", "libjpeg62-turbo-dev", decode, probe, version};
