/* Is what Hugging Face and timm keep beside weights understood? */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/file.h"
#include "base/mem.h"
#include "formats/weights_config.h"
#include <string.h>
#include <unistd.h>

#define FOLDER "test_config.tmp"

static enum graft_status read_both(const char *config, const char *preprocessor,
                                   struct gr_hf_config *c, struct graft_error *err)
{
    assert_int_equal(gr_mkdir(FOLDER, err), GRAFT_OK);
    if (config)
        assert_int_equal(gr_file_write(FOLDER "/config.json", config, strlen(config), err),
                         GRAFT_OK);
    if (preprocessor)
        assert_int_equal(gr_file_write(FOLDER "/preprocessor_config.json", preprocessor,
                                       strlen(preprocessor), err),
                         GRAFT_OK);
    enum graft_status s = gr_hf_config_read(FOLDER, c, err);
    unlink(FOLDER "/config.json");
    unlink(FOLDER "/preprocessor_config.json");
    rmdir(FOLDER);
    return s;
}

static void near(double a, double b)
{
    assert_true(a - b < 1e-9 && b - a < 1e-9);
}

static void test_timm(void **state)
{
    struct gr_hf_config c;
    struct graft_error err = {0};
    (void)state;
    enum graft_status s = read_both(
        "{\"architecture\":\"resnet18\",\"num_classes\":2,\"label_names\":[\"n1\",\"n2\"],"
        "\"label_descriptions\":{\"n1\":\"tench\",\"n2\":\"goldfish\"},"
        "\"pretrained_cfg\":{\"input_size\":[3,224,224],\"interpolation\":\"bicubic\","
        "\"crop_pct\":0.95,\"crop_mode\":\"center\",\"mean\":[0.485,0.456,0.406],"
        "\"std\":[0.229,0.224,0.225],\"first_conv\":\"conv1\",\"classifier\":\"fc\","
        "\"license\":\"apache-2.0\"}}",
        NULL, &c, &err);
    if (s)
        fail_msg("%s", err.message);
    assert_true(c.is_timm && c.has_pre);
    assert_string_equal(c.arch, "resnet18");
    assert_string_equal(c.classifier, "fc");
    assert_string_equal(c.licence, "apache-2.0");
    assert_string_equal(c.pre_source, "timm config.json");
    assert_int_equal(c.n_labels, 2);
    assert_string_equal(c.labels[1], "goldfish");
    assert_int_equal(c.pre.width, 224);
    assert_int_equal(c.pre.resize, GRAFT_RESIZE_SHORTEST);
    assert_int_equal(c.pre.resize_to, 235); /* floor(224 / 0.95) */
    assert_int_equal(c.pre.filter, GRAFT_BICUBIC);
    near(c.pre.scale, 1.0 / 255);
    near(c.pre.mean[2], 0.406);
    near(c.pre.std[0], 0.229);
    gr_hf_config_clear(&c);
}

