#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <jerror.h>

#include "core/data/exif.h"
#include "core/data/image_codecs.h"

/* A progressive file of a few kilobytes can hold thousands of scans over a huge picture, each a full pass. */
enum { MAX_SCANS = 100 };

typedef struct jpeg_job {
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

/* libjpeg goes on after a premature end and leaves the rest grey; for us the file is bad. Other warnings (stray bytes between
 * markers, odd versions) do no harm to the pixels. */
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
        job->progress.progress_monitor = on_progress;
        job->info.progress = &job->progress;
        step(job);
    }
    jpeg_destroy_decompress(&job->info);
    free(job->row);
    return job->result;
}

static void read_header(jpeg_job *job)
{
    struct jpeg_decompress_struct *info = &job->info;
    jpeg_mem_src(info, job->bytes, job->count);
    jpeg_save_markers(info, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(info, TRUE);
    job->result = image_check_size(info->image_width, info->image_height, job->options);
    if (job->result != OK) return;
    job->orientation = 1;
    if (job->options->exif == EXIF_IGNORE) return;
    for (jpeg_saved_marker_ptr m = info->marker_list; m && job->orientation == 1; m = m->next)
        job->orientation = exif_orientation(m->data, m->data_length);
    if (job->orientation != 1 && job->options->exif == EXIF_ERROR)
        job->result = FAIL(E_DATA, "EXIF orientation %d (data.exif = error)", job->orientation);
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

/* (255 - ink) * (255 - black) / 255, rounded as Pillow does it. */
static uint8_t ink_to_light(unsigned ink, unsigned black)
{
    unsigned product = ink * (255 - black) + 128;
    return (uint8_t)(255 - black - (((product >> 8) + product) >> 8));
}

/* Adobe stores inks inverted, and says so by its marker. */
static void convert_cmyk(uint8_t *dst, const uint8_t *src, int32_t width, int32_t channels, bool inverted)
{
    unsigned flip = inverted ? 255 : 0;
    for (int32_t x = 0; x < width; x++, src += 4, dst += channels) {
        uint8_t rgb[3];
        for (int c = 0; c < 3; c++) rgb[c] = ink_to_light(src[c] ^ flip, src[3] ^ flip);
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
    job->result = image_alloc(job->im, (int32_t)info->output_width, (int32_t)info->output_height, channels);
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

status jpeg_decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    jpeg_job job = {.bytes = bytes, .count = count, .options = options, .im = im};
    return run_guarded(&job, read_pixels);
}

status jpeg_probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    jpeg_job job = {.bytes = bytes, .count = count, .options = options};
    TRY(run_guarded(&job, read_header));
    bool swap = job.orientation >= 5;
    *width = (int32_t)(swap ? job.info.image_height : job.info.image_width);
    *height = (int32_t)(swap ? job.info.image_width : job.info.image_height);
    return OK;
}
