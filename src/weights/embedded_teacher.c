/* embedded_teacher.c - the teacher that is part of the library, so that one program is a whole tool: the bytes of
 * assets/teacher-procedural.safetensors (docs/teacher.md says how it was made). The assembler takes them in as they
 * are; as C source they would be thirty megabytes to compile. */
#include "weights/trunk.h"

/* DCAM_TEACHER_ASSET: the file's path, from CMakeLists.txt. */
__asm__(".pushsection .rodata\n"
        ".balign 64\n"
        ".globl dcam_teacher_asset\n"
        ".hidden dcam_teacher_asset\n"
        "dcam_teacher_asset:\n"
        ".incbin \"" DCAM_TEACHER_ASSET "\"\n"
        ".globl dcam_teacher_asset_end\n"
        ".hidden dcam_teacher_asset_end\n"
        "dcam_teacher_asset_end:\n"
        ".byte 0\n"
        ".popsection\n");

extern const uint8_t dcam_teacher_asset[], dcam_teacher_asset_end[];

const uint8_t *dcam_embedded_teacher(size_t *bytes)
{
    *bytes = (size_t)((uintptr_t)dcam_teacher_asset_end - (uintptr_t)dcam_teacher_asset);
    return dcam_teacher_asset;
}