static void test_huggingface(void **state)
{
    struct gr_hf_config c;
    struct graft_error err = {0};
    (void)state;
    /* MobileNetV2: resize the short side, then crop */
    assert_int_equal(
        read_both("{\"model_type\":\"mobilenet_v2\",\"image_size\":224,"
                  "\"id2label\":{\"1\":\"dog\",\"0\":\"cat\"}}",
                  "{\"crop_size\":{\"height\":224,\"width\":224},\"do_center_crop\":true,"
                  "\"do_normalize\":true,\"do_rescale\":true,\"do_resize\":true,"
                  "\"image_mean\":[0.5,0.5,0.5],\"image_std\":[0.5,0.5,0.5],"
                  "\"image_processor_type\":\"MobileNetV2ImageProcessor\",\"resample\":2,"
                  "\"rescale_factor\":0.00392156862745098,\"size\":{\"shortest_edge\":256}}",
                  &c, &err),
        GRAFT_OK);
    assert_false(c.is_timm);
    assert_string_equal(c.arch, "mobilenet_v2");
    assert_int_equal(c.n_labels, 2);
    assert_string_equal(c.labels[0], "cat");
    assert_string_equal(c.pre_source, "preprocessor_config.json");
    assert_int_equal(c.pre.resize, GRAFT_RESIZE_SHORTEST);
    assert_int_equal(c.pre.resize_to, 256);
    assert_int_equal(c.pre.height, 224);
    near(c.pre.mean[0], 0.5);
    gr_hf_config_clear(&c);
    /* ViT: stretched to a square; an old file with one number */
    assert_int_equal(read_both(NULL,
                               "{\"do_normalize\":true,\"do_resize\":true,\"size\":224,"
                               "\"resample\":2,\"image_mean\":[0.5,0.5,0.5],"
                               "\"image_std\":[0.5,0.5,0.5]}",
                               &c, &err),
                     GRAFT_OK);
    assert_int_equal(c.pre.resize, GRAFT_RESIZE_STRETCH);
    assert_int_equal(c.pre.width, 224);
    assert_int_equal(c.n_labels, 0);
    assert_null(c.arch);
    gr_hf_config_clear(&c);
    /* ResNet: ConvNeXt's rule */
    assert_int_equal(read_both(NULL,
                               "{\"crop_pct\":0.875,\"do_normalize\":true,\"do_resize\":true,"
                               "\"feature_extractor_type\":\"ConvNextFeatureExtractor\","
                               "\"image_mean\":[0.485,0.456,0.406],"
                               "\"image_std\":[0.229,0.224,0.225],\"resample\":3,\"size\":224}",
                               &c, &err),
                     GRAFT_OK);
    assert_int_equal(c.pre.resize, GRAFT_RESIZE_SHORTEST);
    assert_int_equal(c.pre.resize_to, 256);
    assert_int_equal(c.pre.width, 224);
    assert_int_equal(c.pre.filter, GRAFT_BICUBIC);
    gr_hf_config_clear(&c);
    /* MobileViT: BGR, not normalised */
    assert_int_equal(read_both(NULL,
                               "{\"crop_size\":{\"height\":256,\"width\":256},"
                               "\"do_center_crop\":true,\"do_flip_channel_order\":true,"
                               "\"do_rescale\":true,\"do_resize\":true,\"resample\":2,"
                               "\"size\":{\"shortest_edge\":288}}",
                               &c, &err),
                     GRAFT_OK);
    assert_int_equal(c.pre.channels, GRAFT_BGR);
    near(c.pre.mean[1], 0);
    near(c.pre.std[1], 1);
    gr_hf_config_clear(&c);
    /* names that say nothing */
    assert_int_equal(
        read_both("{\"id2label\":{\"0\":\"LABEL_0\",\"1\":\"LABEL_1\"}}", NULL, &c, &err),
        GRAFT_OK);
    assert_int_equal(c.n_labels, 0);
    assert_false(c.has_pre);
    gr_hf_config_clear(&c);
    assert_int_equal(read_both(NULL, NULL, &c, &err), GRAFT_OK);
    assert_false(c.has_pre);
}

static void test_refused(void **state)
{
    static const struct {
        const char *config, *preprocessor, *message;
    } cases[] = {
        {"{", NULL, "config.json: line 1"},
        {"[]", NULL, "no JSON object"},
        {"{\"id2label\":{\"0\":\"a\",\"2\":\"b\"}}", NULL, "2 labels, but none for class 1"},
        {"{\"id2label\":{\"0\":\"a\\nb\"}}", NULL, "label 0 is no printable text"},
        {"{\"architecture\":\"x\",\"input_size\":[3,0,224]}", NULL, "input_size[1] is 0"},
        {"{\"architecture\":\"x\",\"input_size\":[4,224,224]}", NULL, "4 channels"},
        {"{\"architecture\":\"x\",\"input_size\":[3,224,224],\"std\":[0,1,1]}", NULL,
         "std of channel 0 is 0"},
        {"{\"architecture\":\"x\",\"input_size\":[3,224,224],\"crop_pct\":0}", NULL, "crop_pct"},
        {"{\"architecture\":\"x\",\"input_size\":[3,224,224],\"interpolation\":\"magic\"}", NULL,
         "'magic'"},
        {NULL, "{\"size\":1e30}", "size is 1e+30"},
        {NULL, "{\"size\":224,\"resample\":9}", "resample is 9"},
        {NULL, "{\"size\":224,\"image_mean\":[1,2]}", "image_mean is no list"},
        {NULL, "{\"size\":224,\"rescale_factor\":0}", "rescale_factor is 0"},
        {NULL, "{\"size\":{\"longest_edge\":3}}", "size is 0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gr_hf_config c;
        struct graft_error err = {0};
        assert_int_not_equal(read_both(cases[i].config, cases[i].preprocessor, &c, &err), GRAFT_OK);
        if (!strstr(err.message, cases[i].message))
            fail_msg("case %zu: '%s'", i, err.message);
        assert_null(c.labels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_timm),
        cmocka_unit_test(test_huggingface),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
